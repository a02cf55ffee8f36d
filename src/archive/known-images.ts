import type {ActionsCache, CacheHit} from '../base/cache.ts';
import {messageOf, throwIfCanceled} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import type {Files} from '../base/ports.ts';
import type {StoreKey} from '../base/store.ts';
import {
  type CreateHash,
  DOCUMENTS_LIMIT_BYTES,
  type ImageDocuments,
  parseDocuments,
  printDocuments,
} from './documents.ts';
import type {Store} from './store.ts';
import {documentsCacheKey} from './store-policy.ts';

export interface KnownImagesPorts {
  readonly store: Store;
  readonly files: Files;
  readonly createHash: CreateHash;
  readonly actionsCache?: ActionsCache | undefined;
  readonly emit: Emit;
}

/** The name of the file in an entry of the Actions cache. */
const DOCUMENTS = 'documents';
/** An entry has a few kilobytes: a service that is slower than that is slower than the registry. */
const RESTORE_TIMEOUT_MS = 20_000;

/** Remembers what images consist of, by the digest of what named them, so that a pinned image is found again without its registry. */
export class KnownImages {
  readonly #ports: KnownImagesPorts;
  readonly #signal: AbortSignal;
  readonly #missed = new Set<string>();
  readonly #stored = new Set<string>();
  #cacheFailed = false;

  constructor(ports: KnownImagesPorts, signal: AbortSignal) {
    this.#ports = ports;
    this.#signal = signal;
  }

  /** The Actions cache did not work; asking it again would only cost more time. */
  get cacheFailed(): boolean {
    return this.#cacheFailed;
  }

  /**
   * The documents of the image whose index or manifest has this digest.
   * @param isPinned the digest was asked for: then the Actions cache is looked into as well. Else its registry has answered already.
   * @throws CanceledError
   */
  readonly find = async (digest: string, isPinned: boolean): Promise<ImageDocuments | undefined> => {
    const {store, files, createHash} = this.#ports;
    const path = await store.find(keyOf(digest), this.#signal);
    const stored = path === undefined ? undefined : parseDocuments(await files.readText(path), createHash);
    if (stored?.blobs.has(digest)) {
      this.#stored.add(digest);
      return stored;
    }
    return isPinned ? this.#restore(digest) : undefined;
  };

  /** Keeps the documents on this machine, and in the Actions cache when they were looked for there. @throws CanceledError */
  async remember(digest: string, documents: ImageDocuments, label: string): Promise<void> {
    if (this.#stored.has(digest)) return;
    const {store, files, emit} = this.#ports;
    const make = async (dest: string): Promise<undefined> => {
      await files.writeText(dest, printDocuments(documents));
      return undefined;
    };
    try {
      const {path} = await store.getOrMake(keyOf(digest), make, {label, signal: this.#signal});
      if (this.#missed.has(digest)) {
        emit({kind: 'cache-save', entry: {key: documentsCacheKey(digest), files: {[DOCUMENTS]: path}}});
      }
    } catch (error) {
      throwIfCanceled(this.#signal);
      // The disk is there: all that is lost is the next run's time.
      emit({kind: 'debug', message: `the image's manifest was not kept: ${messageOf(error)}`});
    }
  }

  async #restore(digest: string): Promise<ImageDocuments | undefined> {
    const {actionsCache, emit} = this.#ports;
    if (!actionsCache || this.#cacheFailed) return undefined;
    const key = documentsCacheKey(digest);
    const found = await actionsCache.restore(key, {
      signal: this.#signal,
      timeoutMs: RESTORE_TIMEOUT_MS,
      onResource: resource => emit({kind: 'resource', resource}),
    });
    if (found.kind === 'miss') this.#missed.add(digest);
    if (found.kind === 'failed') {
      this.#cacheFailed = true;
      const message = `the Actions cache could not be read, so the archive is fetched anew: ${found.reason}`;
      emit({kind: 'warning', message});
    }
    if (found.kind !== 'hit') return undefined;
    try {
      return {blobs: await this.#verified(found, digest)};
    } catch (error) {
      throwIfCanceled(this.#signal);
      emit({
        kind: 'warning',
        message:
          `what the Actions cache gave is dropped, and the registry is asked: ${messageOf(error)}; ` +
          `"gh cache delete ${key}" lets the next run save a good one`,
      });
      return undefined;
    } finally {
      await found.discard();
    }
  }

  async #verified(hit: CacheHit, digest: string): Promise<ImageDocuments['blobs']> {
    const {files, createHash} = this.#ports;
    const path = await hit.path(DOCUMENTS);
    const sizeBytes = (await files.size(path)) ?? 0;
    if (sizeBytes > DOCUMENTS_LIMIT_BYTES) throw new Error(`its documents have ${sizeBytes} bytes`);
    const blobs = parseDocuments(await files.readText(path), createHash)?.blobs;
    if (!blobs?.has(digest)) throw new Error(`it does not hold the manifest ${digest}`);
    return blobs;
  }
}

function keyOf(digest: string): StoreKey {
  return {kind: 'documents', digest};
}
