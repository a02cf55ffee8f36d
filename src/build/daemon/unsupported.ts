import type {Version} from '../../base/version.ts';
import {DAEMON_ENTRIES} from '../versions/daemon-entries.ts';
import type {TableEntry} from '../versions/entry.ts';
import {knowledge, type Release} from '../versions/table.ts';

/** A key of `buildkitd.toml` or a flag of `buildkitd` that a release skips or refuses. */
export interface Unsupported {
  /** As it was asked for; segments of a key are joined with dots. */
  readonly name: string;
  /** First release that knows it; absent for what the table does not have. */
  readonly first?: Version;
}

const KEYS = DAEMON_ENTRIES.filter(({kind, name}) => kind === 'toml-key' && !name.includes(' ')).map(
  entry => ({
    entry,
    pattern: segments(entry.name),
  }),
);

/**
 * The keys that `release` does not read. A daemon skips keys that it does not know without a word, in all releases, so nobody else tells.
 * @param keyPaths a key's segments, `['registry', 'docker.io', 'mirrors']`; those of an array of tables without its index. A path may end at
 *   a table.
 */
export function unsupportedTomlKeys(
  keyPaths: readonly (readonly string[])[],
  release: Release,
): readonly Unsupported[] {
  return keyPaths.flatMap(path => {
    const found = keyFor(path);
    if (found === 'table' || (found && knowledge(release, found) !== 'no')) return [];
    return [{name: path.join('.'), ...(found && {first: found.first})}];
  });
}

/** The flags (`--oci-worker-net`, without a value) that this release's buildkitd does not accept. */
export function unsupportedDaemonFlags(names: readonly string[], release: Release): readonly Unsupported[] {
  return names.flatMap(name => {
    const entry = DAEMON_ENTRIES.find(({kind, ...one}) => kind === 'buildkitd-flag' && one.name === name);
    if (entry && knowledge(release, entry) !== 'no') return [];
    return [{name, ...(entry && {first: entry.first})}];
  });
}

/** The entry that says most of a key: its own, else that of the longest table it stands in. */
function keyFor(path: readonly string[]): TableEntry | 'table' | undefined {
  const fits = (pattern: readonly string[]): boolean =>
    pattern.every((segment, i) => i >= path.length || segment === '*' || segment === path[i]);
  const candidates = KEYS.filter(({pattern}) => fits(pattern));
  const own = candidates.filter(({pattern}) => pattern.length <= path.length);
  const best = own.sort((a, b) => b.pattern.length - a.pattern.length)[0];
  return best?.entry ?? (candidates.length > 0 ? 'table' : undefined);
}

/** Segments of a dotted key with quoted parts (TOML 1.0, "Keys"). */
function segments(key: string): readonly string[] {
  return [...key.matchAll(/"([^"]*)"|([^."]+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');
}
