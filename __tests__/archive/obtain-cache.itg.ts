import {createHash} from 'node:crypto';
import {existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {buffer} from 'node:stream/consumers';
import {gunzipSync} from 'node:zlib';
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import {parseDocuments, printDocuments} from '../../src/archive/documents.ts';
import {obtainArchive} from '../../src/archive/obtain.ts';
import {diskCacheKey, documentsCacheKey} from '../../src/archive/store-policy.ts';
import type {ActionsCache, CacheEntry} from '../../src/base/cache.ts';
import type {JobEvent} from '../../src/base/events.ts';
import {openActionsCache} from '../../src/host/cache.ts';
import {saveEntries} from '../../src/host/cache-save.ts';
import {localPorts} from '../../src/host/local.ts';
import {TarFrameCapture, writeFrame} from '../../src/host/store-frame.ts';
import {parseReference} from '../../src/plan/reference.ts';
import {
  bundleCacheWorker,
  type CacheServer,
  type Fault,
  startCacheServerV1,
} from '../support/cache-server.ts';
import {startCacheServerV2} from '../support/cache-server-v2.ts';
import {qcow2} from '../support/images.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {
  type MadeImage,
  type MadeLayer,
  makeImage,
  makeIndex,
  makeLayer,
  noise,
  pushImage,
} from '../support/registry-images.ts';

// Larger than what is kept of small layers.
const DISK = Buffer.concat([qcow2(), noise(300_000)]);
const OTHER_DISK = Buffer.concat([qcow2(), noise(300_000, 'other')]);

let bundleDir: string;
let workerPath: string;
let dir: string;
let registry: Registry;
let qemu: MadeLayer;
let start: MadeLayer;
let disk: MadeLayer;
let otherDisk: MadeLayer;
let image: MadeImage;

beforeAll(async () => {
  bundleDir = mkdtempSync(join(tmpdir(), 'cache-worker-'));
  workerPath = bundleCacheWorker(bundleDir);
  qemu = await makeLayer([{name: 'usr/bin/qemu', content: noise(100_000, 'qemu')}]);
  start = await makeLayer([{name: 'start.sh', content: '#!/bin/sh\n'}]);
  disk = await makeLayer([{name: 'vm.qcow2', content: DISK}]);
  otherDisk = await makeLayer([{name: 'vm.qcow2', content: OTHER_DISK}]);
  image = makeImage([qemu, disk, start]);
});
afterAll(() => rmSync(bundleDir, {recursive: true, force: true}));
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'obtain-cache-'));
  registry = await startRegistry();
});
afterEach(async () => {
  await registry.stop();
  rmSync(dir, {recursive: true, force: true});
});

const push = (name: string, made: MadeImage): Promise<void> =>
  pushImage(`http://127.0.0.1:${registry.port}`, 'x/archive', name, made);
const pinned = (made: MadeImage): string => `@${made.digest}`;

interface Run {
  readonly disk: Buffer;
  readonly events: readonly JobEvent[];
  readonly saves: readonly CacheEntry[];
  said(kind: 'warning' | 'notice' | 'debug'): readonly string[];
  /** What the action's post does. */
  post(): Promise<void>;
}

interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
}

/** One job on the machine `machine`, whose store it is. @param name `:TAG` or `@DIGEST`. */
async function run(machine: string, name: string, {env, timeoutMs}: RunOptions = {}): Promise<Run> {
  const storeDir = join(dir, machine);
  const events: JobEvent[] = [];
  const emit = (event: JobEvent): void => void events.push(event);
  const actionsCache = env && withTimeout(openActionsCache({workerPath, storeDir, env}), timeoutMs);
  const reference = `127.0.0.1:${registry.port}/x/archive${name}`;
  await using archive = await obtainArchive(
    {...localPorts, emit, ...(actionsCache && {actionsCache})},
    {reference, images: [parseReference(reference, 'archive')], storeDir},
    new AbortController().signal,
  );
  const saves = events.flatMap(event => (event.kind === 'cache-save' ? [event.entry] : []));
  return {
    disk: readFileSync(archive.diskPath),
    events,
    saves,
    said: kind =>
      events.flatMap(event => (event.kind === kind ? [(event as {message: string}).message] : [])),
    post: async () => actionsCache && saveEntries(actionsCache, saves, emit),
  };
}

function withTimeout(cache: ActionsCache, timeoutMs: number | undefined): ActionsCache {
  if (timeoutMs === undefined) return cache;
  return {
    restore: (key, options) => cache.restore(key, {...options, timeoutMs}),
    save: (entry, options) => cache.save(entry, {...options, timeoutMs}),
  };
}

/** What the registry is asked for while `work` runs, without the repository's name. */
async function asked(work: () => Promise<unknown>): Promise<readonly string[]> {
  const before = (await registry.requests()).length;
  await work();
  return (await registry.requests()).slice(before).map(request => request.replace('/v2/x/archive/', ''));
}

const FROM_CACHE = 'the disk comes from the Actions cache';
const IN_STORE = 'the disk is in the store already';
const kinds = (keys: readonly {key: string}[]): string[] =>
  keys.map(({key}) => key.replace(/^buildkit-archive-(\w+)-1-.*/, '$1')).sort();
const staged = (machine: string): string[] =>
  readdirSync(join(dir, machine)).filter(name => name.startsWith('.'));

describe.each<[string, () => Promise<CacheServer>]>([
  ['version 1', startCacheServerV1],
  ['version 2', () => startCacheServerV2('loopback')],
  ['version 2, blobs at Azure', () => startCacheServerV2('azure')],
])('the cache service, %s', (_, startServer) => {
  test.each<[string, () => MadeImage]>([
    ['a manifest', () => image],
    ['an OCI index', () => makeIndex([{image, architecture: 'amd64'}])],
    ['a Docker manifest list', () => makeIndex([{image, architecture: 'amd64'}], 'docker')],
  ])(
    '%s that is pinned: pulled and saved once, restored elsewhere with the registry turned off',
    async (__, make) => {
      await using server = await startServer();
      const root = make();
      await push(image.digest, image);
      await push(root.digest, root);
      const first = await run('one', pinned(root), server);
      expect(first.disk.equals(DISK)).toBe(true);
      expect(kinds(first.saves)).toEqual(['disk', 'documents']);
      await first.post();
      expect(kinds(server.entries.filter(entry => entry.complete))).toEqual(['disk', 'documents']);

      await registry.stop();
      const second = await run('two', pinned(root), server);
      expect(second.disk.equals(DISK)).toBe(true);
      expect(second.said('notice')).toEqual([FROM_CACHE]);
      expect([...first.said('warning'), ...second.said('warning')]).toEqual([]);
      expect(second.saves).toEqual([]);
      expect(staged('two')).toEqual([]);
      // And from then on without the cache.
      expect((await run('two', pinned(root))).said('notice')).toEqual([IN_STORE]);
    },
  );

  test('a tag asks for the manifest and, where it is not known, the config', async () => {
    await using server = await startServer();
    const plain = makeImage([qemu, disk]);
    await push('v1', plain);
    await (await run('one', ':v1', server)).post();
    expect(kinds(server.entries)).toEqual(['disk']);
    expect(await asked(() => run('two', ':v1', server))).toEqual([
      'GET manifests/v1',
      expect.stringMatching(/^GET blobs\/sha256:/),
    ]);
    expect(await asked(() => run('two', ':v1', server))).toEqual(['GET manifests/v1']);
  });

  test('a tag that moved gives the new disk', async () => {
    await using server = await startServer();
    await push('v1', image);
    await (await run('one', ':v1', server)).post();
    await push('v1', makeImage([qemu, otherDisk]));
    for (const machine of ['one', 'two']) {
      const again = await run(machine, ':v1', server);
      expect(again.disk.equals(OTHER_DISK)).toBe(true);
    }
  });
});

test("bytes that are the image's own are still looked into: a cache brings no disk that a registry would not", async () => {
  await using server = await startCacheServerV2('loopback');
  const content = Buffer.concat([qcow2({backingFile: '/etc/shadow'}), noise(300_000)]);
  const layer = await makeLayer([{name: 'vm.qcow2', content}]);
  await push('v1', makeImage([qemu, layer]));
  await expect(run('one', ':v1', server)).rejects.toThrow(/\/vm\.qcow2 of \S+ .*it has a backing file/);

  const capture = new TarFrameCapture('vm.qcow2');
  await buffer(Readable.from([gunzipSync(layer.blob)]).pipe(capture));
  const frame = capture.frame();
  if (!frame) throw new Error('no frame');
  writeFileSync(join(dir, 'disk'), content);
  await writeFrame(join(dir, 'frame'), frame);
  const cache = openActionsCache({workerPath, storeDir: join(dir, 'writer'), env: server.env});
  const files = {disk: join(dir, 'disk'), frame: join(dir, 'frame')};
  expect((await cache.save({key: diskCacheKey(layer.diffId), files}, {})).kind).toBe('saved');
  await expect(run('two', ':v1', server)).rejects.toThrow(/it has a backing file/);
  expect(readdirSync(join(dir, 'two', 'disks'))).toEqual([]);
});

describe('a store', () => {
  test.each<[string, () => MadeImage]>([
    ['the disk on top', () => makeImage([qemu, disk])],
    ['a small layer above it', () => image],
    ['a large layer above it', () => makeImage([disk, qemu])],
  ])('with %s: a digest that it knows asks for nothing, a tag for its manifest', async (_, make) => {
    const made = make();
    await push('v1', made);
    await run('one', ':v1');
    expect(await asked(() => run('one', ':v1'))).toEqual(['GET manifests/v1']);
    await registry.stop();
    const again = await run('one', pinned(made));
    expect(again.disk.equals(DISK)).toBe(true);
    expect(again.said('notice')).toEqual([IN_STORE]);
  });

  test('whose disk was evicted asks for its layer alone', async () => {
    await push('v1', image);
    await run('one', pinned(image));
    rmSync(join(dir, 'one', 'disks'), {recursive: true});
    expect(await asked(() => run('one', pinned(image)))).toEqual([`GET blobs/${disk.digest}`]);
  });

  test('whose documents are damaged asks the registry, and has them again', async () => {
    await push('v1', image);
    await run('one', pinned(image));
    const path = join(dir, 'one', 'documents', `${image.digest.slice(7)}.documents`);
    writeFileSync(path, readFileSync(path, 'utf8').replace('"blobs":{', '"blobs":{"x":"",'));
    const requests = await asked(async () => {
      expect((await run('one', pinned(image))).said('warning')).toEqual([
        expect.stringMatching(/\.documents is damaged and is made anew: /),
      ]);
    });
    expect(requests[0]).toBe(`GET manifests/${image.digest}`);
    expect(await asked(() => run('one', pinned(image)))).toEqual([]);
  });

  test('that cannot keep documents is no failure', async () => {
    await push('v1', image);
    mkdirSync(join(dir, 'one'));
    writeFileSync(join(dir, 'one', 'documents'), 'no folder');
    const only = await run('one', pinned(image));
    expect(only.disk.equals(DISK)).toBe(true);
    expect(only.said('warning')).toEqual([]);
    expect(only.said('debug')).toEqual([expect.stringContaining("the image's manifest was not kept")]);
  });
});

describe('the 10 GB of a repository', () => {
  test('hold a disk once, whichever images bring it and however they are named', async () => {
    await using server = await startCacheServerV2();
    const index = makeIndex([{image, architecture: 'amd64'}]);
    const other = makeImage([disk], {form: 'docker'});
    for (const made of [image, index, other]) await push(made.digest, made);
    await push('v1', image);
    for (const [i, name] of [':v1', ...[image, index, other].map(pinned)].entries()) {
      const one = await run(`machine-${i}`, name, server);
      await one.post();
      expect(one.said('warning')).toEqual([]);
    }
    expect(kinds(server.entries)).toEqual(['disk', 'documents', 'documents', 'documents']);
    const documents = server.entries.filter(({key}) => key.includes('documents'));
    const sizeBytes = Math.max(...documents.map(({blob}) => Buffer.concat(blob).length));
    expect(sizeBytes).toBeLessThan(4_096);
  });
});

/** Puts another file in place of the documents of `made`'s entry, as somebody could who may write to the cache. */
async function saveDocuments(server: CacheServer, made: MadeImage, text: string): Promise<void> {
  const path = join(dir, 'forged');
  writeFileSync(path, text);
  const cache = openActionsCache({workerPath, storeDir: join(dir, 'forger'), env: server.env});
  await cache.save({key: documentsCacheKey(made.digest), files: {documents: path}}, {});
}

describe('a cache that lies', () => {
  const sha256 = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const blobsOf = (made: MadeImage): Map<string, Buffer> =>
    new Map([made.manifest, ...made.blobs].map(bytes => [sha256(bytes), bytes]));

  test.each<[string, () => string]>([
    [
      'another manifest',
      () => printDocuments({blobs: new Map([[image.digest, makeImage([otherDisk]).manifest]])}),
    ],
    ['no manifest', () => printDocuments({blobs: new Map()})],
    ['no file of ours', () => 'captive portal'],
    ['more than documents ever have', () => ' '.repeat(17 * 1024 * 1024)],
  ])('by %s is dropped with one warning, and the registry is asked', async (_, forge) => {
    await using server = await startCacheServerV2();
    await push('v1', image);
    await saveDocuments(server, image, forge());
    const only = await run('one', pinned(image), server);
    expect(only.disk.equals(DISK)).toBe(true);
    expect(only.said('warning')).toEqual([
      expect.stringMatching(
        /^what the Actions cache gave is dropped, and the registry is asked: .*gh cache delete buildkit-archive-documents/,
      ),
    ]);
    expect(kinds(only.saves)).toEqual(['disk']);
    expect(staged('one')).toEqual([]);
  });

  test('by a layer that does not bring the disk is not believed', async () => {
    await using server = await startCacheServerV2();
    // The lower disk is replaced by the upper one.
    const replaced = makeImage([disk, otherDisk]);
    await push('v1', replaced);
    await saveDocuments(server, replaced, printDocuments({blobs: blobsOf(replaced), diskLayer: disk.diffId}));
    const only = await run('one', pinned(replaced), server);
    expect(only.disk.equals(OTHER_DISK)).toBe(true);
    const path = join(dir, 'one', 'documents', `${replaced.digest.slice(7)}.documents`);
    const kept = parseDocuments(readFileSync(path, 'utf8'), localPorts.registry.createHash);
    expect(kept?.diskLayer).toBe(otherDisk.diffId);
  });

  test('by more than the image has spreads nothing', async () => {
    await using server = await startCacheServerV2();
    await push('v1', image);
    const blobs = new Map([...blobsOf(image), [sha256(Buffer.from('more')), Buffer.from('more')]]);
    await saveDocuments(server, image, printDocuments({blobs}));
    await run('one', pinned(image), server);
    const path = join(dir, 'one', 'documents', `${image.digest.slice(7)}.documents`);
    const kept = parseDocuments(readFileSync(path, 'utf8'), localPorts.registry.createHash);
    expect([...(kept?.blobs.values() ?? [])].map(String)).not.toContain('more');
  });
});

describe('a cache that does not work costs a warning, and its time once', () => {
  const isRestore = (call: string): boolean => /lookup|download|GetCacheEntry|GetBlob/.test(call);
  const denied = {status: 403, body: {code: 'permission_denied', msg: 'cache read denied: no scopes'}};

  test.each<[string, Fault, string]>([
    ['hangs', 'hang', 'the cache did not end within 1.5 s'],
    ['hangs up', 'reset', ''],
    ['denies', denied, 'cache read denied: no scopes'],
  ])('one that %s, for a digest', async (_, fault, reason) => {
    await using server = await startCacheServerV2();
    server.fault = call => (isRestore(call) ? fault : undefined);
    await push('v1', image);
    const options = fault === 'hang' ? {...server, timeoutMs: 1_500} : server;
    const only = await run('one', pinned(image), options);
    expect(only.disk.equals(DISK)).toBe(true);
    expect(only.said('warning')).toEqual([
      expect.stringMatching(/^the Actions cache could not be read, so the archive is fetched anew: /),
    ]);
    expect(only.said('warning')[0]).toContain(reason);
    expect(only.saves).toEqual([]);
    expect(staged('one')).toEqual([]);
  });

  test('one that hangs, for a tag', async () => {
    await using server = await startCacheServerV1();
    server.fault = () => 'hang';
    await push('v1', image);
    const only = await run('one', ':v1', {...server, timeoutMs: 1_500});
    expect(only.disk.equals(DISK)).toBe(true);
    expect(only.said('warning')).toHaveLength(1);
    expect(only.saves).toEqual([]);
  });

  test('one that is not there', async () => {
    const server = await startCacheServerV2();
    await server[Symbol.asyncDispose]();
    await push('v1', image);
    const only = await run('one', pinned(image), server);
    expect(only.disk.equals(DISK)).toBe(true);
    expect(only.said('warning')).toEqual([expect.stringContaining('ECONNREFUSED')]);
  });

  test('one that gives corrupt bytes, for the disk', async () => {
    await using server = await startCacheServerV1();
    await push('v1', image);
    await (await run('one', pinned(image), server)).post();
    // The first download is that of the documents.
    server.fault = (call, nth) => (call === 'download' && nth > 1 ? 'corrupt' : undefined);
    const second = await run('two', pinned(image), server);
    expect(second.disk.equals(DISK)).toBe(true);
    expect(second.said('warning')).toEqual([
      expect.stringMatching(/^the Actions cache could not be read, so the archive is fetched anew: .*tar/s),
    ]);
  });

  test('one that is full', async () => {
    await using server = await startCacheServerV2();
    const full = {status: 429, body: {code: 'resource_exhausted', msg: 'insufficient usage to create cache'}};
    server.fault = call => (call === 'CreateCacheEntry' ? full : undefined);
    await push('v1', image);
    const only = await run('one', pinned(image), server);
    expect(only.disk.equals(DISK)).toBe(true);
    expect(only.said('warning')).toEqual([]);
    await only.post();
    expect(only.said('warning')).toEqual([
      expect.stringMatching(/^the archive was not saved to the Actions cache: .*quota has been hit/),
      expect.stringMatching(/^the archive was not saved to the Actions cache: .*quota has been hit/),
    ]);
  });

  test('one that is read-only gives what it has', async () => {
    await using server = await startCacheServerV2();
    await push('v1', image);
    await (await run('one', pinned(image), server)).post();
    const readOnly = {env: {...server.env, ACTIONS_CACHE_MODE: 'read'}};
    const second = await run('two', pinned(image), readOnly);
    expect(second.said('notice')).toEqual([FROM_CACHE]);
    await push('v2', makeImage([otherDisk]));
    const third = await run('two', ':v2', readOnly);
    await third.post();
    expect(third.disk.equals(OTHER_DISK)).toBe(true);
    expect(third.said('warning')).toEqual([expect.stringContaining("'read' does not permit writes")]);
  });
});

test('a job that is canceled while the cache is asked ends at once', async () => {
  await using server = await startCacheServerV2();
  server.fault = () => 'hang';
  await push('v1', image);
  const storeDir = join(dir, 'one');
  const controller = new AbortController();
  const reference = `127.0.0.1:${registry.port}/x/archive${pinned(image)}`;
  const obtaining = obtainArchive(
    {
      ...localPorts,
      emit: () => undefined,
      actionsCache: openActionsCache({workerPath, storeDir, env: server.env}),
    },
    {reference, images: [parseReference(reference, 'archive')], storeDir},
    controller.signal,
  );
  obtaining.catch(() => undefined);
  while (server.calls.length === 0) await new Promise(resolve => setTimeout(resolve, 20));
  controller.abort(new Error('stopped by the test'));
  await expect(obtaining).rejects.toThrow('stopped by the test');
  expect(existsSync(join(storeDir, 'disks'))).toBe(false);
  expect(staged('one')).toEqual([]);
});
