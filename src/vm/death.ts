import {ConnectionLostError, UserError} from '../base/errors.ts';
import type {Child} from '../base/ports.ts';
import type {VmPorts} from './machine.ts';

export const CONSOLE_TAIL_BYTES = 8 * 1024;
const CONSOLE_TAIL_LINES = 15;
const CAUSE_WAIT_MS = 1_000;
/** With less than this free, the overlay could not grow: QEMU stops a machine whose write fails with ENOSPC (`werror=enospc`). */
const FULL_BELOW_BYTES = 16 * 1024 ** 2;

/** A signal that is aborted when the machine ends by itself, with what it said and the console's tail. */
export function deathSignal({files}: Pick<VmPorts, 'files'>, child: Child, consolePath: string): AbortSignal {
  const controller = new AbortController();
  void child.exited.then(async exit => {
    const tail = (await files.readTail(consolePath, CONSOLE_TAIL_BYTES).catch(() => '')).trim();
    const stderr = child.stderrTail();
    const how = exit.signal ?? `exit status ${exit.code}`;
    const console =
      tail === ''
        ? ''
        : `\nThe serial console's last lines:\n${tail.split('\n').slice(-CONSOLE_TAIL_LINES).join('\n')}`;
    controller.abort(
      new UserError(`the VM ended while it was in use (${how})${stderr && `: ${stderr}`}${console}`, {
        stage: 'vm',
        hint: 'was QEMU killed (out of memory on the runner)? Lower the input "memory" or use a larger runner',
      }),
    );
  });
  return controller.signal;
}

/** A link breaks a moment before its cause, QEMU's end, is known; hence the short wait. */
export async function explainFailure(
  {clock, files}: Pick<VmPorts, 'clock' | 'files'>,
  died: AbortSignal,
  runDir: string,
  error: unknown,
): Promise<unknown> {
  if (!(error instanceof ConnectionLostError)) return died.aborted ? died.reason : error;
  const deadlineMs = clock.nowMs() + CAUSE_WAIT_MS;
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
