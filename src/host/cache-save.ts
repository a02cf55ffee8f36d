import {access} from 'node:fs/promises';
import type {ActionsCache, CacheEntry, CacheOptions} from '../base/cache.ts';
import type {Emit} from '../base/events.ts';

/**
 * Saves entries one after another and says of each what became of it. Nothing here fails a job.
 * @throws CanceledError
 */
export async function saveEntries(
  cache: ActionsCache,
  entries: readonly CacheEntry[],
  emit: Emit,
  options: CacheOptions = {},
): Promise<void> {
  for (const entry of entries) emit(await saveEntry(cache, entry, options));
}

async function saveEntry(
  cache: ActionsCache,
  entry: CacheEntry,
  options: CacheOptions,
): Promise<Parameters<Emit>[0]> {
  const missing = await firstMissing(entry);
  if (missing !== undefined) {
    // Another job on this machine has evicted it, or its layer is too large to be verified from a cache.
    return {kind: 'notice', message: `Not saved to the Actions cache: there is no ${missing}.`};
  }
  const saved = await cache.save(entry, options);
  switch (saved.kind) {
    case 'saved': {
      const size = saved.sizeBytes === undefined ? '' : ` (${(saved.sizeBytes / 1024 ** 2).toFixed(1)} MiB)`;
      return {kind: 'notice', message: `Saved to the Actions cache as ${entry.key}${size}.`};
    }
    case 'exists':
      return {kind: 'notice', message: `The Actions cache has ${entry.key} already.`};
    case 'failed':
      return {kind: 'warning', message: `the archive was not saved to the Actions cache: ${saved.reason}`};
  }
}

async function firstMissing({files}: CacheEntry): Promise<string | undefined> {
  for (const path of Object.values(files)) {
    try {
      await access(path);
    } catch {
      return path;
    }
  }
  return undefined;
}
