import {type Archive, type ArchivePorts, obtainArchive} from './archive/obtain.ts';
import {findQemuInRootfs} from './archive/qemu-in-image.ts';
import {asCanceled, CanceledError, messageOf, type Stage, UserError} from './base/errors.ts';
import type {Emit, RunStage} from './base/events.ts';
import {JOB_RESULT_SCHEMA, type JobResult, type Outcome, type Timings, type Versions} from './base/result.ts';
import {type BuildPorts, type BuildRecord, prepareBuild, runBuild} from './build/build.ts';
import {awaitBuildkit, inspect, versionMismatch} from './build/inspect.ts';
import type {Plan} from './plan/plan.ts';
import {bootVm} from './vm/boot.ts';
import {findHostQemu, proveQemu} from './vm/find-qemu.ts';
import type {Vm, VmPorts} from './vm/machine.ts';
import type {QemuProgram} from './vm/qemu-args.ts';

export type JobPorts = Omit<VmPorts, 'emit'> & Omit<ArchivePorts, 'emit'> & BuildPorts;

/**
 * The main job: obtains the archive, boots it, looks what it is, builds in it, and takes it down again.
 * Always gives a result: what went wrong stands in its `outcome`. Nothing is left running when it returns.
 */
export async function runJob(
  plan: Plan,
  ports: JobPorts,
  listen: Emit,
  signal: AbortSignal,
): Promise<JobResult> {
  const job = new Job(plan, ports, listen);
  try {
    const prepared = await job.stage('plan', 'Check the inputs', () =>
      prepareBuild({...ports, emit: job.emit}, plan.build, plan.archive.expectedBuildkit),
    );
    await withMachine(plan, {...ports, emit: job.emit, stage: job.stage}, signal, async vm => {
      const stop = AbortSignal.any([signal, vm.died]);
      await job.stage('vm', 'Wait for BuildKit', () => awaitBuildkit(vm.session, stop));
      const versions = await job.stage('inspect', 'Look what the VM holds', () => inspect(vm.session, stop));
      job.found(versions);
      await runBuild(
        {...ports, emit: job.emit, stage: job.stage},
        vm.session,
        versions,
        prepared,
        job.build,
        stop,
      );
    });
  } catch (error) {
    job.fail(error, signal);
  }
  return job.finish();
}

export type MachinePorts = ArchivePorts & VmPorts & {readonly stage?: RunStage};

/** Obtains an archive, boots it, lends it to `use`, and takes it down again, whatever happened. */
export async function withMachine<T>(
  plan: Plan,
  ports: MachinePorts,
  signal: AbortSignal,
  use: (vm: Vm) => Promise<T>,
): Promise<T> {
  const stage: RunStage = ports.stage ?? ((_stage, _title, work) => work());
  await using archive = await stage('archive', `Obtain the archive ${plan.archive.reference}`, () =>
    obtainArchive(ports, plan.archive, signal),
  );
  await using vm = await stage('vm', 'Boot the VM', async () =>
    bootVm(ports, plan.vm, await findQemu(ports, archive, signal), archive.diskPath, signal),
  );
  try {
    return await use(vm);
  } catch (error) {
    // The machine's death explains whatever broke because of it.
    throw signal.aborted ? error : await vm.explain(error);
  }
}

/** The host's QEMU when it has one that works, else the archive's own. @throws UserError when there is neither. */
async function findQemu(ports: MachinePorts, archive: Archive, signal: AbortSignal): Promise<QemuProgram> {
  const host = await findHostQemu(ports.processes);
  if (host) return host;
  const hint = 'install it: sudo apt-get install qemu-system-x86';
  if (!archive.unpackRootfs) {
    throw new UserError('there is no QEMU: qemu-system-x86_64 is not on PATH, and a bare disk brings none', {
      stage: 'vm',
      hint,
    });
  }
  const found = await findQemuInRootfs(ports.files, await archive.unpackRootfs(signal));
  if (!found) {
    throw new UserError('there is no QEMU: qemu-system-x86_64 is neither on PATH nor in the image', {
      stage: 'vm',
      hint,
    });
  }
  return proveQemu(ports.processes, {...found, version: '', build: '', origin: 'archive'});
}

/** The state of one run: the stage it is in, what it found so far, its clock. */
class Job {
  readonly emit: Emit;
  readonly #plan: Plan;
  readonly #ports: JobPorts;
  readonly #startedMs: number;
  readonly #warnings: string[] = [];
  #stage: Stage = 'plan';
  #seconds: Partial<Record<Stage, number>> = {};
  #lastStageEndMs: number;
  #vmFacts: Pick<JobResult, 'machine' | 'versions'> = {};
  /** Filled in by the build as it goes, so that what it knew is there when its machine dies. */
  readonly build: BuildRecord = {};
  #failure: Outcome | undefined;

  constructor(plan: Plan, ports: JobPorts, listen: Emit) {
    this.#plan = plan;
    this.#ports = ports;
    this.#startedMs = ports.clock.nowMs();
    this.#lastStageEndMs = this.#startedMs;
    this.emit = event => {
      if (event.kind === 'warning') this.#warnings.push(event.message);
      if (event.kind === 'booted') this.#vmFacts = {...this.#vmFacts, machine: event.machine};
      listen(event);
    };
  }

  /** Runs one stage: says when it begins and ends, and takes its time. */
  readonly stage: RunStage = async (stage, title, work) => {
    this.#stage = stage;
    this.emit({kind: 'stage-started', stage, title});
    const startedMs = this.#ports.clock.nowMs();
    try {
      return await work();
    } finally {
      this.#lastStageEndMs = this.#ports.clock.nowMs();
      const seconds = (this.#lastStageEndMs - startedMs) / 1000;
      // A stage can have several parts: the machine's boot, and its daemon's.
      this.#seconds = {...this.#seconds, [stage]: (this.#seconds[stage] ?? 0) + seconds};
      this.emit({kind: 'stage-finished', stage, seconds});
    }
  };

  found(versions: Versions): void {
    this.#vmFacts = {...this.#vmFacts, versions};
    this.emit({kind: 'inspected', versions});
    const mismatch = versionMismatch(this.#plan.archive.expectedBuildkit, versions);
    if (mismatch !== undefined) this.emit({kind: 'warning', message: mismatch});
  }

  fail(error: unknown, signal: AbortSignal): void {
    const stage = this.#stage;
    if (signal.aborted) {
      this.#failure = {kind: 'canceled', stage, message: messageOf(asCanceled(signal))};
    } else if (error instanceof UserError) {
      const hint = error.hint === undefined ? {} : {hint: error.hint};
      this.#failure = {
        kind: 'infra-failed',
        stage: error.stage ?? stage,
        message: error.message,
        ...hint,
        internal: false,
      };
    } else {
      const internal = !(error instanceof CanceledError);
      this.#failure = {kind: 'infra-failed', stage, message: messageOf(error), internal};
      if (error instanceof Error && error.stack) this.emit({kind: 'debug', message: error.stack});
    }
  }

  finish(): JobResult {
    const {expectedBuildkit, reference} = this.#plan.archive;
    const build = this.build;
    const result: JobResult = {
      schema: JOB_RESULT_SCHEMA,
      archive: {reference, ...(expectedBuildkit !== undefined && {requestedBuildkit: expectedBuildkit})},
      ...this.#vmFacts,
      outcome: this.#failure ??
        build.outcome ?? {
          kind: 'infra-failed',
          stage: this.#stage,
          message: 'the build did not run',
          internal: true,
        },
      ...(build.trace && {trace: build.trace}),
      ...(build.metadata && {metadata: build.metadata}),
      ...(build.imageId !== undefined && {imageId: build.imageId}),
      ...(build.digest !== undefined && {digest: build.digest}),
      outputs: build.outputs ?? [],
      warnings: this.#warnings,
      timings: this.#timings(),
    };
    this.emit({kind: 'finished', result});
    return result;
  }

  #timings(): Timings {
    const {archive, vm, inspect: inspected, context, build, outputs} = this.#seconds;
    const sent = this.build.sent;
    const nowMs = this.#ports.clock.nowMs();
    return {
      ...(archive !== undefined && {archiveSeconds: archive}),
      ...(vm !== undefined && {bootSeconds: vm}),
      ...(inspected !== undefined && {inspectSeconds: inspected}),
      ...(context !== undefined && {contextSeconds: context}),
      ...(sent && {contextBytes: sent.bytes, contextFiles: sent.files}),
      ...(build !== undefined && {buildSeconds: build}),
      ...(outputs !== undefined && {outputsSeconds: outputs}),
      cleanupSeconds: (nowMs - this.#lastStageEndMs) / 1000,
      totalSeconds: (nowMs - this.#startedMs) / 1000,
    };
  }
}
