import {execFileSync} from 'node:child_process';
import {createHash, randomBytes} from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {buffer} from 'node:stream/consumers';
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import {Store} from '../../src/archive/store.ts';
import {type DiskCachePorts, diskEntry, restoreDisk} from '../../src/archive/store-cache.ts';
import {diskCacheKey} from '../../src/archive/store-policy.ts';
import type {JobEvent} from '../../src/base/events.ts';
import type {StoreKey} from '../../src/base/store.ts';
import {openActionsCache} from '../../src/host/cache.ts';
import {saveEntries} from '../../src/host/cache-save.ts';
import {openStoreFolder} from '../../src/host/store.ts';
import {TarFrameCapture, tarFrames, writeFrame} from '../../src/host/store-frame.ts';
import {bundleCacheWorker, type CacheServer, type Fault} from '../support/cache-server.ts';
import {startCacheServerV2} from '../support/cache-server-v2.ts';

let bundleDir: string;
let workerPath: string;
let dir: string;
let events: JobEvent[];
beforeAll(() => {
  bundleDir = mkdtempSync(join(tmpdir(), 'cache-worker-'));
  workerPath = bundleCacheWorker(bundleDir);
});
afterAll(() => rmSync(bundleDir, {recursive: true, force: true}));
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'store-cache-'));
  events = [];
});
afterEach(() => rmSync(dir, {recursive: true, force: true}));

const digestOf = (bytes: Buffer | string): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const said = (kind: 'warning' | 'notice'): string[] =>
  events.flatMap(event => (event.kind === kind ? [(event as {message: string}).message] : []));

/** A layer as a registry would give it. */
function layer(): {tar: Buffer; disk: Buffer; diffId: string} {
  const disk = randomBytes(200_000);
  writeFileSync(join(dir, 'vm.qcow2'), disk);
  const tar = execFileSync('tar', ['-C', dir, '-cf', '-', 'vm.qcow2']);
  return {tar, disk, diffId: digestOf(tar)};
}

/** One runner: a store, a cache, and a registry that gives `tar`. */
function runner(server: CacheServer, name: string, tar: Buffer) {
  const storeDir = join(dir, name);
  const emit = (event: JobEvent): void => void events.push(event);
  const store = new Store({folder: openStoreFolder(storeDir), nowMs: Date.now, emit});
  const cache = openActionsCache({workerPath, storeDir, env: server.env});
  const ports: DiskCachePorts = {cache, frames: tarFrames, emit};
  const pulls: string[] = [];
  const key: StoreKey = {kind: 'disks', digest: digestOf(tar)};
  const cacheKey = diskCacheKey(key.digest);
  let restored = '';
  return {
    pulls,
    storeDir,
    get: async () => {
      const got = await store.getOrMake(key, async dest => {
        const found = await restoreDisk(ports, {key: cacheKey, diffId: key.digest}, dest);
        restored = found.kind;
        if (found.kind === 'restored') return found.measured;
        pulls.push(dest);
        const capture = new TarFrameCapture('vm.qcow2');
        await buffer(Readable.from([tar]).pipe(capture));
        const frame = capture.frame();
        if (!frame) throw new Error('no frame');
        const end = tar.length - frame.after.length;
        writeFileSync(dest, tar.subarray(frame.before.length, end));
        await writeFrame(`${dest}.frame`, frame);
        return undefined;
      });
      return {...got, restored};
    },
    save: (path: string) => saveEntries(cache, [diskEntry(cacheKey, path)], emit),
  };
}

describe('a disk', () => {
  test('is pulled once, saved, and restored on another machine without the registry', async () => {
    await using server = await startCacheServerV2('azure');
    const {tar, disk} = layer();
    const first = runner(server, 'one', tar);
    const pulled = await first.get();
    expect(pulled).toMatchObject({hit: false, restored: 'missed'});
    await first.save(pulled.path);
    expect(said('notice')[0]).toMatch(
      /^Saved to the Actions cache as buildkit-archive-disk-1-sha256-[0-9a-f]{64} \(0\.2 MiB\)\.$/,
    );
    expect(statSync(pulled.path).nlink).toBe(1);

    const second = runner(server, 'two', tar);
    const restored = await second.get();
    expect(restored).toMatchObject({hit: false, restored: 'restored'});
    expect(second.pulls).toEqual([]);
    expect(readFileSync(restored.path).equals(disk)).toBe(true);
    expect(existsSync(`${restored.path}.frame`)).toBe(true);
    expect(readdirSync(second.storeDir).filter(name => name.startsWith('.'))).toEqual([]);
    expect((await runner(server, 'two', tar).get()).hit).toBe(true);
    expect(said('warning')).toEqual([]);
  });

  test.each<[string, (stored: string) => void]>([
    ['whose bytes are others', path => writeFileSync(path, randomBytes(200_000))],
    ['with a byte too many', path => appendFileSync(path, '!')],
    ['whose frame is damaged', path => writeFileSync(`${path}.frame`, 'no frame')],
    [
      'whose frame is of another',
      path => writeFileSync(`${path}.frame`, 'buildkit-archive tar frame 1 1 1\nab'),
    ],
  ])('%s is dropped with one warning and pulled again', async (_, spoil) => {
    await using server = await startCacheServerV2();
    const {tar, disk} = layer();
    const first = runner(server, 'one', tar);
    const {path} = await first.get();
    spoil(path);
    await first.save(path);
    const second = runner(server, 'two', tar);
    const got = await second.get();
    expect(got).toMatchObject({hit: false, restored: 'failed'});
    expect(second.pulls).toHaveLength(1);
    expect(readFileSync(got.path).equals(disk)).toBe(true);
    expect(said('warning')).toHaveLength(1);
    expect(said('warning')[0]).toMatch(
      /is dropped, and the archive is fetched anew: .*gh cache delete buildkit-archive-disk/,
    );
  });

  test.each<[string, Fault]>([
    ['hangs up', 'reset'],
    ['refuses', {status: 403, body: {msg: 'cache read denied: policy'}}],
  ])('is pulled when the cache %s, with one warning each for reading and saving', async (_, fault) => {
    await using server = await startCacheServerV2();
    server.fault = () => fault;
    const {tar, disk} = layer();
    const only = runner(server, 'one', tar);
    const got = await only.get();
    expect(readFileSync(got.path).equals(disk)).toBe(true);
    await only.save(got.path);
    expect(said('warning')).toEqual([
      expect.stringMatching(/^the Actions cache could not be read, so the archive is fetched anew: /),
      expect.stringMatching(/^the archive was not saved to the Actions cache: /),
    ]);
  });

  test('that another job has saved, or evicted, is no warning', async () => {
    await using server = await startCacheServerV2();
    const {tar} = layer();
    const only = runner(server, 'one', tar);
    const {path} = await only.get();
    await only.save(path);
    await only.save(path);
    rmSync(path);
    await only.save(path);
    expect(said('notice').slice(1)).toEqual([
      expect.stringMatching(/^The Actions cache has .* already\.$/),
      expect.stringMatching(/^Not saved to the Actions cache: there is no .*\.qcow2\.$/),
    ]);
    expect(said('warning')).toEqual([]);
  });
});
