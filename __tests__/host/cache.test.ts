import {execFileSync, spawn} from 'node:child_process';
import {randomBytes} from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import type {ActionsCache, CacheHit, CacheOptions} from '../../src/base/cache.ts';
import {CanceledError} from '../../src/base/errors.ts';
import {openActionsCache} from '../../src/host/cache.ts';
import {startTicksOf} from '../../src/host/processes.ts';
import {bundleCacheWorker, type CacheServer, startCacheServerV1} from '../support/cache-server.ts';
import {startCacheServerV2} from '../support/cache-server-v2.ts';

const KEY = 'buildkit-archive-disk-1-sha256-abc';
let bundleDir: string;
let workerPath: string;
let dir: string;
let storeDir: string;
beforeAll(() => {
  bundleDir = mkdtempSync(join(tmpdir(), 'cache-worker-'));
  workerPath = bundleCacheWorker(bundleDir);
});
afterAll(() => rmSync(bundleDir, {recursive: true, force: true}));
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'cache-test-'));
  storeDir = join(dir, 'store');
});
afterEach(() => rmSync(dir, {recursive: true, force: true}));

function open(env: NodeJS.ProcessEnv, store = storeDir): ActionsCache {
  return openActionsCache({workerPath, storeDir: store, env});
}

function file(name: string, bytes: Buffer | string): string {
  const path = join(dir, name);
  writeFileSync(path, bytes);
  return path;
}

async function hit(cache: ActionsCache, key = KEY, options: CacheOptions = {}): Promise<CacheHit> {
  const found = await cache.restore(key, options);
  if (found.kind !== 'hit') throw new Error(JSON.stringify(found));
  return found;
}

const staged = (): string[] => (existsSync(storeDir) ? readdirSync(storeDir) : []);

describe.each<[string, () => Promise<CacheServer>]>([
  ['version 1', startCacheServerV1],
  ['version 2', () => startCacheServerV2('loopback')],
  ['version 2, blobs at Azure', () => startCacheServerV2('azure')],
])('the service, %s', (_, start) => {
  test('misses, saves, and restores elsewhere what was saved', async () => {
    await using server = await start();
    const disk = randomBytes(300_000);
    const files = {disk: file('vm.qcow2', disk), frame: file('vm.frame', 'frame')};
    expect(await open(server.env).restore(KEY, {})).toEqual({kind: 'miss'});
    const saved = await open(server.env).save({key: KEY, files}, {});
    expect(saved).toEqual({
      kind: 'saved',
      sizeBytes: server.entries[0]?.blob.reduce((sum, part) => sum + part.length, 0),
    });
    expect(statSync(files.disk).nlink).toBe(1);
    // Another machine has its store elsewhere: the entry's version must not depend on the path.
    const found = await hit(open(server.env, join(dir, 'another', 'place')));
    expect(found.sizeBytes).toBeGreaterThan(300_000);
    await found.take('disk', join(dir, 'another', 'place', 'taken'));
    expect(readFileSync(join(dir, 'another', 'place', 'taken')).equals(disk)).toBe(true);
    expect(readFileSync(await found.path('frame'), 'utf8')).toBe('frame');
    await found.discard();
    expect(readdirSync(join(dir, 'another', 'place'))).toEqual(['taken']);
    expect(staged()).toEqual([]);
  });

  test('an entry is written once', async () => {
    await using server = await start();
    const files = {disk: file('vm.qcow2', 'disk')};
    expect(await open(server.env).save({key: KEY, files}, {})).toMatchObject({kind: 'saved'});
    expect(await open(server.env).save({key: KEY, files}, {})).toEqual({kind: 'exists'});
    expect(server.entries).toHaveLength(1);
  });

  test('an entry of a longer key is none of ours, though the service finds it', async () => {
    await using server = await start();
    await open(server.env).save({key: `${KEY}-more`, files: {disk: file('vm.qcow2', 'disk')}}, {});
    expect(await open(server.env).restore(KEY, {})).toEqual({kind: 'miss'});
    expect(staged()).toEqual([]);
  });

  test('a wrong token costs a reason', async () => {
    await using server = await start();
    const env = {...server.env, ACTIONS_RUNTIME_TOKEN: 'another'};
    expect(await open(env).restore(KEY, {})).toMatchObject({
      kind: 'failed',
      reason: expect.stringContaining('401'),
    });
    const saved = await open(env).save({key: KEY, files: {disk: file('vm.qcow2', 'disk')}}, {});
    expect(saved).toMatchObject({kind: 'failed'});
  });

  test('a cache that hangs is given up', async () => {
    await using server = await start();
    server.fault = () => 'hang';
    expect(await open(server.env).restore(KEY, {timeoutMs: 700})).toEqual({
      kind: 'failed',
      reason: 'the cache did not end within 0.7 s',
    });
    const entry = {key: KEY, files: {disk: file('vm.qcow2', 'disk')}};
    expect(await open(server.env).save(entry, {timeoutMs: 700})).toMatchObject({kind: 'failed'});
    expect(staged()).toEqual([]);
  });

  test('a job that is canceled does not wait for it, and nothing goes on behind it', async () => {
    await using server = await start();
    server.fault = () => 'hang';
    const controller = new AbortController();
    const pids: [number, string][] = [];
    const restoring = open(server.env).restore(KEY, {
      signal: controller.signal,
      onResource: one => one.kind === 'process' && pids.push([one.pid, one.startTicks]),
    });
    restoring.catch(() => undefined);
    while (server.calls.length === 0) await new Promise(resolve => setTimeout(resolve, 20));
    controller.abort(new CanceledError('canceled by SIGINT'));
    await expect(restoring).rejects.toThrow('canceled by SIGINT');
    const [pid, ticks] = pids[0] ?? [0, ''];
    for (let i = 0; i < 100 && (await startTicksOf(pid)) === ticks; i++)
      await new Promise(r => setTimeout(r, 20));
    expect(ticks).not.toBe('');
    expect(await startTicksOf(pid)).not.toBe(ticks);
    expect(staged()).toEqual([]);
  });

  test('a corrupt entry costs a reason', async () => {
    await using server = await start();
    await open(server.env).save({key: KEY, files: {disk: file('vm.qcow2', randomBytes(5000))}}, {});
    server.fault = call => (call === 'download' || call === 'GetBlob' ? 'corrupt' : undefined);
    expect(await open(server.env).restore(KEY, {})).toMatchObject({
      kind: 'failed',
      reason: expect.stringContaining('tar'),
    });
    expect(staged()).toEqual([]);
  });
});

describe('faults', () => {
  test('version 1: a download that is cut costs a reason', async () => {
    await using server = await startCacheServerV1();
    await open(server.env).save({key: KEY, files: {disk: file('vm.qcow2', randomBytes(50_000))}}, {});
    server.fault = call => (call === 'download' ? 'truncate' : undefined);
    expect(await open(server.env).restore(KEY, {})).toMatchObject({kind: 'failed'});
  });

  test('version 1: over the limit', async () => {
    await using server = await startCacheServerV1();
    server.fault = call =>
      call === 'reserve' ? {status: 400, body: {message: 'over the data cap limit'}} : undefined;
    const saved = await open(server.env).save({key: KEY, files: {disk: file('vm.qcow2', 'disk')}}, {});
    expect(saved).toEqual({kind: 'failed', reason: 'over the data cap limit'});
  });

  test.each<[string, object, string]>([
    [
      'full',
      {status: 429, body: {code: 'resource_exhausted', msg: 'insufficient usage to create cache'}},
      'Cache storage quota has been hit',
    ],
    [
      'read-only',
      {status: 200, body: {ok: false, message: 'cache write denied: untrusted event'}},
      'cache write denied: untrusted event',
    ],
    ['rate limited', {status: 429, body: {msg: 'slow down'}, headers: {'retry-after': '30'}}, 'slow down'],
    ['forbidden', {status: 403, body: {code: 'permission_denied', msg: 'no'}}, '(403)'],
  ])('version 2: %s', async (_, fault, reason) => {
    await using server = await startCacheServerV2();
    server.fault = call => (call === 'CreateCacheEntry' ? (fault as {status: number}) : undefined);
    const saved = await open(server.env).save({key: KEY, files: {disk: file('vm.qcow2', 'disk')}}, {});
    expect(saved).toMatchObject({kind: 'failed', reason: expect.stringContaining(reason)});
  });

  test('version 2: reading is denied', async () => {
    await using server = await startCacheServerV2();
    const fault = {status: 403, body: {code: 'permission_denied', msg: 'cache read denied: no scopes'}};
    server.fault = call => (call === 'GetCacheEntryDownloadURL' ? fault : undefined);
    expect(await open(server.env).restore(KEY, {})).toMatchObject({
      kind: 'failed',
      reason: expect.stringContaining('cache read denied: no scopes'),
    });
  });

  test('version 2: an upload that is refused leaves no entry', async () => {
    await using server = await startCacheServerV2();
    server.fault = call => (call === 'PutBlob' ? {status: 403} : undefined);
    const saved = await open(server.env).save({key: KEY, files: {disk: file('vm.qcow2', 'disk')}}, {});
    expect(saved).toMatchObject({kind: 'failed'});
    expect(server.entries.filter(entry => entry.complete)).toEqual([]);
  });

  test('a service that is not there', async () => {
    const server = await startCacheServerV2();
    await server[Symbol.asyncDispose]();
    const found = await open(server.env).restore(KEY, {});
    expect(found).toMatchObject({kind: 'failed', reason: expect.stringContaining('ECONNREFUSED')});
  });

  test('a runner without a cache service', async () => {
    expect(await open({PATH: process.env.PATH}).restore(KEY, {})).toEqual({
      kind: 'failed',
      reason: 'this runner offers no cache service',
    });
  });

  test('the mode of the run forbids it', async () => {
    await using server = await startCacheServerV2();
    const entry = {key: KEY, files: {disk: file('vm.qcow2', 'disk')}};
    expect(await open({...server.env, ACTIONS_CACHE_MODE: 'read'}).save(entry, {})).toMatchObject({
      kind: 'failed',
      reason: expect.stringContaining("'read' does not permit writes"),
    });
    expect(await open({...server.env, ACTIONS_CACHE_MODE: 'none'}).restore(KEY, {})).toMatchObject({
      kind: 'failed',
    });
    expect(server.calls).toEqual([]);
  });

  test('a store that cannot be written to', async () => {
    await using server = await startCacheServerV2();
    file('flat', '');
    const found = await open(server.env, join(dir, 'flat', 'store')).restore(KEY, {});
    expect(found).toMatchObject({kind: 'failed', reason: expect.stringContaining('ENOTDIR')});
  });

  test.each(['a b', 'a:b', 'a"b'])('a store in a folder %j', async name => {
    await using server = await startCacheServerV2();
    const cache = open(server.env, join(dir, name));
    const failure = {
      kind: 'failed',
      reason: expect.stringContaining('set BUILDKIT_ARCHIVE_STORE to a folder'),
    };
    expect(await cache.restore(KEY, {})).toEqual(failure);
    expect(await cache.save({key: KEY, files: {disk: file('vm.qcow2', 'disk')}}, {})).toEqual(failure);
    expect(existsSync(join(dir, name))).toBe(false);
  });

  test('a file that is gone, and a worker that is', async () => {
    await using server = await startCacheServerV2();
    const gone = await open(server.env).save({key: KEY, files: {disk: join(dir, 'gone')}}, {});
    expect(gone).toMatchObject({kind: 'failed', reason: expect.stringContaining('ENOENT')});
    const cache = openActionsCache({workerPath: join(dir, 'none.cjs'), storeDir, env: server.env});
    expect(await cache.restore(KEY, {})).toEqual({
      kind: 'failed',
      reason: 'its client ended with exit status 1',
    });
    expect(staged()).toEqual([]);
  });
});

test('what the client prints reaches neither our output nor, with its secrets, the listener', async () => {
  await using server = await startCacheServerV2();
  const lines: string[] = [];
  const options = {onLine: (line: string) => lines.push(line)};
  await open(server.env).save({key: KEY, files: {disk: file('vm.qcow2', 'disk')}}, options);
  await (await hit(open(server.env), KEY, options)).discard();
  const text = lines.join('\n');
  expect(text).toContain('Cache hit for');
  expect(text).not.toContain('::');
  expect(text).not.toContain('signed+by');
  expect(text).not.toContain(encodeURIComponent('signed+by/us='));
});

test('a large entry goes up in blocks and comes down in ranges', async () => {
  await using server = await startCacheServerV2('azure');
  // Up to 128 MiB the client sends one piece.
  const disk = randomBytes(129 * 1024 * 1024);
  const path = file('vm.qcow2', disk);
  expect(await open(server.env).save({key: KEY, files: {disk: path}}, {})).toMatchObject({kind: 'saved'});
  expect(server.calls.filter(call => call === 'PutBlock')).toHaveLength(3);
  const found = await hit(open(server.env));
  expect(server.calls.filter(call => call === 'GetBlob').length).toBeGreaterThan(30);
  expect(readFileSync(await found.path('disk')).equals(disk)).toBe(true);
  await found.discard();
});

test('the client ends with a job that is killed', async () => {
  await using server = await startCacheServerV2();
  server.fault = () => 'hang';
  const script = `
    const options = {silent: true, detached: true, env: ${JSON.stringify(server.env)}};
    const worker = require('node:child_process').fork(${JSON.stringify(workerPath)}, [], options);
    worker.send({operation: 'restore', key: 'k', path: 'e'}, () => console.log(worker.pid));`;
  const parent = spawn(process.execPath, ['-e', script], {cwd: dir, stdio: ['ignore', 'pipe', 'inherit']});
  const pid = Number(await new Promise(resolve => parent.stdout.once('data', resolve)));
  while (server.calls.length === 0) await new Promise(resolve => setTimeout(resolve, 20));
  expect(await startTicksOf(pid)).toBeDefined();
  parent.kill('SIGKILL');
  for (let i = 0; i < 100 && (await startTicksOf(pid)); i++) await new Promise(r => setTimeout(r, 20));
  expect(await startTicksOf(pid)).toBeUndefined();
});

describe('an entry made by somebody else', () => {
  /** Puts a tar in place of the entry's. */
  async function restoreTar(make: (work: string) => string): Promise<{result: string; outside: string[]}> {
    await using server = await startCacheServerV2();
    await open(server.env).save({key: KEY, files: {disk: file('vm.qcow2', 'disk')}}, {});
    const work = join(dir, 'work');
    const outside = join(dir, 'outside');
    mkdirSync(join(work, 'e'), {recursive: true});
    mkdirSync(outside);
    execFileSync('bash', ['-c', make(outside)], {cwd: work});
    const entry = server.entries[0];
    if (!entry) throw new Error('nothing was saved');
    entry.blob = [execFileSync('zstd', ['-qc', join(work, 'evil.tar')])];
    const found = await open(server.env).restore(KEY, {});
    let result: string = found.kind;
    if (found.kind === 'hit') {
      result = await found.path('disk').then(
        path => readFileSync(path, 'utf8'),
        error => (error as Error).message,
      );
      await found.discard();
    }
    return {result, outside: readdirSync(outside)};
  }

  test.each<[string, (outside: string) => string, string]>([
    ['as ours', () => 'echo good >e/disk; tar -cf evil.tar e', 'good\n'],
    [
      'with an absolute name',
      out =>
        `echo good >e/disk; tar -P --transform 's,^e/evil,${out}/x,' -cf evil.tar e/disk; touch e/evil; tar -P --transform 's,^e/evil,${out}/x,' -rf evil.tar e/evil`,
      'good\n',
    ],
    [
      'with a name that climbs',
      () =>
        `echo good >e/disk; touch e/evil; tar -P --transform 's,^e/evil,../../outside/x,' -cf evil.tar e/disk e/evil`,
      'good\n',
    ],
    [
      'with a name that climbs from the folder',
      () =>
        `echo good >e/disk; touch e/evil; tar -P --transform 's,^e/evil,e/../../../outside/x,' -cf evil.tar e/disk e/evil`,
      'good\n',
    ],
    [
      'whose folder is a link',
      out =>
        `tar -cf evil.tar --files-from /dev/null; rm -r e; ln -s ${out} e; tar -P -rf evil.tar e; rm e; mkdir e; echo x >e/x; tar -rf evil.tar e/x`,
      'failed',
    ],
    [
      'with a link to a folder in it',
      out =>
        `ln -s ${out} e/l; tar -P -cf evil.tar e/l; rm e/l; mkdir e/l; echo x >e/l/x; tar -rf evil.tar e/l/x`,
      "the cache's entry has no regular file disk",
    ],
    [
      'whose disk is a link',
      () => 'ln -s /etc/passwd e/disk; tar -P -cf evil.tar e/disk',
      "the cache's entry has no regular file disk",
    ],
    [
      'without a disk',
      () => 'touch e/other; tar -cf evil.tar e',
      "the cache's entry has no regular file disk",
    ],
  ])('%s', async (_, make, expected) => {
    const {result, outside} = await restoreTar(make);
    expect(result).toBe(expected);
    expect(outside).toEqual([]);
  });
});
