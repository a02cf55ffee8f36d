import {compareVersions, isAtLeast, parseVersion, type Version} from '../../base/version.ts';
import {BUILD_ENTRIES} from './build-entries.ts';
import {BUILDCTL_ENTRIES} from './buildctl-entries.ts';
import {DAEMON_ENTRIES} from './daemon-entries.ts';
import {DOCKERFILE_FEATURES, FEATURES_NOT_LOOKED_FOR} from './dockerfile-features.ts';
import {OLDEST, type TableEntry} from './entry.ts';
import type {HelpFacts} from './help.ts';

/** What buildctl and its builds know, from which release to which. */
export const BUILD_TABLE: readonly TableEntry[] = [...BUILDCTL_ENTRIES, ...BUILD_ENTRIES];

const DOCKERFILE_ENTRIES = [...DOCKERFILE_FEATURES, ...FEATURES_NOT_LOOKED_FOR].map(
  ({ignored: _, ...feature}): TableEntry => ({
    ...feature,
    id: `dockerfile ${feature.id}`,
    kind: 'dockerfile-feature',
    whenMissing: 'error',
  }),
);

/** All of it: command line, builds, Dockerfiles, daemon. */
export const TABLE: readonly TableEntry[] = [...BUILD_TABLE, ...DOCKERFILE_ENTRIES, ...DAEMON_ENTRIES];

/** A BuildKit: a release, or what the help texts say of one that is none. */
export type Release = Version | HelpFacts;

const BY_ID = new Map(TABLE.map(entry => [entry.id, entry]));

/** The entry with this id. @throws RangeError for an id that the table does not have: a typo in the source. */
export function entryOf(id: string): TableEntry {
  const entry = BY_ID.get(id);
  if (!entry) throw new RangeError(`the version table has no entry ${id}`);
  return entry;
}

export function findEntry(id: string): TableEntry | undefined {
  return BY_ID.get(id);
}

/** First release that knows the entry `id`. @throws RangeError for an id that the table does not have. */
export function featureFirst(id: string): Version {
  return entryOf(id).first;
}

/** True when `release` knows the thing. Pre-releases and commits after a tag count as the release they lead to. */
export function knows(release: Version, entry: TableEntry): boolean {
  if (!isAtLeast(release, entry.first)) return false;
  return (
    entry.last === undefined ||
    compareVersions({...release, prerelease: '', commitsAfterTag: 0}, entry.last) <= 0
  );
}

export type Knowledge = 'yes' | 'no' | 'unknown';

/** Whether a BuildKit knows the thing; `unknown` when it is no release and its help texts leave the question open. */
export function knowledge(release: Release, entry: TableEntry): Knowledge {
  if (!('flags' in release)) return knows(release, entry) ? 'yes' : 'no';
  const listed = entry.page === undefined ? undefined : release.flags[entry.page];
  // A flag that is hidden there may still be accepted; its successor, which is listed, is taken instead.
  if (listed) return listed.has(entry.name) ? 'yes' : 'no';
  const {first, before} = release;
  if (before && compareVersions(before, entry.first) <= 0) return 'no';
  if (entry.last && compareVersions(first, entry.last) > 0) return 'no';
  const old = compareVersions(first, entry.first) >= 0;
  const notDropped = entry.last === undefined || (before && compareVersions(before, entry.last) <= 0);
  return old && notDropped ? 'yes' : 'unknown';
}

/** The release that `text` is; undefined for `dev`, a commit, a commit after a tag, and the zero that stands for "not set". */
export function releaseOf(text: string): Version | undefined {
  const parsed = parseVersion(text);
  if (!parsed || compareVersions(parsed, OLDEST) < 0) return undefined;
  return isTag(parsed) ? parsed : undefined;
}

/** The tag that a commit or a changed tree stands on (`v0.20.2-3-gabc1234`, `v0.20.2.m`); undefined where none is named. */
export function tagBelow(text: string): Version | undefined {
  const parsed = parseVersion(text);
  return parsed && compareVersions(parsed, OLDEST) >= 0 ? parsed : undefined;
}

function isTag({raw, commitsAfterTag}: Version): boolean {
  return commitsAfterTag === 0 && !/(?:[.+-](?:m|dirty)|\+\S*)$/.test(raw);
}
