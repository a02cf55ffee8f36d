import {UserError} from '../base/errors.ts';
import {type DebugForward, forwardedPort} from './qemu-args.ts';
import type {Qmp} from './qmp.ts';

/**
 * Has QEMU forward a port of this machine's loopback to the guest's debugger.
 * @returns the port. @throws UserError when it is taken.
 */
export async function forwardDebugger(qmp: Qmp, {hostPort, guestPort}: DebugForward): Promise<number> {
  const said = await qmp.human(`hostfwd_add net0 tcp:127.0.0.1:${hostPort}-:${guestPort}`);
  const port = forwardedPort(await qmp.human('info usernet'), guestPort);
  if (port !== undefined) return port;
  throw portTaken(hostPort, said.trim());
}

export function portTaken(hostPort: number, said: string): UserError {
  return new UserError(`debug-port: port ${hostPort} of 127.0.0.1 cannot be used: ${said}`, {
    input: 'debug-port',
    stage: 'vm',
    hint: 'name another port, or debug-port: auto for one that is free',
  });
}
