import {CONTAINER_PREFIX} from '../base/docker.ts';
import {UserError} from '../base/errors.ts';
import type {Child} from '../base/ports.ts';
import {portTaken} from './debug-port.ts';
import {type ContainerSpec, dockerRunArgs, publishedPort} from './docker-args.ts';
import type {ImageInDocker} from './docker-image.ts';
import {type DockerPorts, docker, lastLine, tryDocker} from './find-docker.ts';
import type {VmPorts} from './machine.ts';
import type {BootFailure} from './watch.ts';

export type ContainerPorts = VmPorts & DockerPorts;

/** A container in which the guest's port is published. Disposing it ends and removes it and its folder. */
export interface RunningContainer extends AsyncDisposable {
  /** The `docker run` in the foreground; it ends with the container. */
  readonly child: Child;
  readonly name: string;
  readonly runDir: string;
  readonly consolePath: string;
  readonly sshPort: number;
  readonly debugPort?: number;
}

/** Docker creates a container and sets up its network in well under a second; on a busy machine it may take many. */
const START_DEADLINE_MS = 60_000;
/** From the moment a port is published something listens there: docker's proxy, or soon QEMU. */
const ACCEPT_DEADLINE_MS = 20_000;
const POLL_MS = 100;
const REMOVE_TIMEOUT_MS = 30_000;
const CLIENT_GRACE_MS = 1_500;
/** Of `docker run` itself, in place of the container's (docker's manual, "docker run", Exit status). */
const RUN_FAILED_STATUS = 125;

/**
 * Runs an image in a container with its console in a file.
 * @returns the failure when it ends before its port is published, or 'no-image' when docker has lost it meanwhile.
 */
export async function startContainer(
  ports: ContainerPorts,
  image: ImageInDocker,
  spec: Omit<ContainerSpec, 'name' | 'image'>,
  signal: AbortSignal,
): Promise<RunningContainer | BootFailure | 'no-image'> {
  const runDir = await ports.files.makeTempDir();
  // The folder's name is unique already.
  const name = `${CONTAINER_PREFIX}${runDir.slice(runDir.lastIndexOf('-') + 1)}`;
  const consolePath = `${runDir}/console.log`;
  let child: Child | undefined;
  let disposed: Promise<void> | undefined;
  const dispose = (): Promise<void> => {
    disposed ??= remove(ports, name, child).then(() => ports.files.remove(runDir));
    return disposed;
  };
  try {
    ports.emit({kind: 'resource', resource: {kind: 'temp-dir', path: runDir}});
    const {loadedName} = image;
    ports.emit({
      kind: 'resource',
      resource: {kind: 'container', name, ...(loadedName !== undefined && {image: loadedName})},
    });
    const command = await ports.docker.command(dockerRunArgs({...spec, name, image: image.reference}));
    if (!command) throw new Error('docker is gone');
    child = await ports.processes.start({...command, stdoutPath: consolePath});
    ports.emit({
      kind: 'resource',
      resource: {kind: 'process', pid: child.pid, startTicks: child.startTicks, name: 'docker run'},
    });
    const published = await portsOf(ports, name, spec, child, signal);
    if (published === undefined) {
      const failure = await whyEnded(child, spec);
      await dispose();
      return failure;
    }
    await requireReachable(ports, published.sshPort, child, signal);
    return {child, name, runDir, consolePath, ...published, [Symbol.asyncDispose]: dispose};
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** The ports that docker chose; undefined when the container has ended. */
async function portsOf(
  ports: ContainerPorts,
  name: string,
  {debug}: Pick<ContainerSpec, 'debug'>,
  child: Child,
  signal: AbortSignal,
): Promise<{sshPort: number; debugPort?: number} | undefined> {
  const deadlineMs = ports.clock.nowMs() + START_DEADLINE_MS;
  while (ports.clock.nowMs() < deadlineMs) {
    if (child.hasExited()) return undefined;
    const {stdout} = await docker(ports, ['port', name], signal);
    const sshPort = publishedPort(stdout, 22);
    const debugPort = debug && publishedPort(stdout, debug.guestPort);
    if (sshPort !== undefined && (!debug || debugPort !== undefined)) {
      return {sshPort, ...(debugPort !== undefined && {debugPort})};
    }
    await Promise.race([ports.clock.sleep(POLL_MS, signal), child.exited]);
  }
  throw new UserError(`docker did not start the container within ${START_DEADLINE_MS / 1000} s`, {
    stage: 'vm',
    hint: 'see what docker is busy with (docker info, docker ps), or set launcher: qemu',
  });
}

/** @throws UserError when the published port is not on this side of a network namespace, as in a container that shares its host's docker. */
async function requireReachable(
  {sockets, clock}: ContainerPorts,
  port: number,
  child: Child,
  signal: AbortSignal,
): Promise<void> {
  const deadlineMs = clock.nowMs() + ACCEPT_DEADLINE_MS;
  while (clock.nowMs() < deadlineMs && !child.hasExited()) {
    if (await sockets.accepts(port, POLL_MS * 10)) return;
    await Promise.race([clock.sleep(POLL_MS, signal), child.exited]);
  }
  if (child.hasExited()) return;
  throw new UserError(
    `docker publishes the VM at 127.0.0.1:${port}, and nothing answers there: docker's engine runs outside this container or machine`,
    {input: 'launcher', stage: 'vm', hint: 'set launcher: qemu, or run this where docker itself runs'},
  );
}

/** Why `docker run` ended early. @throws UserError for a port that was asked for and is taken. */
async function whyEnded(
  child: Child,
  {debug}: Pick<ContainerSpec, 'debug'>,
): Promise<BootFailure | 'no-image'> {
  const {code} = await child.exited;
  const detail = child.stderrTail();
  if (code !== RUN_FAILED_STATUS) return {kind: 'died', detail};
  if (/no such image|unable to find image/i.test(detail)) return 'no-image';
  if (debug?.hostPort && /port is already allocated|address already in use/.test(detail)) {
    throw portTaken(debug.hostPort, lastLine(detail));
  }
  return {kind: 'died', detail: `docker could not start the container: ${detail}`};
}

/** Nothing here throws: what cannot be removed is said. */
async function remove(ports: ContainerPorts, name: string, child: Child | undefined): Promise<void> {
  if (!child) return;
  const removal = ['rm', '--force', '--volumes', name];
  await tryDocker(ports, removal, REMOVE_TIMEOUT_MS);
  await child.stop(CLIENT_GRACE_MS);
  // It may have been created only while it was being removed.
  const failure = await tryDocker(ports, removal, REMOVE_TIMEOUT_MS);
  if (failure === undefined || /no such container|already in progress/i.test(failure)) return;
  ports.emit({
    kind: 'warning',
    message: `the container ${name} could not be removed (${failure}); by hand: docker rm --force ${name}`,
  });
}
