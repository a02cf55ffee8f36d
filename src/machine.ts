import {type Archive, type ArchivePorts, obtainArchive} from './archive/obtain.ts';
import {findQemuInRootfs} from './archive/qemu-in-image.ts';
import {UserError} from './base/errors.ts';
import type {RunStage} from './base/events.ts';
import type {Plan} from './plan/plan.ts';
import {chooseAccelerator} from './vm/accelerator.ts';
import {bootVm} from './vm/boot.ts';
import {findHostQemu, proveQemu} from './vm/find-qemu.ts';
import type {Vm} from './vm/machine.ts';
import type {QemuProgram} from './vm/qemu-args.ts';
import {type GuestProbe, WarmStart, type WarmStartPorts} from './warm-start.ts';

export type MachinePorts = ArchivePorts & WarmStartPorts & {readonly stage?: RunStage};

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
  ports: MachinePorts,
  probe: GuestProbe<Facts>,
  signal: AbortSignal,
  use: (vm: Vm, facts: Facts) => Promise<T>,
): Promise<T> {
  const stage: RunStage = ports.stage ?? ((_stage, _title, work) => work());
  await using archive = await stage('archive', `Obtain the archive ${plan.archive.reference}`, () =>
    obtainArchive(ports, plan.archive, signal),
  );
  const qemu = await findQemu(ports, archive, signal);
  await using warm = await warmStart(plan, ports, qemu, archive, probe);
  const up = await stage('vm', 'Start the VM', async () => {
    const decision = await chooseAccelerator(plan.vm.accelerator, ports);
    const restored = await warm?.restore(decision, signal);
    if (restored && 'vm' in restored) return restored;
    const start = {kind: 'cold', ...(restored && {reason: restored.reason})} as const;
    return {vm: await bootVm(ports, plan.vm, qemu, archive.diskPath, decision, start, signal)};
  });
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

async function warmStart<Facts>(
  plan: Plan,
  ports: MachinePorts,
  qemu: QemuProgram,
  {diskPath, diskDigest}: Archive,
  probe: GuestProbe<Facts>,
): Promise<WarmStart<Facts> | undefined> {
  const isWanted = plan.vm.snapshot === 'auto' && plan.vm.machine === 'auto';
  if (!isWanted || (probe as unknown) === ANY_GUEST) return undefined;
  const disk = {
    path: diskPath,
    identity: diskDigest ?? (await ports.files.identity(diskPath)),
    isPortable: diskDigest !== undefined,
    label: plan.archive.reference,
  };
  return new WarmStart(ports, plan.vm, qemu, disk, plan.archive.storeDir, probe);
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
