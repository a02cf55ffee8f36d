import {messageOf, throwIfCanceled} from '../base/errors.ts';
import type {Clock, Files, Session} from '../base/ports.ts';
import type {SnapshotFacts} from '../base/result.ts';
import {canIgnoreShared, saveState, setIgnoreShared} from './migrate.ts';
import {SNAPSHOT_FILES, SNAPSHOT_FORMAT, type SnapshotManifest} from './snapshot.ts';
import type {RunningQemu} from './start.ts';

export interface FreezePorts {
  readonly clock: Clock;
  readonly files: Files;
}

const MIB = 1024 ** 2;
/** What a running machine must show to be written down. */
export type FreezableQemu = Pick<RunningQemu, 'qmp' | 'paths' | 'child'> & {readonly memoryMib: number};

/** Room that must be left on the disk behind a snapshot, for what else goes on there. */
const SPARE_BYTES = 512 * MIB;
/** The migration's bandwidth limit; it has one of its own that is made for networks. */
const UNLIMITED_BYTES_PER_SECOND = Number.MAX_SAFE_INTEGER;

/**
 * Writes a running machine into a folder: memory, device state, disk overlay, manifest. The machine stands still meanwhile and goes on
 * afterwards, also when this fails.
 * @param destDir does not exist yet.
 * @throws when it cannot be frozen; CanceledError.
 */
export async function freeze(
  ports: FreezePorts,
  running: FreezableQemu,
  session: Session,
  destDir: string,
  about: Pick<SnapshotManifest, 'agent' | 'facts'>,
  signal: AbortSignal,
): Promise<SnapshotFacts> {
  const {files} = ports;
  const {qmp, paths, child, memoryMib} = running;
  const memory = await child.sharedMemoryPath(memoryMib * MIB);
  const memoryBytes = memory === undefined ? memoryMib * MIB : await files.allocatedBytes(memory);
  await requireSpace(files, destDir, memoryBytes + (await files.allocatedBytes(paths.overlay)));
  await settle(session, signal);
  await files.makeDir(destDir);
  const shared = memory !== undefined && (await canIgnoreShared(qmp));
  await qmp.execute('stop');
  let failure: unknown;
  try {
    if (shared) await setIgnoreShared(qmp, true);
    else await qmp.execute('migrate-set-parameters', {'max-bandwidth': UNLIMITED_BYTES_PER_SECOND});
    await saveState(qmp, ports, `${destDir}/${SNAPSHOT_FILES.state}`, signal);
    await Promise.all([
      shared && files.copySparse(memory, `${destDir}/${SNAPSHOT_FILES.ram}`),
      files.copySparse(paths.overlay, `${destDir}/${SNAPSHOT_FILES.overlay}`),
    ]);
  } catch (error) {
    failure = error;
  }
  await qmp.execute('cont');
  throwIfCanceled(signal);
  if (failure !== undefined) throw failure;
  const method = shared ? 'shared-memory' : 'migration-stream';
  const manifest: SnapshotManifest = {format: SNAPSHOT_FORMAT, method, ...about};
  await files.write(`${destDir}/${SNAPSHOT_FILES.manifest}`, `${JSON.stringify(manifest)}\n`);
  return {method, sizeBytes: await files.allocatedBytes(destDir)};
}

/**
 * Lets go of what a boot has read, before the machine is asked for anything. Memory that is given back keeps its bytes, and goes into a snapshot all the same; what
 * is read from now on takes its place, and a machine that is restored has it.
 */
export async function dropCaches(session: Session, signal: AbortSignal): Promise<void> {
  await session.output(['sh', '-c', 'echo 3 > /proc/sys/vm/drop_caches'], {signal});
}

/** Brings what is written to the disk. */
async function settle(session: Session, signal: AbortSignal): Promise<void> {
  const {code, stderr} = await session.output(['sync'], {signal});
  if (code !== 0) throw new Error(`the guest could not write its disk: ${stderr.trim()}`);
}

async function requireSpace(files: Files, destDir: string, needBytes: number): Promise<void> {
  const freeBytes = await files.freeBytes(destDir);
  if (freeBytes >= needBytes + SPARE_BYTES) return;
  const mib = (bytes: number): number => Math.ceil(bytes / MIB);
  throw new Error(
    `a snapshot needs ${mib(needBytes + SPARE_BYTES)} MiB, and ${mib(freeBytes)} MiB are free at ${destDir}`,
  );
}

/** For the log: why a machine was not frozen. */
export function freezeWarning(error: unknown): string {
  return `the VM could not be kept for the next run, which will boot again: ${messageOf(error)}`;
}
