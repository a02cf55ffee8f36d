/**
 * What the store keeps: executables of BuildKit releases, disks taken out of images, images' manifests and configs, other layers as uncompressed tars, notes on how a disk boots, root file
 * systems unpacked, and frozen machines. Each has a folder of this name.
 */
export const STORE_KINDS = [
  'binaries',
  'disks',
  'documents',
  'layers',
  'notes',
  'rootfs',
  'snapshots',
] as const;
export type StoreKind = (typeof STORE_KINDS)[number];

/** Beside a disk lies the rest of its layer's tar, when that is small: `<path>.frame` (`TarFrames`). A maker may leave one beside what it makes. */
export const FRAME_SUFFIX = '.frame';

/** The identity of a stored thing: the same key is always the same content. */
export interface StoreKey {
  readonly kind: StoreKind;
  /** `sha256:…` of what it was made from: the uncompressed tar of its layer (OCI image config, `rootfs.diff_ids`), for documents the image's manifest or index, for binaries the URL or the tarball they are from, for notes and snapshots what they are about. */
  readonly digest: string;
}

/** What the store remembers of an entry; a JSON file beside it. */
export interface StoreRecord {
  readonly schema: 1;
  readonly digest: string;
  /** For people: where it came from, e.g. an image's name. */
  readonly label?: string;
  /** Bytes of the file, or of all files of the folder. */
  readonly sizeBytes: number;
  /** Modification time of the file or folder itself when it was last found whole. */
  readonly modifiedMs: number;
  /** `sha256:…` of the file's bytes, or of the folder's listing with the digests of its files. */
  readonly contentDigest: string;
  /** The boot in which it was last found whole: a crash of the machine may lose bytes that were never flushed. */
  readonly bootId: string;
  readonly createdMs: number;
}

/** An entry as it lies on the disk; nothing of it is checked. */
export interface StoredEntry {
  readonly key: StoreKey;
  readonly path: string;
  /** Undefined when it cannot be read: a process was killed between writing content and record. */
  readonly record: StoreRecord | undefined;
  /** Undefined when the content is missing. */
  readonly content: {readonly sizeBytes: number; readonly modifiedMs: number} | undefined;
  readonly lastUsedMs: number;
}

export interface Release {
  release(): Promise<void>;
}

/** Who holds a lock that somebody waits for. */
export interface LockHolder {
  /** Undefined when the holder is on another machine or in another container. */
  readonly pid: number | undefined;
  readonly waitedMs: number;
}

export interface WaitOptions {
  readonly signal?: AbortSignal;
  /** Called when waiting begins and then about once a second. */
  readonly onWait?: (holder: LockHolder) => void;
}

/** The store's folder, for real. */
export interface StoreFolder {
  readonly dir: string;
  /** Changes with every boot of the machine. */
  bootId(): Promise<string>;
  pathOf(key: StoreKey): string;
  /** @returns undefined when there is neither content nor record. */
  read(key: StoreKey): Promise<StoredEntry | undefined>;
  list(): Promise<readonly StoredEntry[]>;
  /** Reads a file or folder whole: its size in bytes and the digest of its content. @throws when it is not there. */
  measure(path: string, signal?: AbortSignal): Promise<{sizeBytes: number; contentDigest: string}>;
  /**
   * The digest of what the file system says of a folder's files, without reading them: name, inode, size, times of change. Content that was touched
   * after it was sealed has another one, whatever was done to its times (inode(7): ctime cannot be set).
   */
  seal(path: string): Promise<string>;
  /** A path in a new, empty folder on the store's file system, where the entry is made. Needs the entry's lock. */
  begin(key: StoreKey): Promise<string>;
  /** Takes what was made into the store: complete or not at all. Needs the entry's lock. */
  commit(key: StoreKey, madePath: string, record: Omit<StoreRecord, 'modifiedMs'>): Promise<void>;
  /** Removes what `begin` made. */
  abandon(key: StoreKey): Promise<void>;
  /** Rewrites the record alone. */
  writeRecord(key: StoreKey, record: StoreRecord): Promise<void>;
  /** Remembers that it was used now; a store that cannot be written to is no error. */
  touch(key: StoreKey): Promise<void>;
  /**
   * Moves an entry out of the way at once, then removes it; `mayRemove` is asked in between, and a "no" moves it back.
   * @returns true when it was removed.
   */
  remove(key: StoreKey, mayRemove?: () => Promise<boolean>): Promise<boolean>;
  /** Waits for the exclusive lock of an entry. @throws CanceledError */
  lock(key: StoreKey, options?: WaitOptions): Promise<Release>;
  /** The exclusive lock, when nobody has it. */
  tryLock(key: StoreKey): Promise<Release | undefined>;
  /** Says that this process uses the entry, until it is released or the process ends. */
  lease(key: StoreKey): Promise<Release>;
  isLeased(key: StoreKey): Promise<boolean>;
  /** Removes what killed processes left half-made. @returns how many things were removed. */
  sweep(): Promise<number>;
}

/** Room for all published archives in one form each, and root file systems. */
export const DEFAULT_STORE_BYTES = 20 * 1024 ** 3;

export interface PruneOptions {
  readonly maxBytes?: number;
  /** Entries that are not used for longer than this go even when there is room. */
  readonly maxIdleMs?: number;
}

export type EntryState = 'ok' | 'damaged' | 'incomplete';

export interface Checked {
  readonly entry: StoredEntry;
  readonly state: EntryState;
  readonly why?: string;
  readonly removed: boolean;
}

/** What can be done to a store beside using it. */
export interface StoreUpkeep {
  entries(): Promise<readonly StoredEntry[]>;
  /** @returns what was removed. */
  prune(options?: PruneOptions): Promise<readonly StoredEntry[]>;
  verify(signal?: AbortSignal): Promise<readonly Checked[]>;
}

/** Bytes that an entry takes, as far as that is known without reading it. */
export function sizeOf(entry: StoredEntry): number {
  return entry.record?.sizeBytes ?? entry.content?.sizeBytes ?? 0;
}
