import type {ActionsCache, CacheEntry, CacheHit, CacheOptions, TarFrames} from '../base/cache.ts';
import {messageOf, throwIfCanceled} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import {FRAME_SUFFIX} from '../base/store.ts';
import type {Measured} from './store.ts';

export interface DiskCachePorts {
  readonly cache: ActionsCache;
  readonly frames: TarFrames;
  readonly emit: Emit;
}

/** Names in an entry. */
const DISK = 'disk';
const FRAME = 'frame';

export interface WantedDisk {
  /** `diskCacheKey`. */
  readonly key: string;
  /** Of its layer, as the image's config has it. */
  readonly diffId: string;
}

export type DiskRestore =
  /** The disk stands at its place, its bytes are those that the image names. */
  | {readonly kind: 'restored'; readonly measured: Measured}
  /** It is worth saving once it is pulled. */
  | {readonly kind: 'missed'}
  /** Said as a warning; saving would fail as well, since entries are never overwritten. */
  | {readonly kind: 'failed'};

/**
 * What is saved of a disk: the disk itself and the rest of its layer's tar, with which it can be verified. Not the compressed layer, which is no smaller
 * and takes several times as long to unpack (numbers in docs/architecture.md).
 */
export function diskEntry(key: string, diskPath: string): CacheEntry {
  return {key, files: {[DISK]: diskPath, [FRAME]: `${diskPath}${FRAME_SUFFIX}`}};
}

/**
 * Takes a disk out of the Actions cache to `destPath`, verified, or not at all. A cache that does not work is a warning.
 * @throws CanceledError
 */
export async function restoreDisk(
  ports: DiskCachePorts,
  wanted: WantedDisk,
  destPath: string,
  options: CacheOptions = {},
): Promise<DiskRestore> {
  const found = await ports.cache.restore(wanted.key, options);
  if (found.kind === 'miss') return {kind: 'missed'};
  if (found.kind === 'failed') {
    warn(ports, `the Actions cache could not be read, so the archive is fetched anew: ${found.reason}`);
    return {kind: 'failed'};
  }
  try {
    const measured = await verified(ports.frames, found, wanted, options.signal);
    await found.take(FRAME, `${destPath}${FRAME_SUFFIX}`);
    await found.take(DISK, destPath);
    return {kind: 'restored', measured};
  } catch (error) {
    throwIfCanceled(options.signal);
    warn(
      ports,
      `what the Actions cache gave is dropped, and the archive is fetched anew: ${messageOf(error)}; ` +
        `"gh cache delete ${wanted.key}" lets the next run save a good one`,
    );
    return {kind: 'failed'};
  } finally {
    await found.discard();
  }
}

/** @throws when the entry's bytes are not those of the image. */
async function verified(
  frames: TarFrames,
  hit: CacheHit,
  {diffId}: WantedDisk,
  signal: AbortSignal | undefined,
): Promise<Measured> {
  const [framePath, diskPath] = [await hit.path(FRAME), await hit.path(DISK)];
  const {tarDigest, contentDigest, sizeBytes} = await frames.measure(framePath, diskPath, signal);
  if (tarDigest !== diffId) throw new Error(`its layer has the digest ${tarDigest}, not ${diffId}`);
  return {contentDigest, sizeBytes};
}

function warn({emit}: DiskCachePorts, message: string): void {
  emit({kind: 'warning', message});
}
