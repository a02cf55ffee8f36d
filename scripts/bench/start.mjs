// From nothing to a ready BuildKit: cold, restored, and the published way, side by side. The reference of the starts is the published starter's own command line
// until `buildctl debug workers` answers over SSH; the reference of the whole build is docker pull, docker run, wait, copy, build.
import {execFile, spawn} from 'node:child_process';
import {copyFile, mkdir, mkdtemp, rm, writeFile} from 'node:fs/promises';
import {createServer} from 'node:net';
import {dirname, join} from 'node:path';
import {promisify} from 'node:util';
import {startDocker} from './dockerd.mjs';
import {disk, load, median, row} from './lib.mjs';

const run = promisify(execFile);
const RUNS = 5;
const PUBLISHED_BUILD_RUNS = 3;
const COLD_LIMIT = 0.65;
const RESTORED_LIMIT = 0.02;
const FIRST_STEP_LIMIT = 0.08;
const BUILD_LIMIT = 0.12;
const FREEZE_LIMIT = 0.02;
const DOCKERFILE = 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "echo", "1"]\n';

export async function* bench() {
  const tools = await load('scripts/bench/start.ts');
  // Beside the archives, so that all is written to the same file system.
  const dir = await mkdtemp(join(dirname(dirname(disk)), '.bench-start-'));
  try {
    // Away from the stores, which are no part of what is built.
    const context = join(dir, 'context');
    await mkdir(context);
    await copyFile('/bin/busybox', join(context, 'busybox'));
    await writeFile(join(context, 'Dockerfile'), DOCKERFILE);
    const published = [];
    const cold = [];
    const freezeShares = [];
    const restored = [];
    const firstLines = [];
    for (let i = 0; i < RUNS; i++) {
      published.push(await publishedStart(tools, dir));
      await settled();
      cold.push(
        (await job(tools, context, {archive: disk, snapshot: 'off'}, join(dir, 'none'))).readySeconds,
      );
      const store = join(dir, `store-${i}`);
      await settled();
      const frozen = await job(tools, context, {archive: disk}, store);
      freezeShares.push(frozen.freezeSeconds / frozen.totalSeconds);
      await settled();
      const warm = await job(tools, context, {archive: disk}, store);
      if (warm.start !== 'restored') throw new Error(`the second run was not restored: ${warm.reason}`);
      restored.push(await restoredStart(tools, context, store));
      firstLines.push(warm.firstLineSeconds);
      await rm(store, {recursive: true});
    }
    const reference = median(published);
    yield row('start/cold', {value: median(cold), unit: 's', reference, limit: COLD_LIMIT});
    yield row('start/restored', {value: median(restored), unit: 's', reference, limit: RESTORED_LIMIT});
    yield row('start/restored-first-step', {
      value: median(firstLines),
      unit: 's',
      reference,
      limit: FIRST_STEP_LIMIT,
    });
    yield row('freeze/cost', {value: median(freezeShares), unit: 'of run', limit: FREEZE_LIMIT});
    yield* wholeBuild(tools, dir, context);
  } finally {
    await rm(dir, {recursive: true, force: true});
  }
}

/** One run of the whole job, with the moments that count, in seconds since its begin. */
async function job({runJob, localPorts, parseInputs, makePlan}, context, raw, storeDir) {
  const inputs = parseInputs({accelerator: 'tcg', context, ...raw});
  const plan = makePlan(inputs, {workspaceDir: context, storeDir});
  const startedMs = performance.now();
  const since = () => (performance.now() - startedMs) / 1000;
  const seen = {freezeSeconds: 0};
  const listen = event => {
    if (event.kind === 'booted') {
      seen.start = event.machine.start.kind;
      seen.reason = event.machine.start.reason;
    }
    if (event.kind === 'warning') console.error(event.message);
    if (event.kind === 'frozen') seen.freezeSeconds = event.seconds;
    // The last such stage is the one that waits for BuildKit.
    if (event.kind === 'stage-finished' && event.stage === 'vm') seen.readySeconds = since();
    if (event.kind === 'build-log') seen.firstLineSeconds ??= since();
  };
  const result = await runJob(plan, localPorts, listen, new AbortController().signal);
  if (result.outcome.kind !== 'built') throw new Error(JSON.stringify(result.outcome));
  return {...seen, totalSeconds: since()};
}

/** From nothing to `buildctl debug workers` answered in a machine that was frozen; nothing else is asked of it. */
async function restoredStart({withMachine, buildkitProbe, localPorts, parseInputs, makePlan}, dir, storeDir) {
  const plan = makePlan(parseInputs({accelerator: 'tcg', archive: disk}), {workspaceDir: dir, storeDir});
  const ports = {...localPorts, emit: () => undefined};
  const {signal} = new AbortController();
  const startedMs = performance.now();
  return withMachine(plan, ports, buildkitProbe, signal, async (vm, _facts, proven) => {
    await proven;
    if (vm.machine.start.kind !== 'restored') throw new Error('the machine was not restored');
    return (performance.now() - startedMs) / 1000;
  });
}

/** `/start.sh`'s command line, on a copy of the disk, which it writes to. */
async function publishedStart(tools, dir) {
  const copy = join(dir, 'published.qcow2');
  await copyFile(disk, copy);
  await settled();
  const port = await freePort();
  const startedMs = performance.now();
  const nic = `user,hostfwd=tcp:127.0.0.1:${port}-:22,model=virtio`;
  const args = ['-hda', copy, '-smp', '2', '-m', '2048M', '-nographic', '-nic', nic];
  const child = spawn('qemu-system-x86_64', args, {stdio: 'ignore'});
  const ended = new Promise(resolve => child.once('close', resolve));
  try {
    const session = await ready(tools, port);
    const seconds = (performance.now() - startedMs) / 1000;
    await session.close();
    return seconds;
  } finally {
    child.kill('SIGKILL');
    await ended;
    await rm(copy);
  }
}

/** What was written before is on the disk, and no part of what is measured next. */
const settled = () => run('sync');

/** Knocks as a job does. Who only waits a second each time may never be let in: each try costs an emulated sshd a process. */
async function ready({localSsh: ssh, Door}, port) {
  const door = new Door(ssh, port);
  let line;
  while (!line) {
    door.knock(performance.now());
    await Promise.race([door.answered, pause(100)]);
    line = door.take();
  }
  const session = await ssh.connect(
    {host: '127.0.0.1', port, username: 'root', password: 'root'},
    {timeoutMs: 60_000, line},
  );
  while ((await session.output(['buildctl', 'debug', 'workers'])).code !== 0) await pause(100);
  return session;
}

/** A small build from a registry: the archive is not there (published) or was there before (ours). */
async function* wholeBuild(tools, dir, context) {
  const {startRegistry} = tools;
  const engine = await startDocker(dir);
  if (!engine) {
    console.error('build/warm is left out');
    return;
  }
  const registry = await startRegistry({dataDir: join(dir, 'registry')});
  try {
    const image = `127.0.0.1:${registry.port}/bench/archive:v0.20.2`;
    const layout = `oci:${join(dirname(disk), 'oci')}`;
    await run('skopeo', ['copy', '--quiet', '--dest-tls-verify=false', layout, `docker://${image}`]);
    const docker = (...args) => run('docker', args, {env: engine.env});
    const store = join(dir, 'store-warm');
    await job(tools, context, {archive: image}, store);
    const [ours, theirs] = [[], []];
    for (let i = 0; i < PUBLISHED_BUILD_RUNS; i++) {
      await settled();
      const startedMs = performance.now();
      await docker('pull', '--quiet', image);
      await docker('run', '--detach', '--name', 'bench-start', '--publish', '127.0.0.1::22', image);
      const port = Number((await docker('port', 'bench-start', '22/tcp')).stdout.trim().split(':').at(-1));
      const session = await ready(tools, port);
      await scpAndBuild(context, port);
      theirs.push((performance.now() - startedMs) / 1000);
      await session.close();
      await docker('rm', '--force', 'bench-start');
      await docker('rmi', image);
      await settled();
      const warm = await job(tools, context, {archive: image}, store);
      if (warm.start !== 'restored') throw new Error(`the run was not restored: ${warm.reason}`);
      ours.push(warm.totalSeconds);
    }
    yield row('build/warm', {
      value: median(ours),
      unit: 's',
      reference: median(theirs),
      limit: BUILD_LIMIT,
    });
  } finally {
    await registry.stop();
    await engine.stop();
  }
}

/** As a user would do it by hand. */
async function scpAndBuild(context, port) {
  const options = [
    '-o',
    'StrictHostKeyChecking=no',
    '-o',
    'UserKnownHostsFile=/dev/null',
    '-o',
    'LogLevel=ERROR',
  ];
  const env = {...process.env, SSHPASS: 'root'};
  const files = [join(context, 'busybox'), join(context, 'Dockerfile')];
  await run('sshpass', ['-e', 'ssh', ...options, '-p', port, 'root@127.0.0.1', 'mkdir /ctx'], {env});
  await run('sshpass', ['-e', 'scp', ...options, '-P', port, ...files, 'root@127.0.0.1:/ctx/'], {env});
  const build =
    'buildctl build --progress=plain --frontend dockerfile.v0 --local context=/ctx --local dockerfile=/ctx';
  await run('sshpass', ['-e', 'ssh', ...options, '-p', port, 'root@127.0.0.1', build], {env});
}

function freePort() {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const {port} = server.address();
      server.close(() => resolve(port));
    });
  });
}

const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
