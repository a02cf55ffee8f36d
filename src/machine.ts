import {type Archive, type ArchivePorts, obtainArchive} from './archive/obtain.ts';
import {findQemuInRootfs} from './archive/qemu-in-image.ts';
import {HOST_IN_GUEST} from './base/daemon.ts';
import type {Emit, RunStage} from './base/events.ts';
import type {Lender} from './base/ports.ts';
import {BootLessons} from './boot-lessons.ts';
import type {Plan} from './plan/plan.ts';
import {asRoot, chooseAccelerator, requireKvm} from './vm/accelerator.ts';
import {bootVm} from './vm/boot.ts';
import {bootInDocker} from './vm/boot-docker.ts';
import type {DockerPorts} from './vm/find-docker.ts';
import {chooseLauncher, type DockerLauncher, type LaunchSources} from './vm/launcher.ts';
import type {Vm} from './vm/machine.ts';
import type {QemuProgram} from './vm/qemu-args.ts';
import {type GuestProbe, type Restored, type WarmDisk, WarmStart, type WarmStartPorts} from './warm-start.ts';

export type MachinePorts = ArchivePorts &
  WarmStartPorts &
  DockerPorts & {readonly stage?: RunStage; readonly lender?: Lender};

/** For a use that asks for nothing but a login. */
export const ANY_GUEST: GuestProbe<undefined> = {
  isWarm: false,
  ready: async () => undefined,
  parse: () => undefined,
  check: async () => undefined,
};

/**
 * What a machine is for. A restored one may still be being checked; what cannot be done anew in another machine waits for `proven`. When the check
 * fails, it is called a second time, for a machine that was booted.
 */
export type MachineUse<Facts, T> = (vm: Vm, facts: Facts, proven: Promise<void>) => Promise<T>;

/**
 * Obtains an archive, brings its machine up, lends it to `use`, and takes it down again, whatever happened. With a probe, a machine that was frozen when it was
 * ready goes on from there, and one that had to boot is frozen for the next time.
 */
export async function withMachine<Facts, T>(
  plan: Plan,
  given: MachinePorts,
  probe: GuestProbe<Facts>,
  signal: AbortSignal,
  use: MachineUse<Facts, T>,
): Promise<T> {
  const stage: RunStage = given.stage ?? ((_stage, _title, work) => work());
  const {processes} = given;
  const outlives = plan.vm.keepRunning && given.lender?.outlives === true;
  const ports = outlives ? {...given, processes: {...processes, start: processes.startDetached}} : given;
  await requireKvm(plan.vm.accelerator, ports.kvm, {asUser: plan.vm.launcher === 'qemu'});
  await using archive = await stage('archive', `Obtain the archive ${plan.archive.reference}`, () =>
    obtainArchive(ports, plan.archive, signal),
  );
  const launcher = await stage('vm', 'Choose the launcher', () =>
    chooseLauncher(ports, plan.vm, sourcesOf(plan, ports, archive), signal),
  );
  const way =
    launcher.kind === 'docker'
      ? await dockerWay<Facts>(plan, {...ports, stage}, launcher, signal)
      : await qemuWay(plan, ports, launcher.qemu, archive, probe, signal);
  await using warm = way.warm;
  const restored = await (way.restore && stage('vm', 'Look for a frozen VM', way.restore));
  const used = restored && 'vm' in restored ? await useRestored(restored, signal, use) : restored;
  if (used && 'result' in used) return used.result;
  await probe.prepare?.();
  const vm = await stage('vm', 'Boot the VM', () => way.boot(used?.reason));
  return useBooted(vm, warm, probe, signal, use);
}

async function useBooted<Facts, T>(
  booted: Vm,
  warm: WarmStart<Facts> | undefined,
  probe: GuestProbe<Facts>,
  signal: AbortSignal,
  use: MachineUse<Facts, T>,
): Promise<T> {
  await using vm = booted;
  try {
    return await use(vm, await becomeReady(vm, warm, probe, signal), Promise.resolve());
  } catch (error) {
    // The machine's death explains whatever broke because of it.
    throw signal.aborted ? error : await vm.explain(error);
  }
}

/**
 * Lends a machine that is still being checked. When its check fails, it is taken down at once, whatever `use` is at, and what `use` made of it does not count.
 * @returns the result, or why the machine was not what it should be.
 */
export async function useRestored<Facts, T>(
  restored: Restored<Facts>,
  signal: AbortSignal,
  use: MachineUse<Facts, T>,
): Promise<{readonly result: T} | {readonly reason: string}> {
  const {facts, proven} = restored;
  await using vm = restored.vm;
  const doubted = proven.then(
    () => undefined,
    cause => ({cause}),
  );
  const used = use(vm, facts, proven);
  const doubt = await Promise.race([used.catch(() => undefined).then(() => undefined), doubted]);
  try {
    if (!doubt) return {result: await used};
  } catch (error) {
    if (signal.aborted) throw error;
    // What breaks before the check is over may be broken because of what the check finds.
    if (!(await doubted)) throw await vm.explain(error);
  }
  const found = await doubted;
  const why = await vm.explain(found?.cause);
  await vm[Symbol.asyncDispose]();
  await used.catch(() => undefined);
  signal.throwIfAborted();
  return restored.doubt(why);
}

/** Waits for a machine that has just booted, and keeps it. */
async function becomeReady<Facts>(
  vm: Vm,
  warm: WarmStart<Facts> | undefined,
  probe: GuestProbe<Facts>,
  signal: AbortSignal,
): Promise<Facts> {
  const stop = AbortSignal.any([signal, vm.died]);
  // This hides behind the daemon's start.
  const agent = warm?.prepare(vm, stop);
  const facts = await probe.ready(vm);
  if (warm && agent) await warm.keep(vm, facts, agent, stop);
  return facts;
}

/** How a machine is brought up. */
interface Way<Facts> {
  /** Where machines are kept for the next time, if they are. */
  readonly warm: WarmStart<Facts> | undefined;
  /** Absent where nothing is kept. */
  readonly restore?: (() => Promise<Restored<Facts> | {readonly reason: string} | undefined>) | undefined;
  /** @param reason why it was not restored, for people. */
  readonly boot: (reason?: string) => Promise<Vm>;
}

async function qemuWay<Facts>(
  plan: Plan,
  ports: MachinePorts,
  qemu: QemuProgram,
  archive: Archive,
  probe: GuestProbe<Facts>,
  signal: AbortSignal,
): Promise<Way<Facts>> {
  const vmPlan = qemu.lacks ? ({...plan.vm, machine: 'published'} as const) : plan.vm;
  if (qemu.lacks && plan.vm.machine === 'auto') {
    ports.emit({
      kind: 'notice',
      message: `this QEMU is built without ${qemu.lacks.join(', ')}, so the VM gets the published starter's devices, boots slower and is not kept`,
    });
  }
  const disk = await warmDisk(plan, ports, archive);
  const {storeDir} = plan.archive;
  const isWarm = vmPlan.snapshot === 'auto' && vmPlan.machine === 'auto' && probe.isWarm;
  const warm = isWarm ? new WarmStart(ports, vmPlan, qemu, disk, storeDir, probe) : undefined;
  const lessons = new BootLessons(ports, qemu, disk, storeDir);
  let deciding: ReturnType<BootLessons['heed']> | undefined;
  const decide = () => {
    deciding ??= chooseAccelerator(vmPlan.accelerator, ports).then(chosen => lessons.heed(vmPlan, chosen));
    return deciding;
  };
  const boot = async (doubt?: string): Promise<Vm> => {
    const {plan: wayPlan, decision, why} = await decide();
    const reason = doubt ?? why;
    // What nobody keeps need not be made so that it can be.
    const bootPlan = {...wayPlan, snapshot: warm ? 'auto' : 'off'} as const;
    const start = {kind: 'cold', ...(reason !== undefined && {reason})} as const;
    try {
      return await bootVm(ports, bootPlan, qemu, archive.diskPath, decision, start, signal, lessons.learn);
    } catch (error) {
      if (!signal.aborted) await lessons.doubt();
      throw error;
    }
  };
  return {
    warm,
    boot,
    restore:
      warm &&
      (async () => {
        const {plan: wayPlan, decision} = await decide();
        return wayPlan.machine === 'auto' ? warm.restore(decision, signal) : undefined;
      }),
  };
}

/** A container of the image. What runs in it is not ours to freeze. */
async function dockerWay<Facts>(
  plan: Plan,
  ports: MachinePorts & {readonly stage: RunStage},
  launcher: DockerLauncher,
  signal: AbortSignal,
): Promise<Way<Facts>> {
  warnOfLoopback(plan, ports.emit);
  const image = await ports.stage('archive', 'Get the whole image', () => launcher.image(signal));
  const boot = async (): Promise<Vm> => {
    const decision = await chooseAccelerator(plan.vm.accelerator, {...ports, kvm: asRoot(ports.kvm)});
    return bootInDocker(ports, plan.vm, image, launcher.reason, decision, signal);
  };
  return {warm: undefined, boot};
}

/** In a container's network 10.0.2.2 is the container. */
function warnOfLoopback({build}: Plan, emit: Emit): void {
  const lost = build.daemon.mirrors.filter(({mirror}) => mirror.split(/[:/]/)[0] === HOST_IN_GUEST);
  if (lost.length === 0) return;
  emit({
    kind: 'warning',
    message: `registry-mirrors: a VM that docker launches does not reach this machine's loopback (${lost.map(({mirror}) => mirror).join(', ')}); name an address that containers reach, or set launcher: qemu`,
  });
}

/** The archive's disk as snapshots and lessons know it. */
async function warmDisk(
  plan: Plan,
  {files}: Pick<MachinePorts, 'files'>,
  {diskPath, diskDigest}: Archive,
): Promise<WarmDisk> {
  return {
    path: diskPath,
    identity: diskDigest ?? (await files.identity(diskPath)),
    isPortable: diskDigest !== undefined,
    label: plan.archive.reference,
  };
}

/** What an archive brings for the launchers. */
function sourcesOf(plan: Plan, {files}: MachinePorts, archive: Archive): LaunchSources {
  const {unpackRootfs, dockerImage} = archive;
  return {
    reference: plan.archive.reference,
    ownQemu: unpackRootfs && (async stop => findQemuInRootfs(files, await unpackRootfs(stop))),
    image: dockerImage,
  };
}
