import {messageOf, UserError} from '../base/errors.ts';
import type {Child, Files} from '../base/ports.ts';
import {forwardDebugger} from './debug-port.ts';
import type {VmPorts} from './machine.ts';
import {forwardedPort, type MachineSpec, machinePaths, type QemuProgram, qemuCommand} from './qemu-args.ts';
import {Qmp} from './qmp.ts';
import type {BootFailure} from './watch.ts';

const QMP_DEADLINE_MS = 20_000;
const QMP_POLL_MS = 10;
const STOP_GRACE_MS = 1_500;

/** A QEMU that answers on its control socket. Disposing it ends the process and removes its folder. */
export interface RunningQemu extends AsyncDisposable {
  readonly child: Child;
  readonly qmp: Qmp;
  readonly runDir: string;
  readonly paths: ReturnType<typeof machinePaths>;
  /** The port on 127.0.0.1 that leads to the guest's sshd. */
  readonly sshPort: number;
  /** The one that leads to its debugger, when that is wanted. */
  readonly debugPort?: number;
  /** From now on disposing leaves the machine to others, running. */
  keep(): void;
}

/**
 * Starts QEMU in a folder of its own.
 * @param specIn the machine, once its folder is known and made.
 * @returns the failure when QEMU ends before it answers; its folder is removed then.
 */
export async function startQemu(
  ports: VmPorts,
  qemu: QemuProgram,
  specIn: (runDir: string) => Promise<MachineSpec>,
  signal: AbortSignal,
): Promise<RunningQemu | BootFailure> {
  const runDir = await ports.files.makeTempDir();
  const paths = machinePaths(runDir);
  let child: Child | undefined;
  let disposed: Promise<void> | undefined;
  let isKept = false;
  let control: Qmp | undefined;
  const dispose = (): Promise<void> => {
    disposed ??= (async () => {
      if (isKept) {
        control?.close();
        child?.release();
        return;
      }
      await child?.stop(STOP_GRACE_MS);
      await ports.files.remove(runDir);
    })();
    return disposed;
  };
  try {
    ports.emit({kind: 'resource', resource: {kind: 'temp-dir', path: runDir}});
    await requireSpace(ports.files, runDir);
    const spec = await specIn(runDir);
    child = await ports.processes.start(qemuCommand(qemu, spec));
    ports.emit({
      kind: 'resource',
      resource: {kind: 'process', pid: child.pid, startTicks: child.startTicks, name: 'qemu-system-x86_64'},
    });
    const answered = await openControl(ports, child, paths.qmpSocket, signal);
    if ('kind' in answered) {
      await dispose();
      return answered;
    }
    control = answered.qmp;
    const keep = (): void => {
      isKept = true;
    };
    const debugPort = spec.debug && (await forwardDebugger(answered.qmp, spec.debug));
    return {
      child,
      ...answered,
      ...(debugPort !== undefined && {debugPort}),
      runDir,
      paths,
      keep,
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Opens QMP and asks which port the kernel gave the forward; a QEMU that ends before it answers is a failed boot. */
async function openControl(
  ports: VmPorts,
  child: Child,
  socketPath: string,
  signal: AbortSignal,
): Promise<{qmp: Qmp; sshPort: number} | BootFailure> {
  const deadlineMs = ports.clock.nowMs() + QMP_DEADLINE_MS;
  let lastError: unknown;
  while (ports.clock.nowMs() < deadlineMs) {
    if (child.hasExited()) return {kind: 'died', detail: child.stderrTail()};
    let qmp: Qmp | undefined;
    try {
      qmp = await Qmp.open(await ports.sockets.connectUnix(socketPath));
      const sshPort = forwardedPort(await qmp.human('info usernet'), 22);
      if (sshPort !== undefined) return {qmp, sshPort};
      lastError = new Error('info usernet lists no forward to port 22');
    } catch (error) {
      lastError = error;
    }
    qmp?.close();
    await Promise.race([ports.clock.sleep(QMP_POLL_MS, signal), child.exited]);
  }
  throw new UserError(`QEMU does not answer on its control socket: ${messageOf(lastError)}`, {
    stage: 'vm',
    hint: 'the machine may be overloaded; try again',
  });
}

/** What the machine writes goes to an overlay there. Less is not worth starting with. */
const LEAST_FREE_BYTES = 512 * 1024 ** 2;

async function requireSpace(files: Files, dir: string): Promise<void> {
  const freeBytes = await files.freeBytes(dir);
  if (freeBytes >= LEAST_FREE_BYTES) return;
  throw new UserError(
    `no space for the VM: ${Math.floor(freeBytes / 1024 ** 2)} MiB free at ${dir}, at least ${LEAST_FREE_BYTES / 1024 ** 2} MiB are needed`,
    {stage: 'vm', hint: 'free some space there, or set the variable TMPDIR to a folder with space'},
  );
}
