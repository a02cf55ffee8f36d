/**
 * A BuildKit version as printed by `buildkitd --version` or a Git tag. Precedence is that of Semantic
 * Versioning 2.0.0; a `git describe` suffix (`-3-gabc1234`) places a commit *after* its tag.
 */
export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  /** `rc1`, `beta.2`; empty for a final release. */
  readonly prerelease: string;
  /** Commits after the tag, from `git describe`; 0 for the tag itself. */
  readonly commitsAfterTag: number;
  readonly raw: string;
}

const PATTERN =
  /^v?(\d+)\.(\d+)\.(\d+)(?:-((?!\d+-g)[0-9A-Za-z.]+))?(?:-(\d+)-g[0-9a-f]{4,40})?(?:[.+-](?:m|dirty)|\+\S*)?$/;

/** Parses `v0.20.2`, `0.20.2-rc1`, `v0.20.2-3-gabc1234[.m]`; undefined for anything else (`dev`, a commit). */
export function parseVersion(text: string): Version | undefined {
  const match = PATTERN.exec(text.trim());
  if (!match) return undefined;
  return {
    major: Number(match[1]),
    minor: Number(match[2]),
    patch: Number(match[3]),
    prerelease: match[4] ?? '',
    commitsAfterTag: Number(match[5] ?? 0),
    raw: text.trim(),
  };
}

/** Like `parseVersion`, for literals in the source: throws `RangeError` on anything that is no version. */
export function version(text: string): Version {
  const parsed = parseVersion(text);
  if (!parsed) throw new RangeError(`not a version: ${text}`);
  return parsed;
}

/** Negative when `a` is older than `b`, positive when newer, 0 when they are the same release. */
export function compareVersions(a: Version, b: Version): number {
  return (
    a.major - b.major ||
    a.minor - b.minor ||
    a.patch - b.patch ||
    comparePrereleases(a.prerelease, b.prerelease) ||
    a.commitsAfterTag - b.commitsAfterTag
  );
}

/** True when `a` is `first` or newer; pre-releases of `first` count as `first`, since they carry its features. */
export function isAtLeast(a: Version, first: Version): boolean {
  return compareVersions({...a, prerelease: '', commitsAfterTag: 0}, first) >= 0;
}

/** `v0.20.2`, `v0.21.0-rc1`: the tag, without build metadata or distance. */
export function formatVersion(v: Version): string {
  return `v${v.major}.${v.minor}.${v.patch}${v.prerelease ? `-${v.prerelease}` : ''}`;
}

function comparePrereleases(a: string, b: string): number {
  if (a === b) return 0;
  if (a === '') return 1;
  if (b === '') return -1;
  const left = identifiers(a);
  const right = identifiers(b);
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const x = left[i];
    const y = right[i];
    if (x === undefined) return -1;
    if (y === undefined) return 1;
    if (x === y) continue;
    if (typeof x === 'number' && typeof y === 'number') return x - y;
    if (typeof x === 'number') return -1;
    if (typeof y === 'number') return 1;
    return x < y ? -1 : 1;
  }
  return 0;
}

/** `rc10` sorts after `rc2`: BuildKit writes its counter without the dot that Semantic Versioning wants. */
function identifiers(prerelease: string): (string | number)[] {
  return prerelease
    .replace(/([A-Za-z])(\d)/g, '$1.$2')
    .split('.')
    .map(part => (/^\d+$/.test(part) ? Number(part) : part));
}
