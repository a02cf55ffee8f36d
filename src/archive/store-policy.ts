import type {CacheMode} from '../base/cache.ts';

/** The parts of GitHub's `github` context that decide; undefined outside a workflow. */
export interface WorkflowRun {
  /** `GITHUB_EVENT_NAME`. */
  readonly eventName: string | undefined;
  /** `GITHUB_REF_TYPE`: `branch` or `tag`. */
  readonly refType: string | undefined;
}

export interface CacheDecision {
  readonly use: boolean;
  /** For the log. */
  readonly reason: string;
}

/**
 * Whether the Actions cache is used. `true` leaves it out where a poisoned entry would do most harm: in runs that publish, and in runs that hold
 * secrets while outsiders can start them (GitHub, "Security hardening for GitHub Actions" and "Keeping your GitHub Actions and workflows secure").
 */
export function cacheDecision(mode: CacheMode, run: WorkflowRun): CacheDecision {
  if (mode === 'always') return {use: true, reason: 'cache: always'};
  if (mode === 'never' || mode === 'false') return {use: false, reason: `cache: ${mode}`};
  const unsafe = unsafeRun(run);
  if (unsafe === undefined) return {use: true, reason: 'cache: true'};
  return {use: false, reason: `a cache is not safe in ${unsafe}; "cache: always" uses it nevertheless`};
}

function unsafeRun({eventName, refType}: WorkflowRun): string | undefined {
  switch (eventName) {
    case 'release':
      return 'a release';
    case 'pull_request_target':
    case 'workflow_run':
      return `a run of ${eventName}`;
    case 'push':
      return refType === 'tag' ? 'a push of a tag' : undefined;
    default:
      return undefined;
  }
}

/** Raised when the form of a cached snapshot changes. */
const SNAPSHOT_FORM = 1;
/** What a hosted runner gets out of the cache service, cautiously. */
const CACHE_BYTES_PER_SECOND = 50 * 1000 ** 2;
/** A machine's memory compresses to about so much of what it takes on the disk (measured: docs/architecture.md). */
const COMPRESSED_SHARE = 0.45;
/** A snapshot has to save this many times what fetching it takes, since it takes room from what else the repository caches. */
const WORTH_FACTOR = 3;

/** The Actions cache's key for a snapshot. @param digest `sha256:…` of the snapshot's key. */
export function snapshotCacheKey(digest: string): string {
  return `buildkit-archive-snapshot-${SNAPSHOT_FORM}-${digest.replace(':', '-')}`;
}

/**
 * Whether a snapshot is worth a place in the repository's cache of 10 GB.
 * @param bootSeconds what the boot took that it will spare.
 * @param sizeBytes what it takes on the disk.
 */
export function isSnapshotWorthCaching(bootSeconds: number, sizeBytes: number): boolean {
  return bootSeconds >= (WORTH_FACTOR * sizeBytes * COMPRESSED_SHARE) / CACHE_BYTES_PER_SECOND;
}

/** Raised when the form of a cached thing changes; entries of another form are never found. */
const DISK_FORM = 1;
const DOCUMENTS_FORM = 1;

/**
 * The Actions cache's key for a disk. It is the same for all images that bring this disk, whatever registry they lie in.
 * @param diffId of its layer. @throws RangeError when it is no digest.
 */
export function diskCacheKey(diffId: string): string {
  return keyOf(`disk-${DISK_FORM}`, diffId);
}

/**
 * The Actions cache's key for an image's documents, from which the disk's diffId is known.
 * @param digest that pins the image: of its manifest or index. @throws RangeError when it is no digest, since a tag in a key would serve a moved tag stale.
 */
export function documentsCacheKey(digest: string): string {
  return keyOf(`documents-${DOCUMENTS_FORM}`, digest);
}

function keyOf(what: string, digest: string): string {
  const match = /^(?:sha256:([0-9a-f]{64})|sha512:([0-9a-f]{128}))$/.exec(digest);
  if (!match) throw new RangeError(`not a digest: ${JSON.stringify(digest)}`);
  return `buildkit-archive-${what}-${digest.replace(':', '-')}`;
}
