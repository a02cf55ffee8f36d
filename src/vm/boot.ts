import type {MachineFacts, StartFacts} from '../base/result.ts';
import type {BootFiles} from '../disk/boot-files.ts';
import type {AcceleratorDecision} from './accelerator.ts';
import {type Attempt, firstAttempt} from './attempts.ts';
import {bootInTurns, comeUp, type FailedBoot} from './come-up.ts';
import {explainFailure} from './death.ts';
import {freeze} from './freeze.ts';
import {bootFilesOf, takeKernel} from './kernel.ts';
import type {Lesson} from './lesson.ts';
import {qemuFacts, type Vm, type VmPlan, type VmPorts} from './machine.ts';
import {emptyQcow2, virtualSize} from './overlay.ts';
import {type MachineSpec, machinePaths, type QemuProgram} from './qemu-args.ts';
import {type RunningQemu, startQemu} from './start.ts';

/**
 * Boots a disk and logs in. What fails for a known reason is tried another way: KVM that does not work under TCG, a guest that does
 * not come up on our line on the published one.
 * @throws UserError with the console's tail when it does not come up; CanceledError when `signal` is aborted.
 */
export async function bootVm(
  ports: VmPorts,
  plan: VmPlan,
  qemu: QemuProgram,
  diskPath: string,
  decision: AcceleratorDecision,
  start: StartFacts,
  signal: AbortSignal,
  onLearnt?: (lessons: readonly Lesson[]) => Promise<void>,
): Promise<Vm> {
  const isOurs = plan.machine === 'auto' && plan.kernel !== 'loader';
  const disk = {path: diskPath, boot: isOurs ? await bootFilesOf(ports, diskPath) : undefined};
  return bootInTurns(
    ports,
    plan,
    firstAttempt(plan, decision, disk.boot !== undefined),
    attempt => tryBoot(ports, plan, qemu, disk, attempt, start, signal),
    onLearnt,
  );
}

interface BootDisk {
  readonly path: string;
  /** What its boot loader would start, where that is known. */
  readonly boot: BootFiles | undefined;
}

async function tryBoot(
  ports: VmPorts,
  plan: VmPlan,
  qemu: QemuProgram,
  disk: BootDisk,
  attempt: Attempt,
  start: StartFacts,
  signal: AbortSignal,
): Promise<Vm | FailedBoot> {
  const running = await startQemu(
    ports,
    qemu,
    runDir => machineSpec(ports, plan, attempt, disk, runDir, signal),
    signal,
  );
  if ('kind' in running) return {failure: running, consoleTail: ''};
  const {child, sshPort, paths, runDir} = running;
  try {
    // It answers, so it has read the kernel.
    await ports.files.remove(paths.boot);
    const up = await comeUp(ports, plan, attempt, {child, sshPort, consolePath: paths.console}, signal);
    if ('failure' in up) {
      await running[Symbol.asyncDispose]();
      return up;
    }
    const {session, died} = up;
    const machine = machineFacts(plan, qemu, running, attempt, start);
    ports.emit({kind: 'booted', machine});
    return {
      session,
      machine,
      sshPort,
      consolePath: paths.console,
      died,
      qmp: running.qmp,
      ...(attempt.line === 'fast' &&
        plan.snapshot === 'auto' && {
          freeze: (destDir, about, stop) =>
            freeze(ports, {...running, memoryMib: plan.memoryMib}, session, destDir, about, stop),
        }),
      keep: running.keep,
      login: async () => session,
      explain: error => explainFailure(ports, died, runDir, error),
      async [Symbol.asyncDispose]() {
        // The session's polite goodbye would only wait for a machine that is about to be ended.
        await Promise.all([session.close(), running[Symbol.asyncDispose]()]);
      },
    };
  } catch (error) {
    await running[Symbol.asyncDispose]();
    throw error;
  }
}

/** The machine of an attempt; the fast one gets an empty overlay in its folder. */
async function machineSpec(
  ports: VmPorts,
  plan: VmPlan,
  attempt: Attempt,
  {path, boot}: BootDisk,
  runDir: string,
  signal: AbortSignal,
): Promise<MachineSpec> {
  const {cpus, memoryMib, debug} = plan;
  const spec = {accelerator: attempt.accelerator, cpus, memoryMib, runDir, debug};
  if (attempt.line === 'published') return {...spec, disk: {kind: 'published', path}};
  const paths = machinePaths(runDir);
  await ports.files.write(paths.overlay, emptyQcow2(await virtualSize(ports.files, path)));
  return {
    ...spec,
    disk: {kind: 'chain', readOnly: [path], overlay: paths.overlay},
    // Memory that can be read from outside has no huge pages on most systems.
    ...(plan.snapshot === 'auto' && {ram: {kind: 'shared'}}),
    ...(attempt.isDirect && boot && {kernel: await takeKernel(ports, boot, spec, signal)}),
  };
}

function machineFacts(
  plan: VmPlan,
  qemu: QemuProgram,
  running: Pick<RunningQemu, 'debugPort'>,
  attempt: Attempt,
  start: StartFacts,
): MachineFacts {
  return {
    accelerator: attempt.accelerator,
    ...(attempt.reason !== undefined && {acceleratorReason: attempt.reason}),
    line: attempt.line,
    start,
    ...qemuFacts(plan, qemu, running),
  };
}
