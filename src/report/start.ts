import type {MachineFacts, SnapshotFacts, StartFacts} from '../base/result.ts';

/** How a machine came up, in a few words; the reason may hold text from elsewhere. */
export function startText({kind, reason}: StartFacts): string {
  if (kind === 'restored') return 'restored from a snapshot';
  return reason === undefined ? 'booted' : `booted: ${reason}`;
}

/** The snapshot that a start came from or has left behind. */
export function snapshotText({kind, snapshot}: StartFacts): string | undefined {
  if (!snapshot) return undefined;
  const mib = `${Math.round(snapshot.sizeBytes / 1024 ** 2)} MiB`;
  const how = snapshot.method === 'shared-memory' ? 'memory as a file' : 'memory in the migration stream';
  return kind === 'restored' ? `${mib}, ${how}` : `kept for the next run: ${mib}, ${how}`;
}

/** For the log: `restored from a snapshot under TCG, QEMU 7.2.22`. */
export function upText({start, launcher, accelerator, qemuVersion, debugPort}: MachineFacts): string {
  const how = start?.kind === 'restored' ? 'restored from a snapshot' : 'booted';
  const where = launcher === 'docker' ? ' in docker' : '';
  const debug = debugPort === undefined ? '' : `; its debugger is at 127.0.0.1:${debugPort}`;
  return `${how}${where} under ${accelerator.toUpperCase()}, QEMU ${qemuVersion}${debug}`;
}

/** What freezing came to: `285 MiB, memory as a file; 0.3 s`. */
export function frozenText({snapshot, seconds}: {snapshot: SnapshotFacts; seconds: number}): string {
  return `${snapshotText({kind: 'restored', snapshot})}; ${seconds.toFixed(1)} s`;
}
