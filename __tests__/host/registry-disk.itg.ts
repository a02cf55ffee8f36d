import {execFileSync} from 'node:child_process';
import {once} from 'node:events';
import {existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {afterAll, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import {LAYER_LIMITS} from '../../src/host/layer-limits.ts';
import {readLayer} from '../../src/host/layers.ts';
import {type FaultProxy, startFaultProxy} from '../support/fault-proxy.ts';
import {createPuller, failureOf} from '../support/pull.ts';
import {bundlePull, startPull} from '../support/pull-child.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {type MadeLayer, makeImage, makeLayer, noise, pushImage, sha256} from '../support/registry-images.ts';

const DISK = noise(6_000_000);
const puller = createPuller();
const dir = mkdtempSync(join(tmpdir(), 'pull-disk-'));
let registry: Registry;
let proxy: FaultProxy;
let layer: MadeLayer;
let reference: string;

beforeAll(async () => {
  registry = await startRegistry();
  proxy = await startFaultProxy(registry.port);
  layer = await makeLayer([{name: 'vm.qcow2', content: DISK}]);
  await pushImage(`http://127.0.0.1:${registry.port}`, 'x/archive', 'v1', makeImage([layer]));
  reference = `127.0.0.1:${proxy.port}/x/archive:v1`;
});
afterAll(async () => {
  await proxy.close();
  await registry.stop();
  puller.remove();
  rmSync(dir, {recursive: true, force: true});
});
beforeEach(() => {
  proxy.rule = () => undefined;
});

describe('a disk that is full (a small tmpfs in a namespace of its own)', () => {
  /** Pulls to a new tmpfs of this size; after it, prints what lies there. */
  async function pullInto(
    sizeMib: number,
    fill: string,
  ): Promise<{code: number | null; stderr: string; stdout: string}> {
    const mount = join(dir, `tmpfs-${sizeMib}`);
    mkdirSync(mount, {recursive: true});
    const script = `mount -t tmpfs -o size=${sizeMib}m none ${mount} && ${fill} "$@"; code=$?; echo "left: $(ls -A ${mount})"; exit $code`;
    const isRoot = process.getuid?.() === 0;
    const prefix = ['unshare', ...(isRoot ? [] : ['--map-root-user']), '--mount', 'sh', '-c', script, 'sh'];
    const pull = startPull(await bundlePull(dir), reference, join(mount, 'disk.qcow2'), {}, prefix);
    return pull.ended;
  }

  test('is told before it is full, and nothing is left', async () => {
    const {code, stderr, stdout} = await pullInto(4, '');
    expect(stderr).toMatch(
      /^no space left for the archive: more than \d MiB at .* would be used up \/\/ free some GiB/,
    );
    expect(code).toBe(1);
    expect(stdout).toContain('left: \n');
  });

  test('when somebody else fills it meanwhile too', async () => {
    // The program sees 16 MiB free; before the layer's second half comes, they are gone.
    const mount = join(dir, 'tmpfs-16');
    const filler = join(mount, 'filler');
    const marker = join(dir, 'half');
    proxy.rule = ({path, headers}) =>
      path.endsWith(layer.digest) && headers.range === undefined
        ? {kind: 'reset', atByte: 2_000_000}
        : path.endsWith(layer.digest)
          ? {
              kind: 'before',
              run: async () => {
                writeFileSync(marker, '');
                await new Promise(resolve => setTimeout(resolve, 300));
              },
            }
          : undefined;
    const fill = `(while [ ! -e ${marker} ]; do sleep 0.02; done; head -c 16M /dev/zero > ${filler} 2>/dev/null) & `;
    const {code, stderr} = await pullInto(16, fill);
    expect(stderr).toMatch(/^no space left while the archive was taken out to .*tmpfs-16 \/\/ free some GiB/);
    expect(code).toBe(1);
  });
});

test('killed in mid-write, then run again', async () => {
  const dest = join(dir, 'store', 'disk.qcow2');
  proxy.rule = ({path}) => (path.endsWith(layer.digest) ? {kind: 'stall', atByte: 3_000_000} : undefined);
  const program = await bundlePull(dir);
  const killed = startPull(program, reference, dest);
  for (let text = ''; !/received [23]\d{6}/.test(text); ) {
    const [chunk] = await once(killed.child.stdout as Readable, 'data');
    text += chunk;
  }
  killed.child.kill('SIGKILL');
  expect((await killed.ended).signal).toBe('SIGKILL');
  expect(existsSync(dest)).toBe(false);
  proxy.rule = () => undefined;
  const again = await startPull(program, reference, dest).ended;
  expect(again.stderr).toBe('');
  expect(readFileSync(dest).equals(DISK)).toBe(true);
});

test('processes that pull into one file at once', async () => {
  const dest = join(dir, 'shared', 'disk.qcow2');
  const program = await bundlePull(dir);
  const ends = await Promise.all([1, 2, 3].map(() => startPull(program, reference, dest).ended));
  expect(ends.map(({code}) => code)).toEqual([0, 0, 0]);
  expect(readFileSync(dest).equals(DISK)).toBe(true);
  expect(readdirSync(join(dir, 'shared')).sort()).toEqual(['disk.qcow2', 'disk.qcow2.frame']);
});

describe('decompression bombs', () => {
  test.each(['gzip', 'zstd'] as const)('%s: stopped where the limit is', async compression => {
    const bomb = await makeLayer([{name: 'vm.qcow2', content: Buffer.alloc(30_000_000)}], compression);
    let unpackedBytes = 0;
    const reading = readLayer(
      {open: async () => Readable.from([bomb.blob]), digest: bomb.digest, diffId: bomb.diffId},
      async (_header, body) => {
        for await (const chunk of body) unpackedBytes += chunk.length;
      },
      new AbortController().signal,
      {limits: {allowanceBytes: 1024 ** 2, ratio: 10, maxBytes: 10 * 1024 ** 2}},
    );
    const error = await failureOf(reading);
    expect(error.message).toMatch(
      /^a layer of the image unpacks to more than \d MiB from 1 MiB; allowed are 1 MiB and 10 times its size, at most 10 MiB$/,
    );
    expect(unpackedBytes).toBeLessThan(3_000_000);
  });

  test('the limits let pass what grows as real disks do', async () => {
    const sparse = await makeLayer([
      {name: 'vm.qcow2', content: Buffer.concat([noise(100_000), Buffer.alloc(3_000_000)])},
    ]);
    await readLayer(
      {open: async () => Readable.from([sparse.blob]), digest: sparse.digest, diffId: sparse.diffId},
      async () => undefined,
      new AbortController().signal,
      {limits: {...LAYER_LIMITS, allowanceBytes: 0}},
    );
  });

  test('a real pull of 1.5 GiB of zeros in a few kilobytes is refused', async () => {
    const zeroMib = 1536;
    const header = (await makeLayer([{name: 'vm.qcow2', content: 'x'}], 'none')).blob.subarray(0, 512);
    // The size field of the header is octal text (ustar, POSIX.1-2017 pax).
    header.write((zeroMib * 1024 ** 2).toString(8).padStart(11, '0'), 124);
    header.fill(' ', 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    writeFileSync(join(dir, 'header'), header);
    const blob = execFileSync(
      'sh',
      ['-c', `(cat "$0"; head -c ${zeroMib}M /dev/zero) | zstd -1 -cq`, join(dir, 'header')],
      {maxBuffer: 1024 ** 2},
    );
    const bomb = {
      ...layer,
      blob,
      digest: sha256(blob),
      mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd',
    };
    await pushImage(`http://127.0.0.1:${registry.port}`, 'x/archive', 'bomb', makeImage([bomb]));
    const dest = join(dir, 'bomb', 'disk.qcow2');
    const error = await failureOf(puller.pull(`127.0.0.1:${registry.port}/x/archive:bomb`, {dest}));
    expect(error.message).toContain('a layer of the image unpacks to more than');
    expect(error.hint).toBe('do not use this image: it would fill the disk');
    expect(readdirSync(join(dir, 'bomb'))).toEqual([]);
  });
});

test('gzip that ends too early is a damaged layer', async () => {
  const blob = layer.blob.subarray(0, 300_000);
  const reading = readLayer(
    {open: async () => Readable.from([blob]), digest: sha256(blob), diffId: sha256(blob)},
    async () => undefined,
    new AbortController().signal,
  );
  expect((await failureOf(reading)).message).toMatch(
    /^the layer cannot be unpacked: .*unexpected end of file/,
  );
});
