// What the action adds to the VM's own work: everything but the boot and buildctl's own time, for a small context.
import {copyFile, mkdir, mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {disk, load, median, row} from './lib.mjs';

const RUNS = 3;

export async function* bench() {
  const {runJob, localPorts, parseInputs, makePlan} = await load('scripts/bench/job.ts');
  const dir = await mkdtemp(join(tmpdir(), 'bench-job-'));
  try {
    // The store and the results lie beside it.
    const context = join(dir, 'context');
    await mkdir(context);
    await copyFile('/bin/busybox', join(context, 'busybox'));
    await writeFile(
      join(context, 'Dockerfile'),
      'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "echo", "1"]\n',
    );
    const runs = [];
    for (let i = 0; i < RUNS; i++) {
      const inputs = parseInputs({archive: disk, accelerator: 'tcg', context, outputs: `${dir}/out`});
      const plan = makePlan(inputs, {workspaceDir: dir, storeDir: join(dir, 'store')});
      const result = await runJob(plan, localPorts, () => undefined, new AbortController().signal);
      if (result.outcome.kind !== 'built') throw new Error(JSON.stringify(result.outcome));
      runs.push(result.timings);
    }
    const stage = name => median(runs.map(timings => timings[`${name}Seconds`] ?? 0));
    for (const name of ['boot', 'build']) yield row(`job/${name}`, {value: stage(name), unit: 's'});
    for (const name of ['archive', 'inspect', 'context', 'outputs', 'cleanup']) {
      yield row(`job/added-${name}`, {value: stage(name), unit: 's'});
    }
    const added = runs.map(
      ({totalSeconds, bootSeconds, buildSeconds}) => totalSeconds - bootSeconds - buildSeconds,
    );
    yield row('job/added', {value: median(added), unit: 's', limit: 3});
  } finally {
    await rm(dir, {recursive: true, force: true});
  }
}
