import {execFileSync} from 'node:child_process';
import {
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {type Archive, obtainArchive} from '../../src/archive/obtain.ts';
import type {LoadableImage} from '../../src/base/docker.ts';
import {DamagedError} from '../../src/base/errors.ts';
import {writeImage} from '../../src/host/docker.ts';
import {localPorts} from '../../src/host/local.ts';
import {type Entry, qcow2, sha256, tar, writeDockerArchive, writeLayout} from '../support/images.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'test-docker-image-'));
});
afterEach(() => rmSync(dir, {recursive: true}));

const {signal} = new AbortController();
const path = (name: string): string => join(dir, name);
const obtain = (reference: string): Promise<Archive> =>
  obtainArchive(
    {...localPorts, emit: () => undefined},
    {reference, path: reference, images: [], storeDir: path('store')},
    signal,
  );
const loadable = async (archive: Archive): Promise<LoadableImage> => {
  if (!archive.dockerImage) throw new Error('no image');
  return archive.dockerImage(signal);
};

// Without a time of its own an entry has the second in which its tar is made.
const mtime = new Date(1e12);
const QEMU: Entry[] = [{name: 'usr/bin/qemu-system-x86_64', content: 'x'.repeat(100_000), mtime}];
const START: Entry[] = [{name: 'start.sh', content: '#!/bin/sh\n', mode: 0o755, mtime}];
const DISK: Entry[] = [{name: 'vm.qcow2', content: qcow2(), mtime}];
const LAYERS = [QEMU, START, START, DISK];
const diffIds = (): Promise<string[]> => Promise.all(LAYERS.map(async layer => sha256(await tar(layer))));

/** What docker would read, unpacked by GNU tar. */
async function unpacked(image: LoadableImage): Promise<string> {
  const out = path('loaded');
  mkdirSync(out);
  const sink = createWriteStream(path('stream.tar'));
  await writeImage(sink, image, 'localhost/buildkit-archive:test', {signal});
  execFileSync('tar', ['-xf', path('stream.tar'), '-C', out]);
  return out;
}

describe.each([
  ['an OCI layout', (to: string) => writeLayout(to, LAYERS)],
  ['a docker save tar', (to: string) => writeDockerArchive(to, LAYERS, ['a:b'])],
])('%s', (_name, write) => {
  test('gives docker every layer as it was, and the config that is its ID', async () => {
    await write(path('image'));
    await using archive = await obtain(path('image'));
    const image = await loadable(archive);
    const out = await unpacked(image);
    const [manifest] = JSON.parse(readFileSync(join(out, 'manifest.json'), 'utf8'));
    expect(manifest.RepoTags).toEqual(['localhost/buildkit-archive:test']);
    const config = readFileSync(join(out, manifest.Config));
    expect(sha256(config)).toBe(image.id);
    const layers = manifest.Layers.map((name: string) => sha256(readFileSync(join(out, name))));
    expect(layers).toEqual(await diffIds());
    expect(JSON.parse(config.toString()).rootfs.diff_ids).toEqual(layers);
  });

  test('keeps no layer twice: the disk is not kept as a layer, and the same layer is one', async () => {
    await write(path('image'));
    await using archive = await obtain(path('image'));
    await loadable(archive);
    const names = readdirSync(path('store/layers')).filter(name => name.endsWith('.tar'));
    const [qemu = '', start = ''] = await diffIds();
    expect(names.sort()).toEqual([qemu, start].map(id => `${id.slice(7)}.tar`).sort());
  });
});

test('what was kept is not read from the image again', async () => {
  await writeLayout(path('oci'), LAYERS);
  {
    await using archive = await obtain(path('oci'));
    await loadable(archive);
  }
  // Small files are manifest and config; layers are gone.
  const blobs = path('oci/blobs/sha256');
  for (const name of readdirSync(blobs)) {
    if (!readFileSync(join(blobs, name)).toString('latin1').startsWith('{')) rmSync(join(blobs, name));
  }
  await using archive = await obtain(path('oci'));
  const out = await unpacked(await loadable(archive));
  const [manifest] = JSON.parse(readFileSync(join(out, 'manifest.json'), 'utf8'));
  const layers = manifest.Layers.map((name: string) => sha256(readFileSync(join(out, name))));
  expect(layers).toEqual(await diffIds());
});

test("a disk's layer that holds much beside it is kept as it is", async () => {
  const big = {name: 'usr/share/big', content: Buffer.alloc(17 * 1024 ** 2, 'x')};
  await writeLayout(path('oci'), [START, [big, ...DISK]]);
  await using archive = await obtain(path('oci'));
  const {layers} = await loadable(archive);
  expect(layers.map(({sizeBytes}) => sizeBytes)).toEqual([
    (await tar(START)).length,
    (await tar([big, ...DISK])).length,
  ]);
});

test('a damaged config is refused before docker sees it', async () => {
  await writeLayout(path('oci'), LAYERS);
  await using archive = await obtain(path('oci'));
  const index = JSON.parse(readFileSync(path('oci/index.json'), 'utf8'));
  const blob = (digest: string): string => path(`oci/blobs/sha256/${digest.slice(7)}`);
  const manifest = JSON.parse(readFileSync(blob(index.manifests[0].digest), 'utf8'));
  writeFileSync(blob(manifest.config.digest), '{}');
  await expect(loadable(archive)).rejects.toThrow(DamagedError);
});

test('a damaged layer is refused, and nothing of it is kept', async () => {
  await writeLayout(path('oci'), LAYERS);
  await using archive = await obtain(path('oci'));
  for (const name of readdirSync(path('oci/blobs/sha256'))) {
    const file = path(`oci/blobs/sha256/${name}`);
    if (readFileSync(file).readUInt16BE(0) === 0x1f8b)
      writeFileSync(file, readFileSync(file).subarray(0, -20));
  }
  await expect(loadable(archive)).rejects.toThrow(DamagedError);
  expect(readdirSync(path('store/layers'))).toEqual([]);
});

test('a bare disk is no image', async () => {
  writeFileSync(path('vm.qcow2'), qcow2());
  await using archive = await obtain(path('vm.qcow2'));
  expect(archive.dockerImage).toBeUndefined();
});
