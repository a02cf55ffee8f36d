import {messageOf} from '../base/errors.ts';

/** One request a process, over the channel of `fork`. */
export interface CacheRequest {
  readonly operation: 'restore' | 'save';
  readonly key: string;
  /** Relative to the working directory: part of the entry's version, so it is the same on every machine. */
  readonly path: string;
}

export type CacheAnswer =
  /** Neither `ACTIONS_RESULTS_URL` nor `ACTIONS_CACHE_URL` is set. */
  | {readonly kind: 'unavailable'}
  | {readonly kind: 'restored'; readonly key: string | undefined}
  /** -1 when it was not saved. */
  | {readonly kind: 'saved'; readonly id: number}
  | {readonly kind: 'failed'; readonly message: string};

/**
 * The other end of `host/cache.ts`: carries out one request with @actions/cache and ends. It is a process of its own since the library can neither be
 * stopped nor kept from printing workflow commands, runs tar and zstd on its own, and takes its folders from the environment.
 */
export function serveCacheRequest(): void {
  // Without a parent nobody wants the answer; the library's tar and zstd are in the same process group.
  process.once('disconnect', () => process.kill(-process.pid, 'SIGKILL'));
  process.once('message', (request: CacheRequest) => {
    void answer(request)
      .catch((error: unknown): CacheAnswer => ({kind: 'failed', message: messageOf(error)}))
      .then(result => process.send?.(result));
  });
}

async function answer(request: CacheRequest): Promise<CacheAnswer> {
  const cache = await import('@actions/cache');
  if (!cache.isFeatureAvailable()) return {kind: 'unavailable'};
  if (request.operation === 'restore') {
    return {kind: 'restored', key: await cache.restoreCache([request.path], request.key)};
  }
  return {kind: 'saved', id: await cache.saveCache([request.path], request.key)};
}
