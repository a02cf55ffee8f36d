import type {Emit} from '../base/events.ts';
import type {MachineFacts, StartFacts} from '../base/result.ts';
import type {AcceleratorDecision} from './accelerator.ts';
import {type Attempt, attemptTimeoutMs, firstAttempt, nextAttempt} from './attempts.ts';
import {CONSOLE_TAIL_BYTES, deathSignal, explainFailure} from './death.ts';
import {freeze} from './freeze.ts';
import {login} from './login.ts';
import type {Vm, VmPlan, VmPorts} from './machine.ts';
import {emptyQcow2, virtualSize} from './overlay.ts';
import {type Accelerator, type MachineSpec, machinePaths, type QemuProgram} from './qemu-args.ts';
import {startQemu} from './start.ts';
import {type BootFailure, bootError, watchBoot} from './watch.ts';

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
): Promise<Vm> {
  let attempt = firstAttempt(plan, decision);
  while (true) {
    const tried = await tryBoot(ports, plan, qemu, diskPath, attempt, start, signal);
    if ('session' in tried) return tried;
    const next = nextAttempt(plan, attempt, tried.failure);
    if (!next) throw bootError(tried.failure, tried.consoleTail, attemptTimeoutMs(plan, attempt));
    ports.emit({kind: 'warning', message: next.warning});
    attempt = next.attempt;
  }
}

async function tryBoot(
  ports: VmPorts,
  plan: VmPlan,
  qemu: QemuProgram,
  diskPath: string,
  attempt: Attempt,
  start: StartFacts,
  signal: AbortSignal,
): Promise<Vm | {failure: BootFailure; consoleTail: string}> {
  const running = await startQemu(
    ports,
    qemu,
    runDir => machineSpec(ports, plan, attempt, diskPath, runDir),
    signal,
  );
  if ('kind' in running) return {failure: running, consoleTail: ''};
  const {child, sshPort, paths, runDir} = running;
  try {
    const failure = await watchBoot(ports, {
      child,
      port: sshPort,
      consolePath: paths.console,
      bootTimeoutMs: attemptTimeoutMs(plan, attempt),
      silenceLimitMs:
        plan.accelerator === 'auto' && attempt.accelerator === 'kvm' ? plan.kvmPatienceMs : undefined,
      onConsole: progress(ports.emit, attempt.accelerator),
      signal,
    });
    if (failure) {
      const consoleTail = await ports.files.readTail(paths.console, CONSOLE_TAIL_BYTES);
      await running[Symbol.asyncDispose]();
      return {failure, consoleTail};
    }
    const died = deathSignal(ports, child, paths.console);
    const session = await login(ports, plan, sshPort, AbortSignal.any([signal, died]));
    const machine = machineFacts(plan, qemu, attempt, start);
    ports.emit({kind: 'booted', machine});
    return {
      session,
      machine,
      sshPort,
      consolePath: paths.console,
      died,
      qmp: running.qmp,
      ...(attempt.line === 'fast' && {
        freeze: (destDir, about, stop) => freeze(ports, running, session, destDir, about, stop),
      }),
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
  {files}: VmPorts,
  plan: VmPlan,
  attempt: Attempt,
  diskPath: string,
  runDir: string,
): Promise<MachineSpec> {
  const {cpus, memoryMib} = plan;
  const spec = {accelerator: attempt.accelerator, cpus, memoryMib, runDir};
  if (attempt.line === 'published') return {...spec, disk: {kind: 'published', path: diskPath}};
  const paths = machinePaths(runDir);
  await files.write(paths.overlay, emptyQcow2(await virtualSize(files, diskPath)));
  return {
    ...spec,
    disk: {kind: 'chain', readOnly: [diskPath], overlay: paths.overlay},
    ram: {path: paths.ram, shared: true},
  };
}

function machineFacts(plan: VmPlan, qemu: QemuProgram, attempt: Attempt, start: StartFacts): MachineFacts {
  return {
    accelerator: attempt.accelerator,
    ...(attempt.reason !== undefined && {acceleratorReason: attempt.reason}),
    line: attempt.line,
    start,
    qemuVersion: qemu.version,
    cpus: plan.cpus,
    memoryMib: plan.memoryMib,
  };
}

function progress(emit: Emit, accelerator: Accelerator): (sizeBytes: number, elapsedMs: number) => void {
  return (sizeBytes, elapsedMs) =>
    emit({
      kind: 'progress',
      stage: 'vm',
      text: `booting under ${accelerator.toUpperCase()}: ${Math.round(elapsedMs / 1000)} s, console ${sizeBytes} bytes`,
    });
}
