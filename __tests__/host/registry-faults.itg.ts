import {readdirSync} from 'node:fs';
import {afterAll, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import {type Fault, type FaultProxy, startFaultProxy} from '../support/fault-proxy.ts';
import {createPuller, failureOf, QUICK} from '../support/pull.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {
  type MadeImage,
  type MadeLayer,
  makeImage,
  makeLayer,
  noise,
  pushImage,
} from '../support/registry-images.ts';

const DISK = noise(400_000);
const puller = createPuller();
let registry: Registry;
let proxy: FaultProxy;
let layer: MadeLayer;
let image: MadeImage;
let reference: string;

beforeAll(async () => {
  registry = await startRegistry();
  proxy = await startFaultProxy(registry.port);
  layer = await makeLayer([{name: 'vm.qcow2', content: DISK}]);
  image = makeImage([layer]);
  await push('v1', image);
  reference = `127.0.0.1:${proxy.port}/x/archive:v1`;
});
afterAll(async () => {
  await proxy.close();
  await registry.stop();
  puller.remove();
});
beforeEach(() => {
  proxy.rule = () => undefined;
  for (const list of [proxy.seen, puller.warnings, puller.sleptMs, puller.progress]) list.length = 0;
});

const push = (tag: string, made: MadeImage): Promise<void> =>
  pushImage(`http://127.0.0.1:${registry.port}`, 'x/archive', tag, made);
const isLayer = (path: string): boolean => path.endsWith(layer.digest);
const layerRequests = () => proxy.seen.filter(({path}) => isLayer(path));
const ranges = () => layerRequests().map(({headers}) => headers.range);

/** Does this to the first `times` requests for the layer (or for what `which` says). */
function onLayer(fault: Fault, times = 1, which = isLayer): void {
  let left = times;
  proxy.rule = ({path}) => (which(path) && left-- > 0 ? fault : undefined);
}
const isManifest = (path: string): boolean => path.includes('/manifests/');

const tenth = (share: number): number => Math.floor((layer.blob.length * share) / 10);

describe('a broken connection is taken up where it was', () => {
  test.each([1, 9])('reset at %i0 %%', async share => {
    onLayer({kind: 'reset', atByte: tenth(share)});
    expect((await puller.pull(reference)).disk.equals(DISK)).toBe(true);
    const [first, second, ...others] = ranges();
    expect(first).toBeUndefined();
    expect(second).toMatch(/^bytes=\d+-$/);
    expect(Number(second?.slice(6, -1))).toBeLessThanOrEqual(tenth(share));
    expect(others).toEqual([]);
    expect(puller.progress.at(-1)?.receivedBytes).toBe(layer.blob.length);
  });

  test('a truncated blob', async () => {
    onLayer({kind: 'truncate', atByte: tenth(5)});
    expect((await puller.pull(reference)).disk.equals(DISK)).toBe(true);
    expect(ranges()).toHaveLength(2);
  });

  test('a server that ignores the range begins anew, and what is known is skipped', async () => {
    let count = 0;
    proxy.rule = ({path}) => {
      if (!isLayer(path)) return undefined;
      count += 1;
      return count === 1 ? {kind: 'reset', atByte: tenth(7)} : {kind: 'ignore-range'};
    };
    expect((await puller.pull(reference)).disk.equals(DISK)).toBe(true);
    expect(puller.progress.at(-1)?.receivedBytes).toBe(layer.blob.length);
  });

  test('a server that sends another range is not believed', async () => {
    let count = 0;
    proxy.rule = ({path}) => {
      if (!isLayer(path)) return undefined;
      count += 1;
      if (count === 1) return {kind: 'reset', atByte: tenth(7)};
      return {kind: 'answer', status: 206, headers: {'content-range': 'bytes 0-9/10'}, body: '0123456789'};
    };
    const error = await failureOf(puller.pull(reference));
    expect(error.message).toContain('got "bytes 0-9/10"');
  });

  test('one that always breaks at the same place is given up', async () => {
    proxy.rule = ({path}) =>
      isLayer(path) ? {kind: 'ignore-range', fault: {kind: 'truncate', atByte: tenth(5)}} : undefined;
    const error = await failureOf(puller.pull(reference));
    expect(error.message).toMatch(
      /^127\.0\.0\.1:\d+\/x\/archive:v1: the connection broke, at 0\.2 of 0\.4 MB of sha256:\w{64}, 5 times without progress$/,
    );
    expect(error.hint).toContain('registries');
    expect(readdirSync(puller.dir).filter(name => name.startsWith('.partial'))).toEqual([]);
  });
});

describe('slow-loris', () => {
  test('a server that falls silent is asked again', async () => {
    onLayer({kind: 'stall', atByte: tenth(3)});
    expect((await puller.pull(reference)).disk.equals(DISK)).toBe(true);
    expect(ranges()).toHaveLength(2);
  });

  test('one that sends a byte now and then too', async () => {
    onLayer({kind: 'stall', atByte: tenth(3), trickleMs: 20});
    expect((await puller.pull(reference)).disk.equals(DISK)).toBe(true);
    expect(ranges()).toHaveLength(2);
  });

  test('one that always does is given up', async () => {
    onLayer({kind: 'stall', atByte: 0}, 99);
    const error = await failureOf(puller.pull(reference, {policy: {attempts: 2}}));
    expect(error.message).toContain('no data for 0.25 s, at 0.0 of 0.4 MB');
  });

  test('one that never answers is given up', async () => {
    onLayer({kind: 'silence'}, 99, isManifest);
    const error = await failureOf(puller.pull(reference, {policy: {attempts: 2, answerTimeoutMs: 100}}));
    expect(error.message).toContain(`127.0.0.1:${proxy.port} does not answer within 0.1 s`);
  });

  test('a reader that is slow is no fault of the server', async () => {
    const controller = new AbortController();
    const slow = puller.pull(reference, {signal: controller.signal, policy: {stallMs: 60}});
    const until = Date.now() + 150;
    while (Date.now() < until) await new Promise(resolve => setImmediate(resolve));
    expect((await slow).disk.equals(DISK)).toBe(true);
    expect(ranges()).toHaveLength(1);
  });
});

describe('statuses', () => {
  const NOT_FOUND = '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown\\n::error::x"}]}';

  test('500 three times, then fine', async () => {
    onLayer({kind: 'answer', status: 500}, 3, isManifest);
    expect((await puller.pull(reference, {isClockFree: true})).disk.equals(DISK)).toBe(true);
    expect(puller.sleptMs).toHaveLength(3);
  });

  test('502, 503, 504 for the blob pass too', async () => {
    let count = 0;
    proxy.rule = ({path}) => {
      if (!isLayer(path) || count >= 3) return undefined;
      count += 1;
      return {kind: 'answer', status: 501 + count};
    };
    expect((await puller.pull(reference)).disk.equals(DISK)).toBe(true);
  });

  test('500 for ever', async () => {
    onLayer({kind: 'answer', status: 500}, 99, isManifest);
    const error = await failureOf(puller.pull(reference));
    expect(error.message).toBe(`${reference}: 127.0.0.1:${proxy.port} answers 500 Internal Server Error`);
    expect(error.hint).toContain('has trouble: run again later');
    expect(proxy.seen).toHaveLength(5);
  });

  test('429 with Retry-After in seconds is waited for as long as it says', async () => {
    onLayer({kind: 'answer', status: 429, headers: {'retry-after': '7'}}, 2, isManifest);
    expect((await puller.pull(reference, {isClockFree: true})).disk.equals(DISK)).toBe(true);
    expect(puller.sleptMs).toEqual([7_000, 7_000]);
  });

  test('429 with Retry-After as a date', async () => {
    const date = new Date(Date.now() + 20_000).toUTCString();
    onLayer({kind: 'answer', status: 429, headers: {'retry-after': date}});
    expect((await puller.pull(reference, {isClockFree: true})).disk.equals(DISK)).toBe(true);
    expect(puller.sleptMs[0]).toBeGreaterThan(17_000);
    expect(puller.sleptMs[0]).toBeLessThan(20_001);
  });

  test('429 for an hour is not waited for', async () => {
    onLayer({kind: 'answer', status: 429, headers: {'retry-after': '3600'}}, 99, isManifest);
    const error = await failureOf(puller.pull(reference, {isClockFree: true}));
    expect(error.message).toContain('429 Too Many Requests; it wants to be asked again in 3600 s');
    expect(error.hint).toContain('log in');
    expect([proxy.seen.length, puller.sleptMs.length]).toEqual([1, 0]);
  });

  test.each([
    [401, '401 Unauthorized', 'wants a login, or has no such image: set registry-username'],
    [403, '403 Forbidden', 'x/archive is private, or there is no such image: log in with'],
    [404, '404 Not Found', 'check the name and the tag'],
    [400, '400 Bad Request', 'check the name of the image'],
  ])('%i is final', async (status, text, hint) => {
    onLayer({kind: 'answer', status, body: NOT_FOUND}, 99, isManifest);
    const error = await failureOf(puller.pull(reference));
    expect(error.message).toBe(
      `${reference}: 127.0.0.1:${proxy.port} answers ${text} (MANIFEST_UNKNOWN: manifest unknown ::error::x)`,
    );
    expect(error.hint).toContain(hint);
    expect(proxy.seen).toHaveLength(1);
  });

  test('a tag that the real registry does not have', async () => {
    const error = await failureOf(puller.pull(`127.0.0.1:${registry.port}/x/archive:nope`));
    expect(error.message).toContain('answers 404 Not Found (MANIFEST_UNKNOWN: manifest unknown)');
  });
});

describe('wrong bytes', () => {
  test('in the layer', async () => {
    onLayer({kind: 'corrupt', atByte: tenth(5)});
    const dest = `${puller.dir}/corrupt.qcow2`;
    const error = await failureOf(puller.pull(reference, {dest}));
    // Two checks find it, gzip's own and the digest's: either may come first.
    expect(error.message).toMatch(
      /archive:v1: (the layer cannot be unpacked: .*incorrect data check|the bytes of sha256:\w{64} have the digest .*)$/,
    );
    expect(error.hint).toContain('is damaged, or something on the way changes it');
    expect(readdirSync(puller.dir).filter(name => /corrupt|partial/.test(name))).toEqual([]);
  });

  test('in a layer that is not compressed, where only the digest can tell', async () => {
    const plain = await makeLayer([{name: 'vm.qcow2', content: DISK}], 'none');
    await push('plain', makeImage([plain]));
    onLayer({kind: 'corrupt', atByte: 200_000}, 1, path => path.endsWith(plain.digest));
    const dest = `${puller.dir}/corrupt.qcow2`;
    const error = await failureOf(puller.pull(`127.0.0.1:${proxy.port}/x/archive:plain`, {dest}));
    expect(error.message).toMatch(/archive:plain: the bytes of sha256:\w{64} have the digest sha256:\w{64}$/);
    expect(readdirSync(puller.dir).filter(name => /corrupt|partial/.test(name))).toEqual([]);
  });

  test('fall over to the next source', async () => {
    onLayer({kind: 'corrupt', atByte: tenth(5)});
    const next = `127.0.0.1:${registry.port}/x/archive:v1`;
    expect((await puller.pull([reference, next])).disk.equals(DISK)).toBe(true);
    expect(puller.warnings).toHaveLength(1);
  });

  test('in the manifest that a digest names', async () => {
    onLayer({kind: 'corrupt', atByte: 20}, 99, isManifest);
    const error = await failureOf(puller.pull(`127.0.0.1:${proxy.port}/x/archive@${image.digest}`));
    expect(error.message).toContain(`the manifest ${image.digest} has the digest sha256:`);
  });

  test('in the config', async () => {
    onLayer({kind: 'corrupt', atByte: 5}, 99, path => path.includes('/blobs/') && !isLayer(path));
    expect((await failureOf(puller.pull(reference))).message).toContain('the config sha256:');
  });

  test('a manifest that is no JSON', async () => {
    onLayer({kind: 'answer', status: 200, body: '<html>captive portal</html>'}, 99, isManifest);
    expect((await failureOf(puller.pull(reference))).message).toContain('the manifest is no JSON');
  });

  test('a blob that is longer than it should be', async () => {
    onLayer({kind: 'answer', status: 200, body: Buffer.concat([layer.blob, noise(10)])}, 99);
    const error = await failureOf(puller.pull(reference));
    expect(error.message).toContain(`is longer than its ${layer.blob.length} bytes`);
  });

  test('a layer whose tar is not the one of its diff_id', async () => {
    const other = await makeLayer([{name: 'vm.qcow2', content: 'other'}]);
    await push('liar', makeImage([{...layer, diffId: other.diffId}]));
    const error = await failureOf(puller.pull(`127.0.0.1:${proxy.port}/x/archive:liar`));
    expect(error.message).toContain("the layer's tar is damaged");
  });
});

describe('a tag that moves between manifest and blob', () => {
  test('is looked up once more', async () => {
    const newDisk = noise(50_000, 'new');
    const newer = makeImage([await makeLayer([{name: 'vm.qcow2', content: newDisk}])]);
    await push('moving', image);
    let isMoved = false;
    proxy.rule = ({path}) => {
      if (!isLayer(path)) return undefined;
      if (isMoved) return {kind: 'answer', status: 404};
      isMoved = true;
      return {
        kind: 'before',
        // The old image is deleted together with its layer, as a registry's garbage collection does it.
        run: async () => {
          await push('moving', newer);
          await fetch(`http://127.0.0.1:${registry.port}/v2/x/archive/blobs/${layer.digest}`, {
            method: 'DELETE',
          });
        },
      };
    };
    const pulled = await puller.pull(`127.0.0.1:${proxy.port}/x/archive:moving`);
    await push('v1', image);
    expect(pulled.disk.equals(newDisk)).toBe(true);
    expect(pulled.digest).toBe(newer.digest);
    expect(puller.warnings).toEqual([
      expect.stringContaining(`moved from ${image.digest} to ${newer.digest}`),
    ]);
  });

  test('a blob that is gone without that is an error', async () => {
    onLayer({kind: 'answer', status: 404}, 99);
    const error = await failureOf(puller.pull(reference));
    expect(error.message).toContain(`404 Not Found for ${layer.digest}`);
    expect(proxy.seen.filter(({path}) => isManifest(path))).toHaveLength(2);
  });
});

describe('sources', () => {
  test.each(['manifest', 'layer'])(
    'one that fails at the %s falls over to the next with one line',
    async part => {
      onLayer({kind: 'answer', status: 403}, 99, part === 'layer' ? isLayer : isManifest);
      const next = `127.0.0.1:${registry.port}/x/archive:v1`;
      const pulled = await puller.pull([reference, next]);
      expect(pulled.disk.equals(DISK)).toBe(true);
      expect(pulled.reference).toBe(`127.0.0.1:${registry.port}`);
      expect(puller.warnings).toEqual([
        expect.stringMatching(/answers 403 Forbidden.*; trying 127\.0\.0\.1:\d+\/x\/archive:v1$/),
      ]);
    },
  );

  test('when all fail, each is named', async () => {
    const error = await failureOf(puller.pull([`${reference}x`, `${reference}y`]));
    expect(error.message).toMatch(/^no registry gives the archive: .*:v1x: .*404.*; .*:v1y: .*404/);
    expect(puller.warnings).toHaveLength(1);
  });

  test('a host that does not exist', async () => {
    const error = await failureOf(puller.pull('no-such-host.invalid/x:v1', {isClockFree: true}));
    expect(error.message).toMatch(
      /^no-such-host\.invalid\/x:v1: no-such-host\.invalid: .*(ENOTFOUND|EAI_AGAIN)/,
    );
    expect(error.hint).toContain('may reach no-such-host.invalid');
  });

  test('a port at which nobody listens', async () => {
    const error = await failureOf(puller.pull('127.0.0.1:1/x:v1'));
    expect(error.message).toContain('127.0.0.1:1: the connection is refused (ECONNREFUSED)');
  });

  test('TLS with a server that has none', async () => {
    const error = await failureOf(puller.pull(`https://${reference}`));
    expect(error.hint).toContain('speaks no TLS, write http:// before its name');
    expect(error.message).not.toContain('\n');
  });
});

test('two pulls at once into one file', async () => {
  const dest = `${puller.dir}/both.qcow2`;
  const both = await Promise.all([puller.pull(reference, {dest}), puller.pull(reference, {dest})]);
  expect(both.every(({disk}) => disk.equals(DISK))).toBe(true);
  expect(readdirSync(puller.dir).filter(name => name.startsWith('.partial'))).toEqual([]);
});

test('canceling ends a transfer at once, and leaves nothing', async () => {
  onLayer({kind: 'stall', atByte: tenth(5)}, 99);
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error('stopped by the test')), 100);
  const startedMs = performance.now();
  const error = await failureOf(
    puller.pull(reference, {signal: controller.signal, policy: {...QUICK, stallMs: 60_000}}),
  );
  expect(error.name).toBe('CanceledError');
  expect(performance.now() - startedMs).toBeLessThan(1_000);
  expect(readdirSync(puller.dir).filter(name => name.startsWith('.partial'))).toEqual([]);
});
