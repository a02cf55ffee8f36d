import {CanceledError, messageOf, throwIfCanceled, UserError} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import {
  type Checked,
  DEFAULT_STORE_BYTES,
  type EntryState,
  type PruneOptions,
  type Release,
  type StoredEntry,
  type StoreFolder,
  type StoreKey,
  type StoreUpkeep,
  sizeOf,
  type WaitOptions,
} from '../base/store.ts';
import {evictions, judge} from './store-plan.ts';

export interface StorePorts {
  readonly folder: StoreFolder;
  /** Wall-clock time in milliseconds since 1970. */
  readonly nowMs: () => number;
  readonly emit: Emit;
}

export interface StoreOptions {
  readonly maxBytes?: number;
}

/** Size in bytes and `sha256:…` of a file's bytes, or of a folder. */
export type Measured = {readonly sizeBytes: number; readonly contentDigest: string};

/** Makes an entry at `destPath`; one that computed size and digest while writing says so, and spares the store the reading. */
export type MakeEntry = (destPath: string) => Promise<Measured | undefined>;

export interface GetOptions extends WaitOptions {
  /** For people who list the store. */
  readonly label?: string;
}

/**
 * A content-addressed store in one folder, shared by all processes of a machine. An entry is there complete and verified, or it is not there.
 * What this process got stays leased, so that no other process evicts it, until `close` or the process's end.
 */
export class Store implements StoreUpkeep {
  readonly #ports: StorePorts;
  readonly #maxBytes: number;
  #leases: readonly Release[] = [];

  constructor(ports: StorePorts, options: StoreOptions = {}) {
    this.#ports = ports;
    this.#maxBytes = options.maxBytes ?? DEFAULT_STORE_BYTES;
  }

  /**
   * The path of an entry, made by `make` when it is not there. Of several processes that want the same entry one makes it and the others wait.
   * @returns `hit`: it was there, or another process has made it meanwhile.
   * @throws what `make` throws; CanceledError; UserError when the store cannot be written to.
   */
  async getOrMake(
    key: StoreKey,
    make: MakeEntry,
    options: GetOptions = {},
  ): Promise<{path: string; hit: boolean}> {
    throwIfCanceled(options.signal);
    // Leased before it is looked for: an eviction asks for leases after it has moved the entry away.
    const lease = await this.#lease(key);
    try {
      const path = this.#ports.folder.pathOf(key);
      if (await this.#isWhole(key, () => undefined, options.signal))
        return await this.#taken(key, path, lease);
      await using lock = disposable(await this.#lock(key, options));
      // Another process may have made it while this one waited.
      const warn: Emit = event => this.#ports.emit(event);
      if (await this.#isWhole(key, warn, options.signal)) return await this.#taken(key, path, lease);
      await this.#make(key, make, options);
      await lock.release();
      this.#leases = [...this.#leases, lease];
      await this.prune({keep: key}).catch(error => this.#warn('the store was not pruned', error));
      return {path, hit: false};
    } catch (error) {
      await lease.release();
      throw error;
    }
  }

  /**
   * The path of an entry that is there and whole. It stays leased like one of `getOrMake`.
   * @throws CanceledError
   */
  async find(key: StoreKey, signal?: AbortSignal): Promise<string | undefined> {
    const lease = await this.#lease(key);
    try {
      if (await this.#isWhole(key, () => undefined, signal)) {
        return (await this.#taken(key, this.#ports.folder.pathOf(key), lease)).path;
      }
    } catch (error) {
      await lease.release();
      throw error;
    }
    await lease.release();
    return undefined;
  }

  /** Gives the leases back. */
  async close(): Promise<void> {
    const leases = this.#leases;
    this.#leases = [];
    await Promise.all(leases.map(lease => lease.release()));
  }

  entries(): Promise<readonly StoredEntry[]> {
    return this.#ports.folder.list();
  }

  /**
   * Sweeps what killed processes left and evicts the least recently used entries until the rest fits. What is in use stays.
   * @returns what was removed.
   */
  async prune(options: PruneOptions & {keep?: StoreKey} = {}): Promise<readonly StoredEntry[]> {
    const {folder, nowMs} = this.#ports;
    await folder.sweep();
    const entries = await folder.list();
    const candidates: StoredEntry[] = [];
    let keptBytes = 0;
    for (const entry of entries) {
      if (isSame(entry.key, options.keep) || (await folder.isLeased(entry.key))) keptBytes += sizeOf(entry);
      else candidates.push(entry);
    }
    const doomed = evictions(candidates, {
      // What stays anyway takes its share of the room.
      maxBytes: Math.max(0, (options.maxBytes ?? this.#maxBytes) - keptBytes),
      nowMs: nowMs(),
      ...(options.maxIdleMs !== undefined && {maxIdleMs: options.maxIdleMs}),
    });
    const removed: StoredEntry[] = [];
    for (const entry of candidates) {
      if (doomed.includes(entry.key) && (await this.#evict(entry.key))) removed.push(entry);
    }
    return removed;
  }

  /** Reads every entry whole and compares it with its record; a damaged one is removed unless it is in use. */
  async verify(signal?: AbortSignal): Promise<readonly Checked[]> {
    const checked: Checked[] = [];
    for (const entry of await this.entries()) {
      throwIfCanceled(signal);
      const {state, why} = await this.#check(entry, signal);
      const removed = state !== 'ok' && (await this.#evict(entry.key));
      checked.push({entry, state, removed, ...(why !== undefined && {why})});
    }
    return checked;
  }

  async #check(entry: StoredEntry, signal?: AbortSignal): Promise<{state: EntryState; why?: string}> {
    const trust = judge(entry, await this.#ports.folder.bootId());
    if (trust.kind === 'absent') return {state: 'incomplete', why: 'it was never finished'};
    if (trust.kind === 'damaged') return {state: 'damaged', why: trust.why};
    const why = await this.#compare(entry, signal);
    return why === undefined ? {state: 'ok'} : {state: 'damaged', why};
  }

  async #taken(key: StoreKey, path: string, lease: Release): Promise<{path: string; hit: true}> {
    await this.#ports.folder.touch(key);
    this.#leases = [...this.#leases, lease];
    return {path, hit: true};
  }

  /** True when the entry can be used as it is; says so when it is damaged. */
  async #isWhole(key: StoreKey, emit: Emit, signal?: AbortSignal): Promise<boolean> {
    const {folder} = this.#ports;
    const bootId = await folder.bootId();
    const entry = await folder.read(key);
    const trust = judge(entry, bootId);
    if (trust.kind === 'whole') return true;
    if (trust.kind === 'absent' || !entry?.record) return false;
    const why = trust.kind === 'damaged' ? trust.why : await this.#compare(entry, signal);
    if (why === undefined) {
      const modifiedMs = entry.content?.modifiedMs ?? entry.record.modifiedMs;
      // A store that is read-only is verified each time; that is no error.
      await folder.writeRecord(key, {...entry.record, modifiedMs, bootId}).catch(() => undefined);
      return true;
    }
    emit({kind: 'warning', message: `${entry.path} is damaged and is made anew: ${why}`});
    return false;
  }

  /** Reads all bytes. @returns what is wrong with them. */
  async #compare(entry: StoredEntry, signal?: AbortSignal): Promise<string | undefined> {
    const {folder} = this.#ports;
    try {
      const contentDigest =
        entry.key.kind === 'snapshots'
          ? await folder.seal(entry.path)
          : (await folder.measure(entry.path, signal)).contentDigest;
      return contentDigest === entry.record?.contentDigest
        ? undefined
        : `its digest is ${contentDigest}, not ${entry.record?.contentDigest}`;
    } catch (error) {
      throwIfCanceled(signal);
      return `it cannot be read: ${messageOf(error)}`;
    }
  }

  async #make(key: StoreKey, make: MakeEntry, options: GetOptions): Promise<void> {
    const {folder, nowMs} = this.#ports;
    const destPath = await folder.begin(key).catch(error => Promise.reject(unwritable(folder.dir, error)));
    try {
      const measured = (await make(destPath)) ?? (await folder.measure(destPath, options.signal));
      await folder.commit(key, destPath, {
        schema: 1,
        digest: key.digest,
        ...(options.label !== undefined && {label: options.label}),
        sizeBytes: measured.sizeBytes,
        contentDigest: measured.contentDigest,
        bootId: await folder.bootId(),
        createdMs: nowMs(),
      });
    } finally {
      await folder.abandon(key);
    }
  }

  async #evict(key: StoreKey): Promise<boolean> {
    const {folder} = this.#ports;
    const lock = await folder.tryLock(key);
    if (!lock) return false;
    try {
      if (await folder.isLeased(key)) return false;
      return await folder.remove(key, async () => !(await folder.isLeased(key)));
    } finally {
      await lock.release();
    }
  }

  async #lease(key: StoreKey): Promise<Release> {
    // A store on a read-only disk cannot be evicted from either.
    return this.#ports.folder.lease(key).catch(() => ({release: async () => undefined}));
  }

  async #lock(key: StoreKey, options: WaitOptions): Promise<Release> {
    try {
      return await this.#ports.folder.lock(key, options);
    } catch (error) {
      if (error instanceof CanceledError) throw error;
      throw unwritable(this.#ports.folder.dir, error);
    }
  }

  #warn(what: string, error: unknown): void {
    this.#ports.emit({kind: 'warning', message: `${what}: ${messageOf(error)}`});
  }
}

function isSame(a: StoreKey, b: StoreKey | undefined): boolean {
  return a.kind === b?.kind && a.digest === b.digest;
}

function disposable(held: Release): Release & AsyncDisposable {
  let released: Promise<void> | undefined;
  const release = (): Promise<void> => {
    released ??= held.release();
    return released;
  };
  return {release, [Symbol.asyncDispose]: release};
}

function unwritable(dir: string, cause: unknown): unknown {
  const code = (cause as {code?: unknown}).code;
  if (code !== 'EACCES' && code !== 'EROFS' && code !== 'EPERM' && code !== 'ENOTDIR') return cause;
  return new UserError(`the store ${dir} cannot be written to: ${messageOf(cause)}`, {
    stage: 'archive',
    cause,
    hint: 'set the variable BUILDKIT_ARCHIVE_STORE to a folder that this user may write to',
  });
}
