import {messageOf} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import {type Release, type StoreFolder, type StoreKey, sizeOf} from '../base/store.ts';
import {judge} from './store-plan.ts';

export interface SnapshotsPorts {
  readonly folder: StoreFolder;
  /** Wall-clock time in milliseconds since 1970. */
  readonly nowMs: () => number;
  readonly emit: Emit;
}

export type FoundSnapshot =
  | {readonly kind: 'found'; readonly dir: string; readonly sizeBytes: number}
  | {readonly kind: 'none'}
  /** It was there, is not to be trusted, and is gone now. */
  | {readonly kind: 'dropped'; readonly why: string};

/**
 * Frozen machines in the store, each a folder under the hash of its key. They are trusted by what the file system says of their files, since reading
 * them would take longer than what they are for; a snapshot in doubt is dropped. What this process found stays leased until `close`.
 */
export class Snapshots {
  readonly #ports: SnapshotsPorts;
  #leases: readonly Release[] = [];

  constructor(ports: SnapshotsPorts) {
    this.#ports = ports;
  }

  /** @param digest `sha256:…` of the snapshot's key. Never throws: a store that does not work has no snapshots. */
  async find(digest: string): Promise<FoundSnapshot> {
    const {folder} = this.#ports;
    const key = keyOf(digest);
    const lease = await folder.lease(key).catch(() => undefined);
    try {
      const entry = await folder.read(key);
      const trust = judge(entry, await folder.bootId());
      if (!entry || trust.kind === 'absent') return await released(lease, {kind: 'none'});
      const why =
        trust.kind === 'damaged'
          ? trust.why
          : (await folder.seal(entry.path)) === entry.record?.contentDigest
            ? undefined
            : 'its files were changed';
      if (why !== undefined) {
        await lease?.release();
        await this.forget(digest);
        return {kind: 'dropped', why};
      }
      await folder.touch(key);
      if (lease) this.#leases = [...this.#leases, lease];
      return {kind: 'found', dir: entry.path, sizeBytes: sizeOf(entry)};
    } catch (error) {
      this.#ports.emit({kind: 'debug', message: `the store's snapshots: ${messageOf(error)}`});
      return await released(lease, {kind: 'none'});
    }
  }

  /**
   * Keeps what `make` writes to a new folder. When another process is at it, nothing is done.
   * @param make gives the bytes that the folder takes on the disk.
   * @returns false when another process makes the same one.
   * @throws what `make` throws; an error when the store cannot be written to.
   */
  async keep(digest: string, label: string, make: (destDir: string) => Promise<number>): Promise<boolean> {
    const {folder, nowMs} = this.#ports;
    const key = keyOf(digest);
    const lock = await folder.tryLock(key);
    if (!lock) return false;
    try {
      const destDir = await folder.begin(key);
      const sizeBytes = await make(destDir);
      await folder.commit(key, destDir, {
        schema: 1,
        digest,
        label,
        sizeBytes,
        contentDigest: await folder.seal(destDir),
        bootId: await folder.bootId(),
        createdMs: nowMs(),
      });
      return true;
    } finally {
      await folder.abandon(key);
      await lock.release();
    }
  }

  /** Removes a snapshot that has failed; those who still use it keep their files open. */
  async forget(digest: string): Promise<void> {
    const {folder} = this.#ports;
    const key = keyOf(digest);
    try {
      const lock = await folder.tryLock(key);
      if (!lock) return;
      await folder.remove(key).finally(() => lock.release());
    } catch (error) {
      this.#ports.emit({kind: 'debug', message: `a snapshot could not be removed: ${messageOf(error)}`});
    }
  }

  async close(): Promise<void> {
    const leases = this.#leases;
    this.#leases = [];
    await Promise.all(leases.map(lease => lease.release()));
  }
}

function keyOf(digest: string): StoreKey {
  return {kind: 'snapshots', digest};
}

async function released(lease: Release | undefined, found: FoundSnapshot): Promise<FoundSnapshot> {
  await lease?.release();
  return found;
}
