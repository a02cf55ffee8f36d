import {UserError} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import type {Files, InteractiveSession, Lender, Session} from '../base/ports.ts';
import {DAEMON_SOCKET} from './runner-site.ts';

export interface LendPorts {
  readonly files: Files;
  /** Absent where a machine can neither outlive this process nor be waited for. */
  readonly lender?: Lender;
  readonly emit: Emit;
}

/** A machine whose BuildKit others are to use. */
export interface LentVm {
  readonly session: Session;
  readonly login: (signal: AbortSignal) => Promise<InteractiveSession>;
  /** Leaves it running; absent where it cannot be left. */
  readonly keep?: () => void;
}

/**
 * Lends the machine's BuildKit to others, by a socket in a folder that only this user can enter.
 * @param onOpen told the socket's address, `unix://` and a path.
 * @throws UserError where nobody can lend; what the lender throws.
 */
export async function lendBuildkit(
  {files, lender, emit}: LendPorts,
  vm: LentVm,
  onOpen: (address: string) => void,
  signal: AbortSignal,
): Promise<void> {
  if (!lender) {
    throw new UserError('keep-running: there is nobody to keep the VM running for', {
      input: 'keep-running',
      stage: 'outputs',
      hint: 'leave keep-running at false',
    });
  }
  if (lender.outlives && !vm.keep) {
    throw new UserError('keep-running: a VM that docker has launched ends with this step', {
      input: 'keep-running',
      stage: 'outputs',
      hint: 'set launcher: qemu, or leave keep-running at false',
    });
  }
  const dir = await files.makeTempDir();
  emit({kind: 'resource', resource: {kind: 'temp-dir', path: dir}});
  const socketPath = `${dir}/buildkit.sock`;
  let isKept = false;
  try {
    await lender.lend(vm.session, {
      socketPath,
      guestPath: DAEMON_SOCKET,
      login: vm.login,
      signal,
      onOpen: () => onOpen(`unix://${socketPath}`),
      onProcess: process => emit({kind: 'resource', resource: {kind: 'process', ...process}}),
    });
    if (lender.outlives) {
      vm.keep?.();
      isKept = true;
    }
  } finally {
    if (!isKept) await files.remove(dir);
  }
}
