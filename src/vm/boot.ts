import {asCanceled, ConnectionLostError, messageOf, UserError} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import type {Child, Clock, Files, InteractiveSession, Kvm, Processes, Sockets, Ssh} from '../base/ports.ts';
import type {MachineFacts} from '../base/result.ts';
import {type AcceleratorChoice, type AcceleratorDecision, chooseAccelerator} from './accelerator.ts';
import {type Accelerator, forwardedPort, machinePaths, type QemuProgram, qemuCommand} from './qemu-args.ts';
import {Qmp} from './qmp.ts';
import {type BootFailure, bootError, watchBoot} from './watch.ts';

/** The part of a plan that concerns the machine. */
export interface VmPlan {
  readonly accelerator: AcceleratorChoice;
  readonly cpus: number;
  readonly memoryMib: number;
  readonly bootTimeoutMs: number;
  /** Under `auto`: how long a machine on KVM may show no sign of life before it is started again under TCG. */
  readonly kvmPatienceMs: number;
  readonly username: string;
  readonly password: string;
}

export interface VmPorts {
  readonly processes: Processes;
  readonly files: Files;
  readonly sockets: Sockets;
  readonly ssh: Ssh;
  readonly kvm: Kvm;
  readonly clock: Clock;
  readonly emit: Emit;
}

/** A booted machine with a session into it. Disposing it ends QEMU and removes its folder. */
export interface Vm extends AsyncDisposable {
  readonly session: InteractiveSession;
  readonly machine: MachineFacts;
  readonly sshPort: number;
  readonly consolePath: string;
  /** Aborted when QEMU ends by itself, with what it said and the console's tail. */
  readonly died: AbortSignal;
  /** The error to show for one that came up in use: the machine's death explains a broken link better than the link does. */
  explain(error: unknown): Promise<unknown>;
}

const LOGIN_TIMEOUT_MS = 60_000;
const QMP_DEADLINE_MS = 20_000;
const STOP_GRACE_MS = 1_500;
const CONSOLE_TAIL_BYTES = 8 * 1024;

/**
 * Boots a disk and logs in. Under `auto`, a machine that KVM starts and that shows no sign of life is stopped and started
 * again under TCG.
 * @throws UserError with the console's tail when it does not come up; CanceledError when `signal` is aborted.
 */
export async function bootVm(
  ports: VmPorts,
  plan: VmPlan,
  qemu: QemuProgram,
  diskPath: string,
  signal: AbortSignal,
): Promise<Vm> {
  const decision = await chooseAccelerator(plan.accelerator, ports.kvm);
  if (decision.reason !== undefined) {
    ports.emit({
      kind: 'warning',
      message: `no KVM: ${decision.reason}. Going on under TCG, 5 to 20 times slower. To mend it: ${decision.advice}`,
    });
  }
  const first = await tryBoot(ports, plan, qemu, diskPath, decision, signal);
  if ('session' in first) return first;
  if (plan.accelerator !== 'auto' || decision.accelerator !== 'kvm' || first.failure.kind === 'deadline') {
    throw bootError(first.failure, first.consoleTail, plan.bootTimeoutMs);
  }
  const reason =
    first.failure.kind === 'silent'
      ? `KVM opens, but the guest showed no sign of life for ${first.failure.seconds} s`
      : `QEMU could not use KVM (${lastLine(first.failure.detail)})`;
  ports.emit({
    kind: 'warning',
    message: `${reason}. Starting again under TCG, 5 to 20 times slower; accelerator: tcg spares this attempt.`,
  });
  const second = await tryBoot(ports, plan, qemu, diskPath, {accelerator: 'tcg', reason}, signal);
  if ('session' in second) return second;
  throw bootError(second.failure, second.consoleTail, plan.bootTimeoutMs);
}

async function tryBoot(
  ports: VmPorts,
  plan: VmPlan,
  qemu: QemuProgram,
  diskPath: string,
  decision: AcceleratorDecision,
  signal: AbortSignal,
): Promise<Vm | {failure: BootFailure; consoleTail: string}> {
  const runDir = await ports.files.makeTempDir();
  await requireSpace(ports.files, runDir).catch(async error => {
    await ports.files.remove(runDir);
    throw error;
  });
  ports.emit({kind: 'resource', resource: {kind: 'temp-dir', path: runDir}});
  const paths = machinePaths(runDir);
  let child: Child | undefined;
  const dispose = async (): Promise<void> => {
    await child?.stop(STOP_GRACE_MS);
    await ports.files.remove(runDir);
  };
  try {
    child = await ports.processes.start(
      qemuCommand(qemu, {...plan, accelerator: decision.accelerator, diskPath, runDir}),
    );
    ports.emit({
      kind: 'resource',
      resource: {kind: 'process', pid: child.pid, startTicks: child.startTicks, name: 'qemu-system-x86_64'},
    });
    const port = await sshPort(ports, child, paths.qmpSocket, signal);
    const failure =
      typeof port === 'number'
        ? await watchBoot(ports, {
            child,
            port,
            consolePath: paths.console,
            bootTimeoutMs: plan.bootTimeoutMs,
            silenceLimitMs:
              plan.accelerator === 'auto' && decision.accelerator === 'kvm' ? plan.kvmPatienceMs : undefined,
            onConsole: progress(ports.emit, decision.accelerator),
            signal,
          })
        : port;
    if (failure || typeof port !== 'number') {
      const consoleTail = await ports.files.readTail(paths.console, CONSOLE_TAIL_BYTES);
      await dispose();
      return {failure: failure as BootFailure, consoleTail};
    }
    const died = deathSignal(ports, child, paths.console);
    const session = await login(ports, plan, port, AbortSignal.any([signal, died]));
    const machine = facts(plan, qemu, decision);
    ports.emit({kind: 'booted', machine});
    return {
      session,
      machine,
      sshPort: port,
      consolePath: paths.console,
      died,
      explain: error => explainFailure(ports, died, runDir, error),
      async [Symbol.asyncDispose]() {
        // The session's polite goodbye would only wait for a machine that is about to be ended.
        await Promise.all([session.close(), dispose()]);
      },
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Asks QEMU over QMP which port the kernel gave its forward; a QEMU that ends before it answers is a failed boot. */
async function sshPort(
  ports: VmPorts,
  child: Child,
  qmpSocket: string,
  signal: AbortSignal,
): Promise<number | BootFailure> {
  const deadlineMs = ports.clock.nowMs() + QMP_DEADLINE_MS;
  let lastError: unknown;
  while (ports.clock.nowMs() < deadlineMs) {
    if (child.hasExited()) return {kind: 'died', detail: child.stderrTail()};
    try {
      const qmp = await Qmp.open(await ports.sockets.connectUnix(qmpSocket));
      const port = forwardedPort(await qmp.human('info usernet'), 22);
      qmp.close();
      if (port !== undefined) return port;
      lastError = new Error('info usernet lists no forward to port 22');
    } catch (error) {
      lastError = error;
    }
    await Promise.race([ports.clock.sleep(50, signal), child.exited]);
  }
  throw new UserError(`QEMU does not answer on its control socket: ${messageOf(lastError)}`, {
    stage: 'vm',
    hint: 'the machine may be overloaded; try again',
  });
}

/** Sshd answers before PAM and the user database are ready on a slow machine, so a refused login is tried again. */
async function login(
  ports: VmPorts,
  plan: VmPlan,
  port: number,
  signal: AbortSignal,
): Promise<InteractiveSession> {
  const target = {host: '127.0.0.1', port, username: plan.username, password: plan.password};
  const deadlineMs = ports.clock.nowMs() + LOGIN_TIMEOUT_MS;
  let lastError: unknown;
  while (ports.clock.nowMs() < deadlineMs) {
    try {
      return await ports.ssh.connect(target, {timeoutMs: LOGIN_TIMEOUT_MS / 2, signal});
    } catch (error) {
      if (signal.aborted) throw signal.reason instanceof Error ? signal.reason : asCanceled(signal);
      lastError = error;
    }
    await ports.clock.sleep(500, signal);
  }
  throw new UserError(`cannot log in to the VM as ${plan.username}: ${messageOf(lastError)}`, {
    stage: 'vm',
    hint: 'a BuildKit archive has sshd with root/root; is this disk one?',
  });
}

function deathSignal(ports: VmPorts, child: Child, consolePath: string): AbortSignal {
  const controller = new AbortController();
  void child.exited.then(async exit => {
    const tail = await ports.files.readTail(consolePath, CONSOLE_TAIL_BYTES).catch(() => '');
    controller.abort(
      new UserError(
        `the VM ended while it was in use (${exit.signal ?? `exit status ${exit.code}`})${said(child.stderrTail())}${
          tail.trim() === ''
            ? ''
            : `\nThe serial console's last lines:\n${tail.trim().split('\n').slice(-15).join('\n')}`
        }`,
        {
          stage: 'vm',
          hint: 'was QEMU killed (out of memory on the runner)? Lower the input "memory" or use a larger runner',
        },
      ),
    );
  });
  return controller.signal;
}

/** What the machine writes goes to an overlay there. Less is not worth starting with. */
const LEAST_FREE_BYTES = 512 * 1024 ** 2;
/** With less than this free, the overlay could not grow: QEMU stops a machine whose write fails with ENOSPC (`werror=enospc`). */
const FULL_BELOW_BYTES = 16 * 1024 ** 2;

async function requireSpace(files: Files, dir: string): Promise<void> {
  const freeBytes = await files.freeBytes(dir);
  if (freeBytes >= LEAST_FREE_BYTES) return;
  throw new UserError(
    `no space for the VM: ${Math.floor(freeBytes / 1024 ** 2)} MiB free at ${dir}, at least ${LEAST_FREE_BYTES / 1024 ** 2} MiB are needed`,
    {stage: 'vm', hint: 'free some space there, or set the variable TMPDIR to a folder with space'},
  );
}

/** A link breaks a moment before its cause, QEMU's end, is known; hence the short wait. */
async function explainFailure(
  {clock, files}: VmPorts,
  died: AbortSignal,
  runDir: string,
  error: unknown,
): Promise<unknown> {
  if (!(error instanceof ConnectionLostError)) return died.aborted ? died.reason : error;
  const deadlineMs = clock.nowMs() + 1_000;
  while (!died.aborted && clock.nowMs() < deadlineMs) await clock.sleep(50);
  if (died.aborted) return died.reason;
  const freeBytes = await files.freeBytes(runDir).catch(() => undefined);
  if (freeBytes === undefined || freeBytes > FULL_BELOW_BYTES) return error;
  return new UserError(`the VM was stopped because this machine's disk is full (${runDir})`, {
    stage: 'vm',
    cause: error,
    hint: 'free some space there, or set the variable TMPDIR to a folder with space',
  });
}

function said(stderr: string): string {
  return stderr === '' ? '' : `: ${stderr}`;
}

function facts(plan: VmPlan, qemu: QemuProgram, decision: AcceleratorDecision): MachineFacts {
  return {
    accelerator: decision.accelerator,
    ...(decision.reason !== undefined && {acceleratorReason: decision.reason}),
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

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
