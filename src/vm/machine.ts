import type {Unpack} from '../base/disk.ts';
import type {Emit} from '../base/events.ts';
import type {Kvm} from '../base/kvm.ts';
import type {Clock, Files, InteractiveSession, Processes, Session, Sockets, Ssh} from '../base/ports.ts';
import type {MachineFacts, SnapshotFacts} from '../base/result.ts';
import type {AcceleratorChoice} from './accelerator.ts';
import type {DebugForward, QemuProgram} from './qemu-args.ts';
import type {Qmp} from './qmp.ts';
import type {SnapshotManifest} from './snapshot.ts';

/** `auto`: a machine that boots sooner and can be kept; `published`: the published starter's line alone. */
export const MACHINE_CHOICES = ['auto', 'published'] as const;
export type MachineChoice = (typeof MACHINE_CHOICES)[number];

/** The part of a plan that concerns the machine. */
export interface VmPlan {
  readonly accelerator: AcceleratorChoice;
  readonly machine: MachineChoice;
  /** `loader`: the disk's boot loader starts its kernel. Absent: QEMU does, where it is known which one and how. */
  readonly kernel?: 'loader';
  /** `auto`: a machine that was frozen at this point before goes on from there. */
  readonly snapshot: 'auto' | 'off';
  readonly cpus: number;
  readonly memoryMib: number;
  readonly bootTimeoutMs: number;
  /** The machine is to go on after the job. */
  readonly keepRunning: boolean;
  /** Under `auto`: how long a machine on KVM may show no sign of life before it is started again under TCG. */
  readonly kvmPatienceMs: number;
  readonly username: string;
  readonly password: string;
  /** Publishes the guest's debugger. */
  readonly debug?: DebugForward;
}

export interface VmPorts {
  readonly processes: Processes;
  readonly files: Files;
  readonly unpack: Unpack;
  readonly sockets: Sockets;
  readonly ssh: Ssh;
  readonly kvm: Kvm;
  readonly clock: Clock;
  readonly emit: Emit;
}

/** A running machine with a session into it. Disposing it ends QEMU and removes its folder. */
export interface Vm extends AsyncDisposable {
  readonly session: Session;
  readonly machine: MachineFacts;
  readonly sshPort: number;
  readonly consolePath: string;
  /** Aborted when the machine ends by itself, with what it said and the console's tail. */
  readonly died: AbortSignal;
  /** The control connection of a QEMU of our own. */
  readonly qmp?: Qmp;
  /** Writes the machine into a new folder and lets it go on; absent where it cannot be frozen. @throws when it fails. */
  readonly freeze?: (
    destDir: string,
    about: Pick<SnapshotManifest, 'agent' | 'facts'>,
    signal: AbortSignal,
  ) => Promise<SnapshotFacts>;
  /** From now on disposing leaves the machine to others, running; absent where it cannot be left. */
  readonly keep?: () => void;
  /** A session that has a terminal: the same one where it is SSH already. */
  login(signal: AbortSignal): Promise<InteractiveSession>;
  /** The error to show for one that came up in use: the machine's death explains a broken link better than the link does. */
  explain(error: unknown): Promise<unknown>;
}

/** What a machine in a QEMU of our own is, whichever way it came up. */
export function qemuFacts(
  plan: Pick<VmPlan, 'cpus' | 'memoryMib'>,
  qemu: Pick<QemuProgram, 'version' | 'reason'>,
  {debugPort}: {readonly debugPort?: number},
): Pick<MachineFacts, 'launcher' | 'launcherReason' | 'debugPort' | 'qemuVersion' | 'cpus' | 'memoryMib'> {
  return {
    launcher: 'qemu',
    ...(qemu.reason !== undefined && {launcherReason: qemu.reason}),
    ...(debugPort !== undefined && {debugPort}),
    qemuVersion: qemu.version,
    cpus: plan.cpus,
    memoryMib: plan.memoryMib,
  };
}
