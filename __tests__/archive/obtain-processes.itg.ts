import {type ChildProcess, spawn} from 'node:child_process';
import {mkdtempSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, afterEach, beforeAll, beforeEach, expect, test} from '@jest/globals';
import {build} from 'esbuild';
import {type FaultProxy, startFaultProxy} from '../support/fault-proxy.ts';
import {qcow2} from '../support/images.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {type MadeLayer, makeImage, makeLayer, noise, pushImage} from '../support/registry-images.ts';

/** Obtains an archive as a job does, in a process of its own; prints what it says, then the disk's path. */
const PROGRAM = `
import {obtainArchive} from './src/archive/obtain.ts';
import {localPorts} from './src/host/local.ts';
import {parseReference} from './src/plan/reference.ts';

const [reference, storeDir] = process.argv.slice(2);
const emit = event => console.log(event.text ?? event.message ?? event.kind);
const plan = {reference, images: [parseReference(reference, 'archive')], storeDir};
obtainArchive({...localPorts, emit}, plan, new AbortController().signal).then(
  async archive => {
    console.log('disk', archive.diskPath);
    await archive[Symbol.asyncDispose]();
  },
  error => {
    console.error(error.message);
    process.exitCode = 1;
  },
);
`;
const DISK = Buffer.concat([qcow2(), noise(3_000_000)]);

let dir: string;
let program: string;
let registry: Registry;
let proxy: FaultProxy;
let layer: MadeLayer;
let reference: string;
let storeDir: string;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'obtain-processes-'));
  program = join(dir, 'obtain.cjs');
  await build({
    stdin: {contents: PROGRAM, resolveDir: process.cwd(), loader: 'ts'},
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    external: ['cpu-features', '*.node'],
    outfile: program,
    logLevel: 'error',
  });
  registry = await startRegistry();
  proxy = await startFaultProxy(registry.port);
  layer = await makeLayer([{name: 'vm.qcow2', content: DISK}]);
  await pushImage(`http://127.0.0.1:${registry.port}`, 'x/archive', 'v1', makeImage([layer]));
  reference = `127.0.0.1:${proxy.port}/x/archive:v1`;
});
afterAll(async () => {
  await proxy.close();
  await registry.stop();
  rmSync(dir, {recursive: true, force: true});
});
beforeEach(() => {
  storeDir = mkdtempSync(join(dir, 'store-'));
  proxy.seen.length = 0;
});
afterEach(() => {
  for (const job of jobs.splice(0)) job.child.kill('SIGKILL');
});

interface Job {
  readonly child: ChildProcess;
  output: string;
  readonly ended: Promise<number | null>;
}

const jobs: Job[] = [];

function start(): Job {
  const child = spawn(process.execPath, [program, reference, storeDir], {stdio: ['ignore', 'pipe', 'pipe']});
  const ended = new Promise<number | null>(resolve => child.once('close', resolve));
  const job: Job = {child, output: '', ended};
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', chunk => {
      job.output += chunk;
    });
  }
  jobs.push(job);
  return job;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    const failed = jobs.find(({child}) => (child.exitCode ?? 0) !== 0);
    if (failed) throw new Error(failed.output);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

const layerRequests = (): number => proxy.seen.filter(({path}) => path.endsWith(layer.digest)).length;
/** Everything in the store but the entries: there must be nothing. */
const rest = (): string[] =>
  readdirSync(storeDir, {recursive: true, encoding: 'utf8'}).filter(name =>
    /partial|trash|locks\/|leases\//.test(name),
  );

test('jobs on one machine pull an archive once, and those that wait say for whom', async () => {
  let open = (): void => undefined;
  const opened = new Promise<void>(resolve => {
    open = resolve;
  });
  proxy.rule = ({path}) => (path.endsWith(layer.digest) ? {kind: 'before', run: () => opened} : undefined);
  const three = [start(), start(), start()];
  // One pulls and two wait for it.
  await until(
    () =>
      three.filter(({output}) => /another job \(pid \d+\) takes the same archive out/.test(output)).length ===
      2,
  );
  open();
  expect(await Promise.all(three.map(({ended}) => ended))).toEqual([0, 0, 0]);
  const paths = three.map(({output}) => /^disk (.*)$/m.exec(output)?.[1] ?? '');
  expect(new Set(paths).size).toBe(1);
  expect(readFileSync(paths[0] ?? '').equals(DISK)).toBe(true);
  expect(layerRequests()).toBe(1);
  expect(rest()).toEqual([]);
});

test('one that is killed while it writes is followed by the one that waits, and leaves nothing', async () => {
  let isFirst = true;
  proxy.rule = ({path}) => {
    if (!path.endsWith(layer.digest) || !isFirst) return undefined;
    isFirst = false;
    return {kind: 'stall', atByte: 2_000_000};
  };
  const killed = start();
  await until(() => layerRequests() === 1);
  const waiting = start();
  await until(() =>
    waiting.output.includes(`another job (pid ${killed.child.pid}) takes the same archive out`),
  );
  killed.child.kill('SIGKILL');
  expect(await waiting.ended).toBe(0);
  expect(readFileSync(/^disk (.*)$/m.exec(waiting.output)?.[1] ?? '').equals(DISK)).toBe(true);
  expect(layerRequests()).toBe(2);
  expect(rest()).toEqual([]);
  // And once more, from the store.
  const again = start();
  expect(await again.ended).toBe(0);
  expect(again.output).toContain('the disk is in the store already');
  expect(layerRequests()).toBe(2);
});
