// Pulling an archive from a real docker-registry on loopback, beside the least that could be done (curl | tar) and beside docker; and the memory of a large layer.
import {execFile, execFileSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {createWriteStream} from 'node:fs';
import {mkdir, mkdtemp, rm, stat, writeFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {Readable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import {promisify} from 'node:util';
import {createGzip} from 'node:zlib';
import {build} from 'esbuild';
import {startDocker} from './dockerd.mjs';
import {disk, load, median, root, row} from './lib.mjs';

const run = promisify(execFile);
const RUNS = 5;
const DOCKER_RUNS = 3;
const CURL_LIMIT = 1.2;
const DOCKER_LIMIT = 0.5;
const RSS_LIMIT_MB = 200;
const LARGE_LAYER_BYTES = 2 * 1000 ** 3;

export async function* bench() {
  const layout = join(dirname(disk), 'oci');
  // Beside the archives, so that what is pulled is written to the same file system.
  const dir = await mkdtemp(join(dirname(dirname(disk)), '.bench-pull-'));
  const {startRegistry} = await load('__tests__/support/registry.ts');
  const registry = await startRegistry({dataDir: join(dir, 'registry')});
  try {
    const reference = `127.0.0.1:${registry.port}/bench/archive:v0.20.2`;
    await push(layout, reference);
    const program = await bundle(dir);
    yield* wire(dir, program, reference);
    yield* docker(dir, program, reference);
    const large = `127.0.0.1:${registry.port}/bench/large:2gb`;
    await push(await makeLargeImage(dir), large);
    const {peakMb} = await pull(program, large, join(dir, 'large'));
    yield row('rss/2gb-layer', {value: peakMb, unit: 'MB', limit: RSS_LIMIT_MB});
  } finally {
    await registry.stop();
    await rm(dir, {recursive: true, force: true});
  }
}

/** The same bytes over the same wire, in turn; both write to the same file system. Process starts count for both. */
async function* wire(dir, program, reference) {
  const [host, path] = [reference.slice(0, reference.indexOf('/')), 'bench/archive'];
  const headers = {accept: 'application/vnd.oci.image.manifest.v1+json'};
  const manifest = await (await fetch(`http://${host}/v2/${path}/manifests/v0.20.2`, {headers})).json();
  const layer = manifest.layers.toSorted((a, b) => b.size - a.size)[0];
  const script = `curl -sSf http://${host}/v2/${path}/blobs/${layer.digest} | tar xz -C "$0" vm.qcow2`;
  const [ours, curls] = [[], []];
  for (let i = 0; i < RUNS; i++) {
    const [mine, theirs] = [join(dir, 'mine'), join(dir, 'theirs')];
    await mkdir(theirs);
    curls.push(await seconds(() => run('sh', ['-c', script, theirs])));
    ours.push(await seconds(() => pull(program, reference, join(mine, 'vm.qcow2'))));
    execFileSync('cmp', [join(mine, 'vm.qcow2'), join(theirs, 'vm.qcow2')]);
    await Promise.all([mine, theirs].map(one => rm(one, {recursive: true})));
  }
  yield row('pull/curl-tar', {value: median(ours), unit: 's', reference: median(curls), limit: CURL_LIMIT});
}

/** `docker pull`, `docker create`, `docker cp`: with the machine's engine, else with one of its own on a socket and a store of its own. */
async function* docker(dir, program, reference) {
  const engine = await startDocker(dir, ['--bridge=none', '--iptables=false', '--ip6tables=false']);
  if (!engine) {
    console.error('pull/docker is left out');
    return;
  }
  try {
    const call = (...args) => run('docker', args, {env: engine.env});
    const [ours, theirs] = [[], []];
    for (let i = 0; i < DOCKER_RUNS; i++) {
      theirs.push(
        await seconds(async () => {
          await call('pull', '--quiet', reference);
          await call('create', '--name', 'bench-pull', reference);
          await call('cp', 'bench-pull:/vm.qcow2', join(dir, 'docker.qcow2'));
        }),
      );
      await call('rm', 'bench-pull');
      await call('rmi', reference);
      ours.push(await seconds(() => pull(program, reference, join(dir, 'mine', 'vm.qcow2'))));
      await Promise.all(['docker.qcow2', 'mine'].map(name => rm(join(dir, name), {recursive: true})));
    }
    yield row('pull/docker', {
      value: median(ours),
      unit: 's',
      reference: median(theirs),
      limit: DOCKER_LIMIT,
    });
  } finally {
    await engine.stop();
  }
}

/** An OCI layout with one layer: a file of incompressible bytes, in gzip of stored blocks, which is quick to make. */
async function makeLargeImage(dir) {
  const {pack} = await import('tar-stream');
  const layout = join(dir, 'large-layout');
  const blobs = join(layout, 'blobs/sha256');
  await mkdir(blobs, {recursive: true});
  const block = Buffer.from(
    Array.from(
      {length: 1_000_000},
      (_, i) =>
        createHash('md5')
          .update(`${i >> 4}`)
          .digest()[i & 15],
    ),
  );
  const tar = pack();
  const entry = tar.entry({name: 'vm.qcow2', size: LARGE_LAYER_BYTES});
  const filled = pipeline(
    Readable.from(
      (function* () {
        for (let at = 0; at < LARGE_LAYER_BYTES; at += block.length) yield block;
      })(),
    ),
    entry,
  ).then(() => tar.finalize());
  const [tarHash, blobHash] = [createHash('sha256'), createHash('sha256')];
  const hashing = hash =>
    async function* (chunks) {
      for await (const chunk of chunks) {
        hash.update(chunk);
        yield chunk;
      }
    };
  const temp = join(layout, 'layer');
  await Promise.all([
    filled,
    pipeline(tar, hashing(tarHash), createGzip({level: 0}), hashing(blobHash), createWriteStream(temp)),
  ]);
  const digest = blobHash.digest('hex');
  await run('mv', [temp, join(blobs, digest)]);
  const put = async content => {
    const bytes = Buffer.from(JSON.stringify(content));
    const hex = createHash('sha256').update(bytes).digest('hex');
    await writeFile(join(blobs, hex), bytes);
    return {digest: `sha256:${hex}`, size: bytes.length};
  };
  const type = name => `application/vnd.oci.image.${name}`;
  const config = await put({
    architecture: 'amd64',
    os: 'linux',
    rootfs: {type: 'layers', diff_ids: [`sha256:${tarHash.digest('hex')}`]},
  });
  const {size} = await stat(join(blobs, digest));
  const manifest = await put({
    schemaVersion: 2,
    mediaType: type('manifest.v1+json'),
    config: {mediaType: type('config.v1+json'), ...config},
    layers: [{mediaType: type('layer.v1.tar+gzip'), digest: `sha256:${digest}`, size}],
  });
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const manifests = [{mediaType: type('manifest.v1+json'), ...manifest}];
  await writeFile(join(layout, 'index.json'), JSON.stringify({schemaVersion: 2, manifests}));
  return layout;
}

function push(layout, reference) {
  return run('skopeo', [
    'copy',
    '--quiet',
    '--dest-tls-verify=false',
    `oci:${layout}`,
    `docker://${reference}`,
  ]);
}

async function bundle(dir) {
  const outfile = join(dir, 'pull.mjs');
  await build({
    absWorkingDir: root,
    entryPoints: ['scripts/bench/pull-program.ts'],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node22',
    logLevel: 'warning',
    banner: {js: "import {createRequire} from 'node:module';const require=createRequire(import.meta.url);"},
  });
  return outfile;
}

async function pull(program, reference, dest) {
  const {stdout} = await run(process.execPath, [program, reference, dest]);
  return JSON.parse(stdout);
}

async function seconds(work) {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}
