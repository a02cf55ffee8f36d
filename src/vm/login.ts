import {asCanceled, messageOf, UserError} from '../base/errors.ts';
import type {InteractiveSession, SshLine} from '../base/ports.ts';
import type {VmPlan, VmPorts} from './machine.ts';

const LOGIN_TIMEOUT_MS = 60_000;
const RETRY_MS = 500;

/**
 * Sshd answers before PAM and the user database are ready on a slow machine, so a refused login is tried again.
 * @param line a connection that is there already: a second one costs an emulated machine a process of sshd.
 */
export async function login(
  ports: Pick<VmPorts, 'clock' | 'ssh'>,
  plan: Pick<VmPlan, 'username' | 'password'>,
  port: number,
  signal: AbortSignal,
  line?: SshLine,
): Promise<InteractiveSession> {
  const target = {host: '127.0.0.1', port, username: plan.username, password: plan.password};
  const deadlineMs = ports.clock.nowMs() + LOGIN_TIMEOUT_MS;
  let lastError: unknown;
  let unused = line;
  while (ports.clock.nowMs() < deadlineMs) {
    try {
      return await ports.ssh.connect(target, {timeoutMs: LOGIN_TIMEOUT_MS / 2, signal, line: unused});
    } catch (error) {
      unused = undefined;
      if (signal.aborted) throw signal.reason instanceof Error ? signal.reason : asCanceled(signal);
      lastError = error;
    }
    await ports.clock.sleep(RETRY_MS, signal);
  }
  throw new UserError(`cannot log in to the VM as ${plan.username}: ${messageOf(lastError)}`, {
    stage: 'vm',
    hint: 'a BuildKit archive has sshd with root/root; is this disk one?',
  });
}
