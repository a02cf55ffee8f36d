import {asCanceled, CanceledError, messageOf, type Stage, UserError} from './base/errors.ts';
import type {Emit, RunStage} from './base/events.ts';
import type {Lender} from './base/ports.ts';
import {
  JOB_RESULT_SCHEMA,
  type JobResult,
  type Outcome,
  type SnapshotFacts,
  type Timings,
  type Versions,
} from './base/result.ts';
import {type BuildPorts, type BuildRecord, prepareBuild, runBuild} from './build/build.ts';
import {awaitBuildkit, checkAlive, inspect, parseVersions, versionMismatch} from './build/inspect.ts';
import {lendBuildkit} from './build/lend.ts';
import {Derivation} from './derive.ts';
import {type MachinePorts, withMachine} from './machine.ts';
import type {Plan} from './plan/plan.ts';
import {devicesOf} from './vm/devices.ts';
import type {GuestProbe} from './warm-start.ts';

export type JobPorts = Omit<MachinePorts, 'emit' | 'stage'> & BuildPorts & {readonly lender?: Lender};

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
    const context = {...ports, emit: job.emit, stage: job.stage};
    await using derivation =
      plan.derive && (await Derivation.open(context, plan.derive, plan.archive, signal));
    await withMachine(plan, context, probe(job, derivation, signal), signal, async (vm, versions, proven) => {
      const stop = AbortSignal.any([signal, vm.died]);
      job.found(versions);
      const devices = devicesOf(vm, ports.clock);
      const machine = {...context, login: vm.login, devices, proven};
      await runBuild(machine, vm.session, versions, prepared, job.build, stop);
      if (plan.vm.keepRunning) {
        await job.stage('outputs', 'Keep the VM running', () =>
          lendBuildkit(context, vm, address => job.lent(address), stop),
        );
      }
    });
  } catch (error) {
    job.fail(error, signal);
  }
  return job.finish();
}

/** How to know that a machine's BuildKit is up, and which one it is. */
function probe(job: Job, derivation: Derivation | undefined, signal: AbortSignal): GuestProbe<Versions> {
  return {
    isWarm: true,
    content: derivation?.identity,
    prepare: async () => derivation?.prepare(signal),
    async ready({session, died}) {
      const stop = AbortSignal.any([signal, died]);
      const workers = await job.stage('vm', 'Wait for BuildKit', () => awaitBuildkit(session, stop));
      const found = await job.stage('inspect', 'Look what the VM holds', () =>
        inspect(session, stop, workers),
      );
      return derivation?.apply(session, found, stop) ?? found;
    },
    parse: parseVersions,
    check: (session, versions, stop) => checkAlive(session, versions, stop),
  };
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
  #vmFacts: Pick<JobResult, 'machine' | 'versions' | 'buildkitHost'> = {};
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
      if (event.kind === 'frozen') this.#frozen(event.snapshot);
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
    // A build of one's own calls itself what it likes.
    const expected =
      versions.derived && this.#plan.derive?.source.kind === 'path'
        ? undefined
        : this.#plan.archive.expectedBuildkit;
    const mismatch = versionMismatch(expected, versions);
    if (mismatch !== undefined) this.emit({kind: 'warning', message: mismatch});
  }

  lent(address: string): void {
    this.#vmFacts = {...this.#vmFacts, buildkitHost: address};
    this.emit({kind: 'notice', message: `BuildKit is at ${address}`});
  }

  #frozen(snapshot: SnapshotFacts): void {
    const {machine} = this.#vmFacts;
    if (!machine?.start) return;
    this.#vmFacts = {...this.#vmFacts, machine: {...machine, start: {...machine.start, snapshot}}};
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
      ...(build.versions && {versions: build.versions}),
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
