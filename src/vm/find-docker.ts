import type {Docker} from '../base/docker.ts';
import {messageOf} from '../base/errors.ts';
import type {Output, Processes} from '../base/ports.ts';
import {isLocalEngine} from './docker-args.ts';

export interface DockerPorts {
  readonly docker: Docker;
  readonly processes: Processes;
}

const CLIENT_TIMEOUT_MS = 20_000;

/**
 * Proves docker: a client, an engine that answers it, and on this machine.
 * @returns the engine's version. @throws with the reason why it cannot be used.
 */
export async function proveDocker(ports: DockerPorts, signal: AbortSignal): Promise<string> {
  const version = await docker(ports, ['version', '--format', '{{.Server.Version}}'], signal);
  const found = version.stdout.trim();
  if (version.code !== 0 || found === '') {
    throw new Error(
      `docker has no engine: ${lastLine(version.stderr || version.stdout) || 'it does not answer'}`,
    );
  }
  // Other clients of the same name (podman's) know no contexts, and are local.
  const context = await docker(
    ports,
    ['context', 'inspect', '--format', '{{.Endpoints.docker.Host}}'],
    signal,
  );
  const address = context.stdout.trim();
  if (context.code === 0 && address !== '' && !isLocalEngine(address)) {
    throw new Error(
      `docker's engine (${address}) is not on this machine, so the VM's port could not be reached`,
    );
  }
  return found;
}

/** Runs a short command of the docker client. @throws when there is no client, or it does not end in time. */
export async function docker(
  {docker: client, processes}: DockerPorts,
  args: readonly string[],
  signal?: AbortSignal,
  timeoutMs = CLIENT_TIMEOUT_MS,
): Promise<Output> {
  const command = await client.command(args);
  if (!command) throw new Error('docker is not on PATH');
  return processes.output(command, {timeoutMs, ...(signal && {signal})});
}

/** The same for the clean-up, where nothing may throw. @returns what was wrong. */
export async function tryDocker(
  ports: DockerPorts,
  args: readonly string[],
  timeoutMs: number,
): Promise<string | undefined> {
  try {
    const {code, stderr} = await docker(ports, args, undefined, timeoutMs);
    return code === 0 ? undefined : lastLine(stderr) || `exit status ${code}`;
  } catch (error) {
    return messageOf(error);
  }
}

export function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.trim() ?? '';
}
