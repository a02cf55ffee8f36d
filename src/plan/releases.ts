import {compareVersions, formatVersion, type Version, version} from '../base/version.ts';

/**
 * The newest patch of each minor of moby/buildkit's final releases; all patches before it exist, and all from v0.3.0 on have a tarball for linux/amd64 on
 * their release page. Source: the repository's tags; v0.33 and later as the Go module proxy lists them (2026-11).
 */
const NEWEST_PATCHES: readonly (readonly [minor: number, patch: number])[] = [
  [3, 3],
  [4, 0],
  [5, 1],
  [6, 4],
  [7, 2],
  [8, 3],
  [9, 3],
  [10, 6],
  [11, 6],
  [12, 5],
  [13, 2],
  [14, 1],
  [15, 2],
  [16, 0],
  [17, 3],
  [18, 2],
  [19, 0],
  [20, 2],
  [21, 1],
  [22, 0],
  [23, 2],
  [24, 0],
  [25, 2],
  [26, 3],
  [27, 1],
  [28, 1],
  [29, 0],
  [30, 0],
  [31, 2],
  [32, 2],
  [33, 1],
  [34, 2],
];

/** All final releases from v0.3.0 on that are known here, oldest first. */
export const RELEASES: readonly string[] = NEWEST_PATCHES.flatMap(([minor, newest]) =>
  Array.from({length: newest + 1}, (_, patch) => `v0.${minor}.${patch}`),
);

/** A release that a text names, and whether it is one of `RELEASES`. */
export interface NamedRelease {
  readonly version: Version;
  readonly isListed: boolean;
}

/**
 * The release that `v0.32.2`, `0.32.2`, `0.32` (its newest patch) or `v0.32.0-rc1` names.
 * @returns undefined for what is no such text or no known release. What is newer than all known ones may exist, and so may pre-releases.
 */
export function namedRelease(text: string): NamedRelease | undefined {
  const match = /^v?(\d+)\.(\d+)(?:\.(\d+)(-[0-9A-Za-z.]+)?)?$/.exec(text.trim());
  if (!match) return undefined;
  const [, major, minor, patch, prerelease = ''] = match;
  if (patch === undefined) {
    const newest = RELEASES.filter(name => name.startsWith(`v${major}.${minor}.`)).at(-1);
    return newest === undefined ? undefined : {version: version(newest), isListed: true};
  }
  const named = version(`v${major}.${minor}.${patch}${prerelease}`);
  if (RELEASES.includes(formatVersion(named))) return {version: named, isListed: true};
  const final = {...named, prerelease: ''};
  const isCandidate = prerelease !== '' && RELEASES.includes(formatVersion(final));
  return isCandidate || isAfterKnown(named) ? {version: named, isListed: false} : undefined;
}

/** Newer than all that is known here; another major would not be this project's BuildKit. */
function isAfterKnown(named: Version): boolean {
  const newest = version(RELEASES.at(-1) ?? 'v0.0.0');
  return named.major === newest.major && compareVersions(named, newest) > 0;
}
