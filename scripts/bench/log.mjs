// This process's memory while a build prints a log of 1,000,000 lines.
import {copyFile, mkdir, mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {peakRss} from './context.mjs';
import {disk, load, row} from './lib.mjs';

const LINES = 1_000_000;

export async function* bench() {
  const {runJob, localPorts, parseInputs, makePlan} = await load('scripts/bench/job.ts');
  const dir = await mkdtemp(join(tmpdir(), 'bench-log-'));
  try {
    const context = join(dir, 'context');
    await mkdir(context);
    await copyFile('/bin/busybox', join(context, 'busybox'));
    // In portions: buildctl gives a log that is behind the build's end 3 s and then cancels (client/solve.go).
    const script = `for i in $(/bin/busybox seq 100); do /bin/busybox seq ${LINES / 100}; /bin/busybox sleep 0.3; done; /bin/busybox sleep 8`;
    await writeFile(
      join(context, 'Dockerfile'),
      `FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "sh", "-c", ${JSON.stringify(script)}]\n`,
    );
    const inputs = parseInputs({archive: disk, accelerator: 'tcg', context});
    const plan = makePlan(inputs, {workspaceDir: dir, storeDir: dir});
    let lines = 0;
    const listen = event => {
      if (event.kind === 'build-log') lines += event.text.split('\n').length - 1;
    };
    const memory = peakRss();
    const result = await runJob(plan, withoutLogLimit(localPorts), listen, new AbortController().signal);
    const peak = memory();
    if (result.outcome.kind !== 'built') throw new Error(JSON.stringify(result.outcome));
    yield row('log/lines-seen', {value: lines, unit: 'lines', limit: LINES, atLeast: true});
    yield row('log/1m-lines-rss', {value: peak / 1024 ** 2, unit: 'MiB', limit: 150});
    yield row('log/1m-lines', {value: result.timings.buildSeconds, unit: 's'});
  } finally {
    await rm(dir, {recursive: true, force: true});
  }
}

/** A daemon cuts a step's log at 2 MiB; after the login it gets an environment without that limit and starts anew. */
function withoutLogLimit(ports) {
  return {
    ...ports,
    ssh: {
      ...ports.ssh,
      async connect(...args) {
        const session = await ports.ssh.connect(...args);
        await session.output(['mkdir', '-p', '/etc/systemd/system/buildkit.service.d']);
        await session.put(
          '[Service]\nEnvironment=BUILDKIT_STEP_LOG_MAX_SIZE=-1 BUILDKIT_STEP_LOG_MAX_SPEED=-1\n',
          '/etc/systemd/system/buildkit.service.d/limit.conf',
        );
        await session.output(['sh', '-c', 'systemctl daemon-reload; systemctl restart buildkit.service']);
        return session;
      },
    },
  };
}
