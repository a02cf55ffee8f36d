import type {JobEvent, RunStage} from '../../src/base/events.ts';
import type {Logins} from '../../src/base/http.ts';
import type {JobResult, Versions} from '../../src/base/result.ts';
import {type BuildContext, type BuildRecord, prepareBuild, runBuild} from '../../src/build/build.ts';
import {awaitBuildkit, checkAlive, inspect, parseVersions} from '../../src/build/inspect.ts';
import {Derivation} from '../../src/derive.ts';
import {localPorts} from '../../src/host/local.ts';
import {ANY_GUEST, withMachine} from '../../src/machine.ts';
import {devicesOf} from '../../src/vm/devices.ts';
import type {Vm} from '../../src/vm/machine.ts';
import type {GuestProbe} from '../../src/warm-start.ts';
import {planFor} from './machine.ts';

export interface Built extends BuildRecord {
  readonly log: string;
  readonly warnings: readonly string[];
  readonly notices: readonly string[];
}

/** One booted machine for many builds, for tests of which the boot is no part. */
export class SharedMachine {
  readonly vm: Vm;
  readonly versions: Versions;
  readonly qemuPid: number;
  readonly #release: () => Promise<void>;

  private constructor(vm: Vm, versions: Versions, qemuPid: number, release: () => Promise<void>) {
    this.vm = vm;
    this.versions = versions;
    this.qemuPid = qemuPid;
    this.#release = release;
  }

  /** Goes on from a snapshot where the tests' store has one; else it boots, and leaves one there. */
  static async restore(raw: Readonly<Record<string, string>> = {}): Promise<SharedMachine> {
    return SharedMachine.#start(raw, {
      isWarm: true,
      async ready({session, died}) {
        await awaitBuildkit(session, died);
        return inspect(session, died);
      },
      parse: parseVersions,
      check: checkAlive,
    });
  }

  /** @param prepare runs in the machine before BuildKit is asked for. */
  static async boot(
    raw: Readonly<Record<string, string>> = {},
    prepare: (vm: Vm) => Promise<void> = async () => undefined,
  ): Promise<SharedMachine> {
    return SharedMachine.#start(raw, ANY_GUEST, prepare);
  }

  static async #start(
    raw: Readonly<Record<string, string>>,
    probe: GuestProbe<Versions | undefined>,
    prepare: (vm: Vm) => Promise<void> = async () => undefined,
  ): Promise<SharedMachine> {
    let qemuPid = 0;
    const emit = (event: JobEvent): void => {
      if (event.kind === 'resource' && event.resource.kind === 'process') qemuPid = event.resource.pid;
    };
    const plan = planFor(raw);
    const {signal} = new AbortController();
    const stage: RunStage = (_stage, _title, work) => work();
    const ports = {...localPorts, emit, stage};
    const derivation = plan.derive && (await Derivation.open(ports, plan.derive, plan.archive, signal));
    return new Promise((resolve, reject) => {
      const used = withMachine(plan, {...localPorts, emit}, probe, signal, async (vm, known) => {
        await prepare(vm);
        if (!known) await awaitBuildkit(vm.session, vm.died);
        const own = known ?? (await inspect(vm.session, vm.died));
        await using held = derivation;
        const versions = held ? await held.apply(vm.session, own, vm.died) : own;
        await new Promise<void>(done => {
          const release = async (): Promise<void> => {
            done();
            await used;
          };
          resolve(new SharedMachine(vm, versions, qemuPid, release));
        });
      });
      used.catch(reject);
    });
  }

  /**
   * @param options.logins docker's, for registries; without them there are none.
   * @param options.ports in place of the real ones.
   */
  async build(
    raw: Readonly<Record<string, string>>,
    options: {readonly logins?: Logins; readonly ports?: Partial<BuildContext>} = {},
  ): Promise<Built> {
    const record: BuildRecord = {};
    let log = '';
    const warnings: string[] = [];
    const notices: string[] = [];
    const ports = {
      ...localPorts,
      devices: devicesOf(this.vm, localPorts.clock),
      ...(options.logins && {logins: options.logins}),
      emit: (event: JobEvent) => {
        if (event.kind === 'build-log') log += event.text;
        if (event.kind === 'warning') warnings.push(event.message);
        if (event.kind === 'notice') notices.push(event.message);
      },
      login: this.vm.login,
      proven: Promise.resolve(),
      stage: <T>(_stage: unknown, _title: string, work: () => Promise<T>) => work(),
      ...options.ports,
    };
    const prepared = await prepareBuild(ports, planFor(raw).build, undefined);
    const {session, died} = this.vm;
    await runBuild(ports, session, this.versions, prepared, record, died).catch(async error => {
      throw await this.vm.explain(error);
    });
    return {...record, log, warnings, notices};
  }

  stop(): Promise<void> {
    return this.#release();
  }
}

export function failureOf(built: Built): Extract<JobResult['outcome'], {kind: 'build-failed'}> {
  if (built.outcome?.kind === 'build-failed') return built.outcome;
  throw new Error(`not a failed build: ${JSON.stringify(built.outcome)}\n${built.log}`);
}
