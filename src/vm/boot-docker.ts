import type {LoadableImage} from '../base/docker.ts';
import {UserError} from '../base/errors.ts';
import type {MachineFacts} from '../base/result.ts';
import type {AcceleratorDecision} from './accelerator.ts';
import {type Attempt, firstAttempt} from './attempts.ts';
import {bootInTurns, comeUp, type FailedBoot} from './come-up.ts';
import {explainFailure} from './death.ts';
import {chooseStart, imageStart, type StartChoice} from './docker-args.ts';
import {type ImageInDocker, imageInDocker, releaseImage} from './docker-image.ts';
import {docker} from './find-docker.ts';
import type {Vm, VmPlan} from './machine.ts';
import {parseQemuVersion} from './qemu-args.ts';
import {type ContainerPorts, type RunningContainer, startContainer} from './start-container.ts';
import type {BootFailure} from './watch.ts';

/** An image that goes away between being looked for and being run, because another job ended, is loaded anew; so often at most. */
const MAX_LOADS = 3;

/**
 * Starts an archive as its publishers do, in a container of the unmodified image, and logs in. KVM that does not work is left out at a second attempt.
 * @param reason Why it is docker that launches, for people.
 * @throws UserError with the console's tail when it does not come up; CanceledError when `signal` is aborted.
 */
export async function bootInDocker(
  ports: ContainerPorts,
  plan: VmPlan,
  image: LoadableImage,
  reason: string,
  decision: AcceleratorDecision,
  signal: AbortSignal,
): Promise<Vm> {
  const start = chooseStart(imageStart(image.config.toString('utf8')), plan);
  if (start.warning !== undefined) ports.emit({kind: 'warning', message: start.warning});
  const lent = await imageInDocker(ports, image, signal);
  try {
    const first = firstAttempt({machine: 'published'}, decision);
    const vm = await bootInTurns(ports, plan, first, attempt =>
      tryBoot(ports, plan, {image, lent, start, reason}, attempt, signal),
    );
    return {
      ...vm,
      async [Symbol.asyncDispose]() {
        await vm[Symbol.asyncDispose]();
        await releaseImage(ports, lent);
      },
    };
  } catch (error) {
    await releaseImage(ports, lent);
    throw error;
  }
}

interface What {
  readonly image: LoadableImage;
  readonly lent: ImageInDocker;
  readonly start: StartChoice;
  readonly reason: string;
}

async function tryBoot(
  ports: ContainerPorts,
  plan: VmPlan,
  what: What,
  attempt: Attempt,
  signal: AbortSignal,
): Promise<Vm | FailedBoot> {
  const running = await start(ports, plan, what, attempt, signal);
  if ('kind' in running) return {failure: running, consoleTail: ''};
  const {runDir, consolePath, sshPort} = running;
  try {
    const up = await comeUp(ports, plan, attempt, running, signal);
    if ('failure' in up) {
      await running[Symbol.asyncDispose]();
      return up;
    }
    const {session, died} = up;
    const machine = await machineFacts(ports, what, running, attempt, signal);
    ports.emit({kind: 'booted', machine});
    return {
      session,
      machine,
      sshPort,
      consolePath,
      died,
      login: async () => session,
      explain: async error => explainFailure(ports, died, await diskDir(ports, runDir), error),
      async [Symbol.asyncDispose]() {
        await Promise.all([session.close(), running[Symbol.asyncDispose]()]);
      },
    };
  } catch (error) {
    await running[Symbol.asyncDispose]();
    throw error;
  }
}

async function start(
  ports: ContainerPorts,
  plan: VmPlan,
  {image, lent, start: {command}}: What,
  attempt: Attempt,
  signal: AbortSignal,
): Promise<RunningContainer | BootFailure> {
  const spec = {kvm: attempt.accelerator === 'kvm', debug: plan.debug, command};
  for (let loads = 1; ; loads++) {
    const running = await startContainer(ports, lent, spec, signal);
    if (running !== 'no-image') return running;
    if (loads === MAX_LOADS) {
      throw new UserError(`docker loses the image as soon as it is loaded: ${lent.reference}`, {
        stage: 'vm',
        hint: 'does something prune images on this machine? launcher: qemu needs no docker',
      });
    }
    await imageInDocker(ports, image, signal);
  }
}

async function machineFacts(
  ports: ContainerPorts,
  {start: {cpus, memoryMib}, reason}: What,
  {name, debugPort}: RunningContainer,
  attempt: Attempt,
  signal: AbortSignal,
): Promise<MachineFacts> {
  const {stdout} = await docker(ports, ['exec', name, 'qemu-system-x86_64', '--version'], signal);
  return {
    launcher: 'docker',
    launcherReason: reason,
    accelerator: attempt.accelerator,
    ...(attempt.reason !== undefined && {acceleratorReason: attempt.reason}),
    line: 'published',
    start: {kind: 'cold'},
    qemuVersion: parseQemuVersion(stdout) ?? 'unknown',
    cpus,
    memoryMib,
    ...(debugPort !== undefined && {debugPort}),
  };
}

/** Where docker keeps what containers write, the VM's disk among it. */
async function diskDir(ports: ContainerPorts, otherwise: string): Promise<string> {
  const info = docker(ports, ['info', '--format', '{{.DockerRootDir}}']);
  return info.then(({stdout}) => stdout.trim() || otherwise).catch(() => otherwise);
}
