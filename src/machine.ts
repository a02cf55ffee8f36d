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
import {type GuestProbe, type WarmDisk, WarmStart, type WarmStartPorts} from './warm-start.ts';

export type MachinePorts = ArchivePorts &
  WarmStartPorts &
  DockerPorts & {readonly stage?: RunStage; readonly lender?: Lender};

/** For a use that asks for nothing but a login: such a machine is neither restored nor kept. */
export const ANY_GUEST: GuestProbe<undefined> = {
  ready: async () => undefined,
  parse: () => undefined,
  check: async () => undefined,
};

/**
 * Obtains an archive, brings its machine up, lends it to `use`, and takes it down again, whatever happened. With a probe, a machine that was frozen when it was
 * ready goes on from there, and one that had to boot is frozen for the next time.
 */
export async function withMachine<Facts, T>(
  plan: Plan,
  given: MachinePorts,
  probe: GuestProbe<Facts>,
  signal: AbortSignal,
  use: (vm: Vm, facts: Facts) => Promise<T>,
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
  const up = await stage('vm', 'Start the VM', way.start);
  await using vm = up.vm;
  try {
    return await use(vm, 'facts' in up ? up.facts : await becomeReady(vm, warm, probe, signal));
  } catch (error) {
    // The machine's death explains whatever broke because of it.
    throw signal.aborted ? error : await vm.explain(error);
  }
}

/** Waits for a machine that has just booted, and keeps it. */
async function becomeReady<Facts>(
  vm: Vm,
  warm: WarmStart<Facts> | undefined,
  probe: GuestProbe<Facts>,
  signal: AbortSignal,
): Promise<Facts> {
  const stop = AbortSignal.any([signal, vm.died]);
  // The agent's start hides behind the daemon's.
  const agent = warm?.prepare(vm, stop);
  const facts = await probe.ready(vm);
  if (warm && agent) await warm.keep(vm, facts, agent, stop);
  return facts;
}

/** How a machine is brought up. */
interface Way<Facts> {
  /** Where machines are kept for the next time, if they are. */
  readonly warm: WarmStart<Facts> | undefined;
  /** `facts` are those of a machine that is ready already. */
  readonly start: () => Promise<{readonly vm: Vm; readonly facts: Facts} | {readonly vm: Vm}>;
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
  const isWarm = vmPlan.snapshot === 'auto' && vmPlan.machine === 'auto' && (probe as unknown) !== ANY_GUEST;
  const warm = isWarm ? new WarmStart(ports, vmPlan, qemu, disk, storeDir, probe) : undefined;
  const lessons = new BootLessons(ports, qemu, disk, storeDir);
  return {
    warm,
    async start() {
      const chosen = await chooseAccelerator(vmPlan.accelerator, ports);
      const heeded = await lessons.heed(vmPlan, chosen);
      const {plan: wayPlan, decision} = heeded;
      const restored = wayPlan.machine === 'auto' ? await warm?.restore(decision, signal) : undefined;
      if (restored && 'vm' in restored) return restored;
      const reason = restored?.reason ?? heeded.why;
      const start = {kind: 'cold', ...(reason !== undefined && {reason})} as const;
      try {
        const {diskPath} = archive;
        return {vm: await bootVm(ports, wayPlan, qemu, diskPath, decision, start, signal, lessons.learn)};
      } catch (error) {
        if (!signal.aborted) await lessons.doubt();
        throw error;
      }
    },
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
  return {
    warm: undefined,
    async start() {
      const decision = await chooseAccelerator(plan.vm.accelerator, {...ports, kvm: asRoot(ports.kvm)});
      return {vm: await bootInDocker(ports, plan.vm, image, launcher.reason, decision, signal)};
    },
  };
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
