// The store and the Actions cache: a hit beside its limit, and what is cached of a disk beside the layer that it came in.
import {execFileSync} from 'node:child_process';
import {link, mkdir, mkdtemp, readdir, rm, stat} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {disk, load, median, row} from './lib.mjs';

const RUNS = 9;
const HIT_LIMIT_SECONDS = 0.05;
const MB = 1_000_000;

export async function* bench() {
  const {Store} = await load('src/archive/store.ts');
  const {openStoreFolder} = await load('src/host/store.ts');
  // On the disk's own file system, so that the store is filled by a link and not by a copy.
  const dir = await mkdtemp(join(dirname(disk), '.bench-store-'));
  try {
    const open = () =>
      new Store({folder: openStoreFolder(dir), nowMs: Date.now, emit: ({message}) => console.error(message)});
    const key = {kind: 'disks', digest: `sha256:${'a'.repeat(64)}`};
    const make = async dest => void (await link(disk, dest));
    const filled = open();
    const verifySeconds = await seconds(() => filled.getOrMake(key, make));
    await filled.close();

    const before = await usedBytes(dir);
    const hits = [];
    for (let i = 0; i < RUNS; i++) {
      const store = open();
      hits.push(
        await seconds(async () => {
          const {hit} = await store.getOrMake(key, make);
          if (!hit) throw new Error('it was not in the store');
        }),
      );
      await store.close();
    }
    yield row('restore/store', {value: median(hits), unit: 's', limit: HIT_LIMIT_SECONDS});
    yield row('restore/copied', {value: (await usedBytes(dir)) - before, unit: 'B', limit: 4096});
    yield row('restore/first-digest', {value: verifySeconds, unit: 's'});
    yield* cached(dir);
  } finally {
    await rm(dir, {recursive: true, force: true});
  }
}

/** What @actions/cache makes of the disk, and of its layer: the bytes, and the time until the disk lies there. */
async function* cached(dir) {
  const blobs = join(dirname(disk), 'oci', 'blobs', 'sha256');
  const sizes = await Promise.all(
    (await readdir(blobs)).map(async name => ({name, sizeBytes: (await stat(join(blobs, name))).size})),
  );
  const layer = sizes.sort((a, b) => b.sizeBytes - a.sizeBytes)[0];
  const tar = (name, from, ...args) => {
    execFileSync('tar', ['--use-compress-program', 'zstdmt', '-cf', join(dir, name), '-C', from, ...args]);
  };
  const unpack = (name, ...more) => {
    const out = join(dir, `out-${name}`);
    return seconds(async () => {
      await mkdir(out);
      execFileSync('tar', ['--use-compress-program', 'unzstd', '-xf', join(dir, name), '-C', out]);
      for (const command of more) execFileSync('bash', ['-c', command], {cwd: out});
    });
  };
  tar('disk', dirname(disk), 'vm.qcow2');
  tar('layer', blobs, layer.name);
  yield row('cache/size', {
    value: (await stat(join(dir, 'disk'))).size / MB,
    unit: 'MB',
    reference: (await stat(join(dir, 'layer'))).size / MB,
    limit: 1.02,
  });
  // Both read their bytes once more for the digest.
  const value = await unpack('disk', 'sha256sum vm.qcow2');
  const reference = await unpack('layer', `sha256sum ${layer.name}`, `tar -xzf ${layer.name} vm.qcow2`);
  yield row('cache/unpack', {value, unit: 's', reference, limit: 1});
}

async function seconds(work) {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

/** Bytes that the folder takes on the disk; a linked disk counts as what it is. */
async function usedBytes(dir) {
  return Number(execFileSync('du', ['--bytes', '--summarize', dir]).toString().split('\t')[0]);
}
