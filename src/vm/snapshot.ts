import type {CpuFacts} from '../base/cpu.ts';
import type {SnapshotFacts} from '../base/result.ts';
import {type MachineSpec, type QemuProgram, qemuArgs} from './qemu-args.ts';

/** Grows whenever an older snapshot could not be used any more. */
export const SNAPSHOT_FORMAT = 1;

/** Everything that must be the same for a frozen machine to wake up as itself. */
export interface SnapshotIdentity {
  /** Identity of the archive's disk: its digest, or what names a bare file's very bytes. */
  readonly disk: string;
  readonly qemu: Pick<QemuProgram, 'build' | 'origin'>;
  readonly spec: Pick<MachineSpec, 'accelerator' | 'cpus' | 'memoryMib'>;
  /** The host's CPU; undefined when it is unknown. */
  readonly cpu: CpuFacts | undefined;
  /** Version of the command agent, which sleeps in it. */
  readonly agent: string;
  /** What was put into it in place of the archive's own. */
  readonly content?: string | undefined;
}

/**
 * A snapshot's key, as text to be hashed. QEMU promises that a state can be read back by the same machine type and devices (docs/devel/migration); we ask for
 * the same build, and take the whole command line in. Under KVM the guest has seen the host's CPU, so its model, stepping, microcode and flags belong to the key;
 * TCG's CPU is the same on every host.
 * @returns undefined when too little is known for a safe key.
 */
export function snapshotKey(identity: SnapshotIdentity): string | undefined {
  const {disk, qemu, spec, cpu, agent, content} = identity;
  if (qemu.build === '' || disk === '') return undefined;
  if (spec.accelerator === 'kvm' && !cpu) return undefined;
  const command = qemuArgs({
    ...spec,
    runDir: 'RUN',
    disk: {kind: 'chain', readOnly: ['DISK', 'FROZEN'], overlay: 'OVERLAY'},
    ram: {kind: 'copy', path: 'RAM'},
    incoming: true,
  });
  return JSON.stringify({
    format: SNAPSHOT_FORMAT,
    disk,
    agent,
    content,
    qemu: [qemu.build, qemu.origin],
    command,
    cpu: spec.accelerator === 'kvm' && cpu ? {...cpu, flags: [...cpu.flags].sort()} : 'tcg',
  });
}

/** The files of a snapshot, in its folder. */
export const SNAPSHOT_FILES = {
  ram: 'ram',
  state: 'state',
  overlay: 'overlay.qcow2',
  manifest: 'manifest.json',
} as const;

/** What stands beside a snapshot's bytes. */
export interface SnapshotManifest {
  readonly format: typeof SNAPSHOT_FORMAT;
  readonly method: SnapshotFacts['method'];
  /** Whether the command agent runs in it. */
  readonly agent: boolean;
  /** What the machine's user found out about it before it was frozen. */
  readonly facts: unknown;
}

/** @throws when it is not a manifest of this format. */
export function parseManifest(text: string): SnapshotManifest {
  const value = JSON.parse(text) as Partial<SnapshotManifest> | null;
  const isSound =
    value?.format === SNAPSHOT_FORMAT &&
    (value.method === 'shared-memory' || value.method === 'migration-stream') &&
    typeof value.agent === 'boolean';
  if (!isSound) throw new Error(`its manifest is not of format ${SNAPSHOT_FORMAT}`);
  return value as SnapshotManifest;
}
