// The store and the Actions cache: a hit beside its limit, and what is cached of a disk beside the layer that it came in.
import {execFileSync} from 'node:child_process';
import {mkdir, mkdtemp, readdir, rm, stat} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {disk, load, median, row} from './lib.mjs';

const RUNS = 9;
const HIT_LIMIT_SECONDS = 0.05;
const MB = 1_000_000;

export async function* bench() {
  const dir = await mkdtemp(join(dirname(dirname(disk)), '.bench-store-'));
  try {
    yield* restored(dir);
    yield* cached(dir);
  } finally {
    await rm(dir, {recursive: true, force: true});
  }
}

/** An archive that is named by its digest, pulled once; then obtained again and again with its registry turned off, the whole way that a job goes. */
async function* restored(dir) {
  const {obtainArchive} = await load('src/archive/obtain.ts');
  const {localPorts} = await load('src/host/local.ts');
  const {parseReference} = await load('src/plan/reference.ts');
  const {startRegistry} = await load('__tests__/support/registry.ts');
  const storeDir = join(dir, 'store');
  const registry = await startRegistry({dataDir: join(dir, 'registry')});
  const image = `127.0.0.1:${registry.port}/bench/archive`;
  const obtain = async name => {
    const said = [];
    const emit = event => void said.push(event.message);
    const plan = {reference: name, images: [parseReference(name, 'archive')], storeDir};
    const archive = await obtainArchive({...localPorts, emit}, plan, new AbortController().signal);
    return {archive, isHit: said.includes('the disk is in the store already')};
  };
  const digestOf = async () => {
    const response = await fetch(`http://${image.replace('/', '/v2/')}/manifests/v0.20.2`, {
      headers: {accept: 'application/vnd.oci.image.manifest.v1+json'},
    });
    return response.headers.get('docker-content-digest');
  };
  let pinned;
  try {
    const layout = `oci:${join(dirname(disk), 'oci')}:buildkit-v0.20.2`;
    const target = `docker://${image}:v0.20.2`;
    execFileSync('skopeo', ['copy', '--quiet', '--dest-tls-verify=false', layout, target]);
    pinned = `${image}@${await digestOf()}`;
    await (await obtain(pinned)).archive[Symbol.asyncDispose]();
  } finally {
    await registry.stop();
  }
  const before = await usedBytes(storeDir);
  const hits = [];
  let diskPath = '';
  for (let i = 0; i < RUNS; i++) {
    const started = performance.now();
    const {archive, isHit} = await obtain(pinned);
    hits.push((performance.now() - started) / 1000);
    diskPath = archive.diskPath;
    await archive[Symbol.asyncDispose]();
    if (!isHit) throw new Error('it was not in the store');
  }
  yield row('restore/store', {value: median(hits), unit: 's', limit: HIT_LIMIT_SECONDS});
  yield row('restore/copied', {value: (await usedBytes(storeDir)) - before, unit: 'B', limit: 4096});
  // After the machine was started anew the bytes are read once.
  const value = await seconds(() => localPorts.openStore(storeDir).measure(diskPath));
  yield row('restore/first-digest', {value, unit: 's'});
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
