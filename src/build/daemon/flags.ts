import {UserError} from '../../base/errors.ts';
import {compareVersions, formatVersion} from '../../base/version.ts';
import {DAEMON_ENTRIES} from '../versions/daemon-entries.ts';
import {NEWEST} from '../versions/entry.ts';
import {releaseName} from '../versions/help.ts';
import {knowledge, type Release} from '../versions/table.ts';

export interface FinalFlags {
  readonly argv: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * The flags that buildkitd of this release gets. No release starts with a flag that it does not know, so one that only adds is left out,
 * with what belongs to it.
 * @param words arguments; the first is a flag.
 * @throws UserError for a flag that the release lacks when leaving it out would change the result.
 */
export function finalFlags(words: readonly string[], release: Release): FinalFlags {
  const argv: string[] = [];
  const warnings: string[] = [];
  for (const group of groups(words)) {
    const name = `--${/^--?([\w-]+)/.exec(group[0] ?? '')?.[1]}`;
    const verdict = judge(name, release);
    if (verdict.pass) argv.push(...group);
    if (verdict.warning !== undefined) warnings.push(`buildkitd-flags: ${verdict.warning}`);
  }
  return {argv, warnings};
}

/** A flag and the words behind it that are none: its value, when it has one that is not joined by `=`. */
function groups(words: readonly string[]): readonly (readonly string[])[] {
  const all: string[][] = [];
  for (const word of words) {
    if (word.startsWith('-') || all.length === 0) all.push([word]);
    else all.at(-1)?.push(word);
  }
  return all;
}

function judge(name: string, release: Release): {readonly pass: boolean; readonly warning?: string} {
  const who = releaseName(release);
  const entry = DAEMON_ENTRIES.find(one => one.kind === 'buildkitd-flag' && one.name === name);
  if (!entry) {
    const listed = 'flags' in release && release.flags.buildkitd?.has(name);
    if (listed) return {pass: true};
    const newer = !('flags' in release) && compareVersions(release, NEWEST) > 0;
    if (newer)
      return {pass: true, warning: `${who} is newer than the table of flags; ${name} is passed as it is`};
    throw refused(`${who} has no flag ${name}`, 'docs/versions.md lists the flags of buildkitd');
  }
  const known = knowledge(release, entry);
  const first = `${formatVersion(entry.first)} is the first that does`;
  if (known === 'yes') return {pass: true};
  if (known === 'unknown') return {pass: true, warning: `${who} may not know ${name}; ${first}`};
  const message = `${who} does not know ${name}; ${first}`;
  if (entry.whenMissing === 'warning') return {pass: false, warning: `${message}; it is left out`};
  throw refused(message, `take an archive of another BuildKit (${first}), or leave ${name} out`);
}

function refused(message: string, hint: string): UserError {
  return new UserError(`buildkitd-flags: ${message}`, {
    input: 'buildkitd-flags',
    stage: 'plan',
    hint,
  });
}
