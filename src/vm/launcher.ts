import type {LoadableImage} from '../base/docker.ts';
import {messageOf, throwIfCanceled, UserError} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import {LAUNCHERS} from '../base/result.ts';
import type {AcceleratorChoice} from './accelerator.ts';
import {type DockerPorts, proveDocker} from './find-docker.ts';
import {findHostQemu, proveQemu, type QemuCandidate} from './find-qemu.ts';
import type {QemuProgram} from './qemu-args.ts';

export const LAUNCHER_CHOICES = ['auto', ...LAUNCHERS] as const;
export type LauncherChoice = (typeof LAUNCHER_CHOICES)[number];

export interface LaunchPlan {
  readonly launcher: LauncherChoice;
  readonly accelerator: AcceleratorChoice;
}

/** What an archive brings besides its disk; both are undefined for a bare disk. */
export interface LaunchSources {
  /** As the user named it. */
  readonly reference: string;
  /** Looks for a QEMU in its root file system, which is fetched and unpacked for that; undefined when there is none. */
  readonly ownQemu: ((signal: AbortSignal) => Promise<Omit<QemuCandidate, 'origin'> | undefined>) | undefined;
  readonly image: ((signal: AbortSignal) => Promise<LoadableImage>) | undefined;
}

export type Launcher = {readonly kind: 'qemu'; readonly qemu: QemuProgram} | DockerLauncher;

export interface DockerLauncher {
  readonly kind: 'docker';
  /** Why it is docker, for people. */
  readonly reason: string;
  readonly image: (signal: AbortSignal) => Promise<LoadableImage>;
}

interface Candidate {
  /** For the log. */
  readonly name: string;
  /** @throws with the reason why it cannot be used. */
  prove(): Promise<{readonly launcher: Launcher; readonly found: string}>;
}

/**
 * What starts the machine: of the host's QEMU, the archive's own and docker the first that proves itself, or of those that the plan leaves. Says which and why.
 * @throws UserError with every candidate's reason when none can be used; CanceledError.
 */
export async function chooseLauncher(
  ports: DockerPorts & {readonly emit: Emit},
  plan: LaunchPlan,
  sources: LaunchSources,
  signal: AbortSignal,
): Promise<Launcher> {
  const choice = plan.launcher;
  if (choice === 'docker' && !sources.image) throw noImage(sources.reference);
  const passedOver: string[] = [];
  for (const {name, prove} of candidates(ports, plan, sources, signal)) {
    throwIfCanceled(signal);
    try {
      const {launcher, found} = await prove();
      const reason = [choice === 'auto' ? undefined : 'as asked', ...passedOver]
        .filter(part => part !== undefined)
        .join('; ');
      ports.emit({kind: 'notice', message: `launched by ${name}, ${found}${reason && ` (${reason})`}`});
      return explained(launcher, `${name}${reason && ` (${reason})`}`);
    } catch (error) {
      throwIfCanceled(signal);
      passedOver.push(messageOf(error));
    }
  }
  throw none(choice, passedOver);
}

function candidates(
  ports: DockerPorts,
  {launcher: choice, accelerator}: LaunchPlan,
  sources: LaunchSources,
  signal: AbortSignal,
): readonly Candidate[] {
  const proved = async (candidate: QemuCandidate) => {
    const qemu = await proveQemu(ports.processes, candidate, accelerator);
    return {launcher: {kind: 'qemu', qemu} as const, found: qemu.version};
  };
  const host: Candidate = {
    name: "the host's QEMU",
    async prove() {
      const candidate = await findHostQemu(ports.processes);
      if (!candidate) throw new Error('qemu-system-x86_64 is not on PATH');
      return proved(candidate);
    },
  };
  const own: Candidate = {
    name: "the archive's QEMU",
    async prove() {
      if (!sources.ownQemu) throw new Error('a bare disk brings no QEMU');
      const found = await sources.ownQemu(signal);
      if (!found) throw new Error('there is no QEMU in the image that can be run');
      return proved({...found, origin: 'archive'});
    },
  };
  const container: Candidate = {
    name: 'docker',
    async prove() {
      const {image} = sources;
      if (!image) throw new Error('a bare disk is no image for docker');
      const version = await proveDocker(ports, signal);
      return {launcher: {kind: 'docker', reason: '', image}, found: `engine ${version}`};
    },
  };
  if (choice === 'docker') return [container];
  return choice === 'qemu' ? [host, own] : [host, own, container];
}

function explained(launcher: Launcher, reason: string): Launcher {
  return launcher.kind === 'qemu' ? {...launcher, qemu: {...launcher.qemu, reason}} : {...launcher, reason};
}

function noImage(reference: string): UserError {
  return new UserError(`launcher: docker starts images, and ${reference} is a bare disk`, {
    input: 'launcher',
    stage: 'vm',
    hint: 'set launcher: qemu, or name an image, an OCI image layout or a "docker save" tar with "archive"',
  });
}

function none(choice: LauncherChoice, reasons: readonly string[]): UserError {
  if (choice === 'docker') {
    return new UserError(`launcher: docker was asked for, but ${reasons.join('; ')}`, {
      input: 'launcher',
      stage: 'vm',
      hint: 'start docker, or set launcher: auto',
    });
  }
  const what = choice === 'qemu' ? 'there is no QEMU' : 'there is nothing that could run the VM';
  return new UserError(`${what}: ${reasons.join('; ')}`, {
    input: 'launcher',
    stage: 'vm',
    hint: 'install QEMU: sudo apt-get install qemu-system-x86',
  });
}
