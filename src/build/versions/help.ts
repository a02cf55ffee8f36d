import {compareVersions, formatVersion, type Version, version} from '../../base/version.ts';
import {BUILDCTL_ENTRIES} from './buildctl-entries.ts';
import {DAEMON_ENTRIES} from './daemon-entries.ts';
import {type HelpPage, OLDEST, type TableEntry} from './entry.ts';

/** Help texts of one BuildKit; the more of them, the narrower the place. */
export type HelpTexts = Readonly<Partial<Record<HelpPage, string>>>;

/** A BuildKit that is no release (`dev`, a commit, a fork), known by what its help texts list. */
export interface HelpFacts {
  readonly flags: Readonly<Partial<Record<HelpPage, ReadonlySet<string>>>>;
  /** It has what this release, and all before it, brought. */
  readonly first: Version;
  /** It has nothing that this release or a later one brought; absent when it lacks nothing. */
  readonly before?: Version;
}

/** The pages whose `GLOBAL OPTIONS` are their own; below other pages they repeat those of `buildctl`. */
const OWN_GLOBALS: readonly HelpPage[] = ['buildctl', 'buildkitd'];

/**
 * Flags and subcommands that a help text lists, of urfave/cli 1 (`   --opt value`) and, from v0.31.0, of urfave/cli 3
 * (`   --opt string [ --opt string ]`). Text around the help, such as a usage error, does no harm.
 */
export function listedIn(help: string, page: HelpPage = 'build'): ReadonlySet<string> {
  const names = new Set<string>();
  let section = '';
  for (const line of help.split(/\r?\n/)) {
    const title = /^([A-Z][A-Z ]*):/.exec(line)?.[1];
    if (title !== undefined) section = title;
    // What is listed stands before its description, which two spaces set apart.
    const column = /^\s/.test(line) ? (line.trim().split(/\s{2,}/)[0] ?? '') : '';
    if (section === 'OPTIONS' || (section === 'GLOBAL OPTIONS' && OWN_GLOBALS.includes(page))) {
      if (column.startsWith('-')) for (const [name] of column.matchAll(/--[a-z][\w-]*/g)) names.add(name);
    } else if (section === 'COMMANDS') {
      for (const name of column.split(/,\s*/)) if (/^[a-z][\w-]*$/.test(name)) names.add(name);
    }
  }
  return names;
}

/** urfave/cli 3 came with v0.31.0 and writes a flag's type where version 1 writes `value`. */
const CLI3 = version('v0.31.0');
const CLI3_LAYOUT = /^\s+--[a-z][\w-]* (?:string|int|float|duration)\b/m;
const CLI1_LAYOUT = /^\s+--[a-z][\w-]* value\b/m;

/**
 * Places a BuildKit that is no release by what its help texts list: after all that it has, before the first that it lacks. A fork that took
 * over something new, or dropped something old, gets the wider range from the first gap to what is newer than all it has.
 * @throws Error when `build` lists nothing: the command was not there, or printed something else.
 * @param tag the tag that it is a descendant of, where `git describe` named one: it is not older than that either.
 */
export function placeByHelp(help: HelpTexts, tag?: Version): HelpFacts {
  const flags: Partial<Record<HelpPage, ReadonlySet<string>>> = {};
  for (const [page, text] of Object.entries(help) as [HelpPage, string][]) {
    const names = listedIn(text, page);
    if (names.size > 0) flags[page] = names;
  }
  if (!flags.build)
    throw new Error('buildctl build --help lists no flags: there is no telling what this buildctl can');
  const listable = [...BUILDCTL_ENTRIES, ...DAEMON_ENTRIES].filter(
    ({page}) => page !== undefined && flags[page] !== undefined,
  );
  const isListed = ({page, name}: TableEntry): boolean =>
    page !== undefined && flags[page]?.has(name) === true;
  const texts = Object.values(help).join('\n');

  const listed = listable.filter(isListed);
  const has = [OLDEST, ...listed.map(({first}) => first), ...(CLI3_LAYOUT.test(texts) ? [CLI3] : [])];
  const lacks = [
    ...listable.filter(entry => !isListed(entry) && !entry.hiddenFrom).map(entry => entry.first),
    ...listed.flatMap(({hiddenFrom}) => hiddenFrom ?? []),
    ...(CLI1_LAYOUT.test(texts) ? [CLI3] : []),
  ].sort(compareVersions);
  const newest = has.reduce(later);
  const before = lacks.find(bound => compareVersions(bound, newest) > 0);
  let first = has.filter(bound => !lacks[0] || compareVersions(bound, lacks[0]) < 0).reduce(later, OLDEST);
  if (tag && (!before || compareVersions(tag, before) < 0)) first = later(first, tag);
  return {flags, first, ...(before && {before})};
}

/** How messages call a BuildKit. */
export function releaseName(release: Version | HelpFacts): string {
  if (!('flags' in release)) return `BuildKit ${formatVersion(release)}`;
  const {first, before} = release;
  const place = before
    ? `between ${formatVersion(first)} and ${formatVersion(before)}`
    : `at ${formatVersion(first)} or later`;
  return `this BuildKit, which is no release and by its --help stands ${place},`;
}

function later(a: Version, b: Version): Version {
  return compareVersions(a, b) >= 0 ? a : b;
}
