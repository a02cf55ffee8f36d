import type {Readable} from 'node:stream';
import type {OwnedResource} from './events.ts';

/** The input `cache`. */
export const CACHE_MODES = ['true', 'false', 'always', 'never'] as const;
export type CacheMode = (typeof CACHE_MODES)[number];

/** A cache that outlives the machine, in the terms of actions/cache: an entry is written once under its key and never changes. */
export interface ActionsCache {
  /** Fetches the entry of exactly this key. Never rejects but with CanceledError. */
  restore(key: string, options: CacheOptions): Promise<CacheRestore>;
  /** Saves files under a key, each as the name that it has in `files`. Never rejects but with CanceledError. */
  save(entry: CacheEntry, options: CacheOptions): Promise<CacheSave>;
}

/** What is to be saved; plain JSON, since post reads it from main's state. */
export interface CacheEntry {
  readonly key: string;
  /** Name in the entry → absolute path. */
  readonly files: Readonly<Record<string, string>>;
  /** The files must not be touched, not even by a further name: they are copied. */
  readonly sealed?: true;
}

export interface CacheOptions {
  readonly signal?: AbortSignal;
  /** All together; a cache that is slower than the registry is of no use. */
  readonly timeoutMs?: number;
  /** What the cache's client has to say, line by line, without secrets; for debugging. */
  readonly onLine?: (line: string) => void;
  /** What a killed process would leave behind. */
  readonly onResource?: (resource: OwnedResource) => void;
}

export type CacheRestore =
  | CacheHit
  | {readonly kind: 'miss'}
  | {readonly kind: 'failed'; readonly reason: string};

/** The files of an entry, as they came: to be verified before they are used. */
export interface CacheHit {
  readonly kind: 'hit';
  /** Bytes that were transferred, when the client says so. */
  readonly sizeBytes: number | undefined;
  /** Path of a file of the entry. @throws when the entry has no regular file of that name. */
  path(name: string): Promise<string>;
  /** Moves a file of the entry to its place, on the same file system. */
  take(name: string, dest: string): Promise<void>;
  /** Removes what was not taken. */
  discard(): Promise<void>;
}

export type CacheSave =
  | {readonly kind: 'saved'; readonly sizeBytes: number | undefined}
  /** Another job has saved it meanwhile, or is about to. */
  | {readonly kind: 'exists'}
  | {readonly kind: 'failed'; readonly reason: string};

/** What a layer's tar holds around the one file that was taken out of it: with the file it gives the tar's bytes again. */
export interface TarFrames {
  /**
   * Reads a frame and its file once.
   * @returns `tarDigest`: the digest of the tar that they stand for (OCI image config, `rootfs.diff_ids`).
   * @throws when the frame is damaged.
   */
  measure(
    framePath: string,
    filePath: string,
    signal?: AbortSignal,
  ): Promise<{tarDigest: string; contentDigest: string; sizeBytes: number}>;
  /** The tar that a frame and its file stand for; not verified. @throws when the frame is damaged. */
  tar(framePath: string, filePath: string): Promise<{sizeBytes: number; open(): Readable}>;
}
