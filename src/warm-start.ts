import {type FoundSnapshot, Snapshots} from './archive/snapshots.ts';
import {isSnapshotWorthCaching} from './archive/store-policy.ts';
import type {ActionsCache} from './base/cache.ts';
import type {Cpu} from './base/cpu.ts';
import {messageOf, UserError} from './base/errors.ts';
import type {Emit} from './base/events.ts';
import type {Agents, Session} from './base/ports.ts';
import type {StoreFolder} from './base/store.ts';
import type {AcceleratorDecision} from './vm/accelerator.ts';
import {dropCaches, freezeWarning} from './vm/freeze.ts';
import type {Vm, VmPlan, VmPorts} from './vm/machine.ts';
import type {Accelerator, QemuProgram} from './vm/qemu-args.ts';
import {restoreVm} from './vm/restore.ts';
import {SNAPSHOT_FILES, snapshotKey} from './vm/snapshot.ts';

export interface WarmStartPorts extends VmPorts {
  readonly agents: Agents;
  readonly cpu: Cpu;
  readonly openStore: (dir: string) => StoreFolder;
  readonly registry: {
    createHash(algorithm: 'sha256'): {update(bytes: Buffer): unknown; hex(): string};
    nowEpochMs(): number;
  };
  readonly emit: Emit;
  /** GitHub's cache, where there is one and it may be used. */
  readonly actionsCache?: ActionsCache;
}

/** The archive's disk. */
export interface WarmDisk {
  readonly path: string;
  readonly identity: string;
  /** True when the identity means the same on every machine. */
  readonly isPortable: boolean;
  /** For people. */
  readonly label: string;
}

/** What a machine is used for: how to know that it can do it. */
export interface GuestProbe<Facts> {
  /** False for a use whose machine is neither restored nor kept. */
  readonly isWarm: boolean;
  /** What it puts into the machine in place of the archive's own, so that such a machine is not taken for another. */
  readonly content?: string | undefined;
  /** Fetches what `ready` needs, before a machine is booted for it. */
  prepare?(): Promise<unknown>;
  /** Waits until a machine that has just booted can do its work, and says what it is. */
  ready(vm: Vm): Promise<Facts>;
  /** Reads facts that were kept. @throws when they are no such facts. */
  parse(value: unknown): Facts;
  /** A quick look whether a machine that was restored still can. @throws when there is any doubt. */
  check(session: Session, facts: Facts, signal: AbortSignal): Promise<void>;
}

/** A machine that is back and whose check has not come to an end by then is given up. */
const RESTORE_LIMIT_MS = 10_000;

/** A machine that went on from where it was frozen, and is still being checked. */
export interface Restored<Facts> {
  readonly vm: Vm;
  readonly facts: Facts;
  /** The check. Only what can be done anew in another machine may go before it; once it has rejected, nothing of this one counts. */
  readonly proven: Promise<void>;
  /** Forgets the snapshot. @returns why, for people. */
  doubt(error: unknown): Promise<{readonly reason: string}>;
}

/**
 * Machines that were frozen once they were ready, before anything of a user came into them. Nothing that goes wrong here stops a job: it boots then.
 */
export class WarmStart<Facts> implements AsyncDisposable {
  readonly #ports: WarmStartPorts;
  readonly #plan: VmPlan;
  readonly #qemu: QemuProgram;
  readonly #disk: WarmDisk;
  readonly #probe: GuestProbe<Facts>;
  readonly #snapshots: Snapshots;
  #bootStartedMs = 0;

  constructor(
    ports: WarmStartPorts,
    plan: VmPlan,
    qemu: QemuProgram,
    disk: WarmDisk,
    storeDir: string,
    probe: GuestProbe<Facts>,
  ) {
    this.#ports = ports;
    this.#plan = plan;
    this.#qemu = qemu;
    this.#disk = disk;
    this.#probe = probe;
    this.#snapshots = new Snapshots({
      folder: ports.openStore(storeDir),
      nowMs: ports.registry.nowEpochMs,
      emit: ports.emit,
    });
  }

  /** @returns a machine that goes on; or why there is none, once for people. @throws CanceledError */
  async restore(
    decision: AcceleratorDecision,
    signal: AbortSignal,
  ): Promise<Restored<Facts> | {readonly reason: string}> {
    const digest = await this.#digest(decision.accelerator);
    this.#bootStartedMs = this.#ports.clock.nowMs();
    if (digest === undefined) return {reason: 'this machine does not tell its CPU or QEMU apart from others'};
    const found = await this.#find(digest, signal);
    if (found.kind === 'none') return {reason: 'no snapshot of this archive on this machine yet'};
    if (found.kind === 'dropped') return this.#doubt(found.why);
    const doubt = async (error: unknown): Promise<{readonly reason: string}> => {
      await this.#snapshots.forget(digest);
      return this.#doubt(messageOf(error));
    };
    let vm: Vm | undefined;
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(RESTORE_LIMIT_MS)]);
      const frozen = {
        dir: found.dir,
        sizeBytes: found.sizeBytes,
        accelerator: decision.accelerator,
        ...(decision.reason !== undefined && {acceleratorReason: decision.reason}),
      };
      const restored = await restoreVm(this.#ports, this.#plan, this.#qemu, this.#disk.path, frozen, limit);
      vm = restored;
      const facts = this.#probe.parse(restored.manifest.facts);
      const proven = this.#probe.check(vm.session, facts, AbortSignal.any([limit, vm.died]));
      // Whoever uses the machine learns of it when he waits for it.
      proven.catch(() => undefined);
      this.#ports.emit({kind: 'booted', machine: vm.machine});
      return {vm, facts, proven, doubt};
    } catch (error) {
      await vm?.[Symbol.asyncDispose]();
      signal.throwIfAborted();
      // An input that is wrong is wrong for a boot, too.
      if (error instanceof UserError && error.input !== undefined) throw error;
      return doubt(error);
    }
  }

  /** In the store, or put there from the Actions cache. */
  async #find(digest: string, signal: AbortSignal): Promise<FoundSnapshot> {
    const {actionsCache, files} = this.#ports;
    const found = await this.#snapshots.find(digest);
    if (found.kind !== 'none' || !actionsCache || !this.#disk.isPortable) return found;
    const names = Object.values(SNAPSHOT_FILES);
    await this.#snapshots.fetch(digest, this.#disk.label, names, {cache: actionsCache, files}, signal);
    return this.#snapshots.find(digest);
  }

  /** Freezes a machine that has just booted and is ready, and lets it go on. */
  async keep(vm: Vm, facts: Facts, agent: Promise<string | undefined>, signal: AbortSignal): Promise<void> {
    const {emit, clock, actionsCache} = this.#ports;
    let sizeBytes = 0;
    const digest = vm.freeze && (await this.#digest(vm.machine.accelerator));
    if (!vm.freeze || digest === undefined) return;
    const {freeze} = vm;
    const startedMs = clock.nowMs();
    try {
      const withoutAgent = await agent;
      if (withoutAgent !== undefined)
        emit({kind: 'debug', message: `no command agent in the VM: ${withoutAgent}`});
      const made = await this.#snapshots.keep(digest, this.#disk.label, async destDir => {
        const snapshot = await freeze(destDir, {agent: withoutAgent === undefined, facts}, signal);
        emit({kind: 'frozen', snapshot, seconds: (clock.nowMs() - startedMs) / 1000});
        sizeBytes = snapshot.sizeBytes;
        return sizeBytes;
      });
      const bootSeconds = (startedMs - this.#bootStartedMs) / 1000;
      if (made && actionsCache && this.#disk.isPortable && isSnapshotWorthCaching(bootSeconds, sizeBytes)) {
        const entry = this.#snapshots.entry(digest, Object.values(SNAPSHOT_FILES));
        emit({kind: 'cache-save', entry});
      }
    } catch (error) {
      signal.throwIfAborted();
      if (vm.died.aborted) throw vm.died.reason;
      emit({kind: 'warning', message: freezeWarning(error)});
    }
  }

  /**
   * Readies a machine that has just booted for its next life: gives back what its boot has read, and starts the command agent. @returns why there is no agent.
   */
  async prepare(vm: Vm, signal: AbortSignal): Promise<string | undefined> {
    if (!vm.freeze) return 'it is not kept';
    await dropCaches(vm.session, signal).catch(() => undefined);
    return this.#ports.agents.install(vm.session, signal).catch(messageOf);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#snapshots.close();
  }

  #doubt(why: string): {reason: string} {
    const reason = `the snapshot could not be used: ${why}`;
    this.#ports.emit({kind: 'warning', message: `${reason}; it is dropped, and the VM boots`});
    return {reason};
  }

  async #digest(accelerator: Accelerator): Promise<string | undefined> {
    const {cpus, memoryMib} = this.#plan;
    const key = snapshotKey({
      disk: this.#disk.identity,
      qemu: this.#qemu,
      spec: {accelerator, cpus, memoryMib},
      cpu: await this.#ports.cpu.facts(),
      agent: this.#ports.agents.version,
      content: this.#probe.content,
    });
    if (key === undefined) return undefined;
    const hash = this.#ports.registry.createHash('sha256');
    hash.update(Buffer.from(key));
    return `sha256:${hash.hex()}`;
  }
}
