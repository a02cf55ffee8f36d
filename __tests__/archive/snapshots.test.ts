import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import {open} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {Snapshots} from '../../src/archive/snapshots.ts';
import {Store} from '../../src/archive/store.ts';
import type {CacheRestore} from '../../src/base/cache.ts';
import type {StoreFolder} from '../../src/base/store.ts';
import {localFiles} from '../../src/host/files.ts';
import {openStoreFolder} from '../../src/host/store.ts';
import {qcow2} from '../support/images.ts';

const DIGEST = `sha256:${'5'.repeat(64)}`;
let dir: string;
let folder: StoreFolder;
let snapshots: Snapshots;

const over = (store: StoreFolder): Snapshots =>
  new Snapshots({folder: store, nowMs: Date.now, emit: () => undefined});

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'snapshots-'));
  folder = openStoreFolder(dir);
  snapshots = over(folder);
});
afterEach(() => rmSync(dir, {recursive: true}));

const FILES = ['ram', 'state', 'overlay.qcow2', 'manifest.json'];

async function make(destDir: string): Promise<number> {
  mkdirSync(destDir);
  for (const name of FILES) writeFileSync(join(destDir, name), name.repeat(1000));
  return 4242;
}

async function kept(): Promise<string> {
  expect(await snapshots.keep(DIGEST, 'v0.20.2', make)).toBe(true);
  const found = await snapshots.find(DIGEST);
  if (found.kind !== 'found') throw new Error(`not found: ${JSON.stringify(found)}`);
  await snapshots.close();
  return found.dir;
}

test('what was kept is found, with the size that its maker gave', async () => {
  expect(await snapshots.find(DIGEST)).toEqual({kind: 'none'});
  const path = await kept();
  expect(readdirSync(path).sort()).toEqual([...FILES].sort());
  expect(await snapshots.find(DIGEST)).toMatchObject({kind: 'found', sizeBytes: 4242});
});

describe('a snapshot in doubt is dropped, once', () => {
  test.each<[string, (path: string) => void | Promise<void>]>([
    ...FILES.map((name): [string, (path: string) => void] => [
      `${name} is gone`,
      path => rmSync(join(path, name)),
    ]),
    ...FILES.map((name): [string, (path: string) => void] => [
      `${name} is truncated`,
      path => truncateSync(join(path, name), 100),
    ]),
    ...FILES.map((name): [string, (path: string) => Promise<void>] => [
      `a bit of ${name} is flipped, and its time set back`,
      async path => {
        const file = await open(join(path, name), 'r+');
        const {atime, mtime} = await file.stat();
        await file.write(Buffer.from('X'), 0, 1, 500);
        await file.close();
        utimesSync(join(path, name), atime, mtime);
      },
    ]),
    ['another file has come in', path => writeFileSync(join(path, 'more'), '')],
  ])('%s', async (_name, harm) => {
    const path = await kept();
    await harm(path);
    expect(await snapshots.find(DIGEST)).toEqual({kind: 'dropped', why: 'its files were changed'});
    expect(existsSync(path)).toBe(false);
    expect(await snapshots.find(DIGEST)).toEqual({kind: 'none'});
  });

  test('the machine was started anew', async () => {
    await kept();
    const later = over(
      new Proxy(folder, {
        get: (target, name) =>
          name === 'bootId'
            ? async () => 'another'
            : (Reflect.get(target, name).bind?.(target) ?? Reflect.get(target, name)),
      }),
    );
    expect(await later.find(DIGEST)).toEqual({kind: 'dropped', why: 'the machine was started anew'});
    expect(await snapshots.find(DIGEST)).toEqual({kind: 'none'});
  });
});

test('a maker that fails leaves nothing, and the next one can', async () => {
  const failing = snapshots.keep(DIGEST, 'x', async destDir => {
    await make(destDir);
    throw new Error('disk full');
  });
  await expect(failing).rejects.toThrow('disk full');
  expect(readdirSync(join(dir, 'snapshots'))).toEqual([]);
  await kept();
});

test('of two that make the same one does it', async () => {
  let release: () => void = () => undefined;
  const held = new Promise<void>(resolve => {
    release = resolve;
  });
  const first = snapshots.keep(DIGEST, 'x', async destDir => {
    await held;
    return make(destDir);
  });
  await new Promise(resolve => setTimeout(resolve, 50));
  expect(await over(openStoreFolder(dir)).keep(DIGEST, 'x', make)).toBe(false);
  release();
  expect(await first).toBe(true);
});

test('what is in use is not evicted; what was left half-made is swept', async () => {
  const path = await kept();
  const store = new Store({folder, nowMs: Date.now, emit: () => undefined});
  await snapshots.find(DIGEST);
  expect(await store.prune({maxBytes: 0})).toEqual([]);
  await snapshots.close();
  mkdirSync(join(dir, 'snapshots', `.partial-${'6'.repeat(64)}`));
  expect(await store.prune({maxBytes: 0})).toMatchObject([{key: {kind: 'snapshots'}}]);
  expect(existsSync(path)).toBe(false);
  expect(readdirSync(join(dir, 'snapshots'))).toEqual([]);
});

test('`cache verify` knows a changed snapshot', async () => {
  const store = new Store({folder, nowMs: Date.now, emit: () => undefined});
  const path = await kept();
  expect(await store.verify()).toMatchObject([{state: 'ok'}]);
  appendFileSync(join(path, 'ram'), 'x');
  expect(await store.verify()).toMatchObject([{state: 'damaged', removed: true}]);
});

test.each<[string, Parameters<typeof qcow2>[0], 'found' | 'none']>([
  ['a disk of its own', {}, 'found'],
  ['a disk that names a file of this machine', {backingFile: '/etc/shadow'}, 'none'],
  ['a disk whose data lies in another file', {features: 4n}, 'none'],
  ['a cut disk', {truncateBytes: 70_000}, 'none'],
])('a snapshot out of the Actions cache with %s: %s', async (_, disk, kind) => {
  const came = mkdtempSync(join(tmpdir(), 'came-'));
  for (const name of FILES) writeFileSync(join(came, name), name.endsWith('.qcow2') ? qcow2(disk) : name);
  const hit: CacheRestore = {
    kind: 'hit',
    sizeBytes: 1,
    path: async name => join(came, name),
    take: async (name, dest) => renameSync(join(came, name), dest),
    discard: async () => rmSync(came, {recursive: true}),
  };
  const cache = {restore: async () => hit, save: async () => ({kind: 'exists'}) as const};
  const {signal} = new AbortController();
  await snapshots.fetch(DIGEST, 'v0.20.2', FILES, {cache, files: localFiles}, signal);
  expect((await snapshots.find(DIGEST)).kind).toBe(kind);
  await snapshots.close();
});

test('a store that cannot be read has no snapshots', async () => {
  const broken = over(openStoreFolder('/dev/null/store'));
  expect(await broken.find(DIGEST)).toEqual({kind: 'none'});
  await broken.forget(DIGEST);
});
