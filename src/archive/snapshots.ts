import type {ActionsCache, CacheEntry} from '../base/cache.ts';
import {messageOf} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import type {Files} from '../base/ports.ts';
import {type Release, type StoreFolder, type StoreKey, sizeOf} from '../base/store.ts';
import {checkQcow2} from './qcow2.ts';
import {Store} from './store.ts';
import {judge} from './store-plan.ts';
import {snapshotCacheKey} from './store-policy.ts';

/** Slower than this, it is no shorter than a boot. */
const FETCH_TIMEOUT_MS = 30_000;

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
      this.#debug('the snapshots cannot be read', error);
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
      const store = new Store({folder, nowMs, emit: this.#ports.emit});
      await store.prune({keep: key}).catch(error => this.#debug('the store was not pruned', error));
      return true;
    } finally {
      await folder.abandon(key);
      await lock.release();
    }
  }

  /**
   * Fetches a snapshot out of the Actions cache into the store. Never a reason to stop: without it the machine boots.
   * @param names the files of a snapshot.
   * @throws CanceledError
   */
  async fetch(
    digest: string,
    label: string,
    names: readonly string[],
    from: {
      readonly cache: ActionsCache;
      readonly files: Pick<Files, 'allocatedBytes' | 'makeDir' | 'size' | 'readRange'>;
    },
    signal: AbortSignal,
  ): Promise<void> {
    const {emit} = this.#ports;
    const hit = await from.cache.restore(snapshotCacheKey(digest), {
      signal,
      timeoutMs: FETCH_TIMEOUT_MS,
      onResource: resource => emit({kind: 'resource', resource}),
    });
    if (hit.kind === 'failed') emit({kind: 'debug', message: `no snapshot from the cache: ${hit.reason}`});
    if (hit.kind !== 'hit') return;
    try {
      await this.keep(digest, label, async destDir => {
        await from.files.makeDir(destDir);
        for (const name of names) {
          await hit.take(name, `${destDir}/${name}`);
          // A disk that names files of this machine would lay them open to the guest.
          if (name.endsWith('.qcow2')) await checkQcow2(from.files, `${destDir}/${name}`, 'cache', name);
        }
        return from.files.allocatedBytes(destDir);
      });
      emit({kind: 'notice', message: 'the snapshot comes from the Actions cache'});
    } catch (error) {
      emit({kind: 'debug', message: `the snapshot in the Actions cache is of no use: ${messageOf(error)}`});
    } finally {
      await hit.discard();
    }
  }

  /** What is saved of a snapshot in the Actions cache. */
  entry(digest: string, names: readonly string[]): CacheEntry {
    const dir = this.#ports.folder.pathOf(keyOf(digest));
    return {
      key: snapshotCacheKey(digest),
      files: Object.fromEntries(names.map(name => [name, `${dir}/${name}`])),
      sealed: true,
    };
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
      this.#debug('a snapshot could not be removed', error);
    }
  }

  #debug(what: string, error: unknown): void {
    this.#ports.emit({kind: 'debug', message: `${what}: ${messageOf(error)}`});
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
