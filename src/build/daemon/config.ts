import type {RegistryMirror} from '../../base/daemon.ts';
import {UserError} from '../../base/errors.ts';
import {formatVersion} from '../../base/version.ts';
import {releaseName} from '../versions/help.ts';
import {entryOf, knowledge, type Release} from '../versions/table.ts';
import {
  type Document,
  fromEntries,
  isTable,
  keyPaths,
  mergeTables,
  type TomlTable,
  writeToml,
} from './toml.ts';
import {unsupportedTomlKeys} from './unsupported.ts';

/** What a daemon's configuration is made of. */
export interface ConfigParts {
  /** What the archive ships. */
  readonly existing?: Document | undefined;
  /** What the user gave; its keys win. */
  readonly given?: GivenConfig | undefined;
  /** They come before those that a configuration names. */
  readonly mirrors: readonly RegistryMirror[];
}

export interface GivenConfig extends Document {
  /** The input that it came by. */
  readonly input: string;
}

export interface FinalConfig {
  readonly text: string;
  /** Keys of the archive's own configuration that stay as they are. */
  readonly kept: readonly string[];
}

/**
 * The text of `buildkitd.toml` for `release`. What the user wrote is kept to the letter where nothing is to be merged, so that the daemon's
 * messages name its lines.
 * @returns undefined when there is nothing to change.
 * @throws UserError when the release has no such mirrors.
 */
export function finalConfig(parts: ConfigParts, release: Release): FinalConfig | undefined {
  const {existing, given, mirrors} = parts;
  if (!given && mirrors.length === 0) return undefined;
  const own = existing && Object.keys(existing.table).length > 0 ? existing.table : undefined;
  const kept = own ? keptKeys(own, given?.table ?? {}) : [];
  if (given && !own && mirrors.length === 0) return {text: given.text, kept};
  const merged = mergeTables(own ?? {}, given?.table ?? {});
  return {text: writeToml(withMirrors(merged, mirrors, release)).text, kept};
}

/** The mirrors that a configuration names itself. */
export function configMirrors(given: Document | undefined): readonly RegistryMirror[] {
  const registry = given?.table.registry;
  if (!isTable(registry)) return [];
  return Object.entries(registry).flatMap(([origin, entry]) => {
    const mirrors = isTable(entry) && Array.isArray(entry.mirrors) ? entry.mirrors : [];
    return mirrors.flatMap(mirror =>
      typeof mirror === 'string' ? [{origin, mirror, plainHttp: false}] : [],
    );
  });
}

/** What `release` will not do of it, in words. @throws UserError when that changes where images come from. */
export function configWarnings({given, mirrors}: ConfigParts, release: Release): readonly string[] {
  checkMirrors(mirrors, release);
  const name = releaseName(release);
  const unknown = unsupportedTomlKeys(given ? keyPaths(given.table) : [], release).map(key => {
    const first = key.first ? `${formatVersion(key.first)} is the first that does` : 'no release is known to';
    return `${given?.input}: ${name} does not read the key ${key.name}; ${first}`;
  });
  const inOrder = knowledge(release, entryOf(IN_ORDER)) !== 'no';
  if (mirrors.length === 0 || inOrder) return [...new Set(unknown)];
  const origins = [...new Set(mirrors.map(({origin}) => origin))].join(', ');
  return [
    ...new Set(unknown),
    `registry-mirrors: ${name} takes one of the mirrors of ${origins} at random and does not go to ${origins} when it fails`,
  ];
}

const IN_ORDER = 'toml-key mirrors in order';
const WITH_PATH = 'toml-key mirror with a path';

function checkMirrors(mirrors: readonly RegistryMirror[], release: Release): void {
  const refuse = (id: string, what: string, hint: string): never => {
    const first = formatVersion(entryOf(id).first);
    throw new UserError(
      `registry-mirrors: ${releaseName(release)} cannot do ${what}; ${first} is the first that can`,
      {input: 'registry-mirrors', stage: 'plan', hint},
    );
  };
  const withPath = mirrors.find(({mirror}) => mirror.includes('/'));
  if (withPath && knowledge(release, entryOf(WITH_PATH)) === 'no') {
    const host = withPath.mirror.split('/')[0];
    refuse(
      WITH_PATH,
      `the mirror ${withPath.mirror} with a path`,
      `give a mirror without one, such as ${host}`,
    );
  }
  if (knowledge(release, entryOf(IN_ORDER)) !== 'no') return;
  for (const {origin} of mirrors) {
    const own = mirrors.filter(mirror => mirror.origin === origin);
    if (new Set(own.map(({plainHttp}) => plainHttp)).size > 1) {
      refuse(IN_ORDER, `HTTP and HTTPS mirrors of ${origin}`, `give only one kind for ${origin}`);
    }
  }
}

/**
 * The same configuration with the mirrors in it. Whether a mirror speaks plain HTTP stands in its own entry, in that of its name with the path from
 * v0.12.0 on until it moved to the host's (util/resolver/resolver.go), and before v0.7.0 in that of the origin.
 */
function withMirrors(config: TomlTable, mirrors: readonly RegistryMirror[], release: Release): TomlTable {
  const inOrder = knowledge(release, entryOf(IN_ORDER)) !== 'no';
  let registries: TomlTable = isTable(config.registry) ? config.registry : {};
  const change = (name: string, make: (entry: TomlTable) => TomlTable): void => {
    const before = Object.hasOwn(registries, name) ? registries[name] : undefined;
    registries = mergeTables(registries, fromEntries([[name, make(isTable(before) ? before : {})]]));
  };
  for (const origin of new Set(mirrors.map(mirror => mirror.origin))) {
    const own = mirrors.filter(mirror => mirror.origin === origin).map(({mirror}) => mirror);
    change(origin, entry => {
      const named = Array.isArray(entry.mirrors) ? entry.mirrors : [];
      return {...entry, mirrors: [...new Set([...own, ...named])]};
    });
  }
  for (const {origin, mirror, plainHttp} of mirrors) {
    const host = mirror.split('/')[0] ?? mirror;
    const names = inOrder ? new Set([host, mirror]) : [origin];
    // What the user says of the mirror in the configuration stands.
    const http = (entry: TomlTable): TomlTable =>
      'http' in entry || 'insecure' in entry ? entry : {...entry, http: true};
    if (plainHttp) for (const name of names) change(name, http);
  }
  return mirrors.length === 0 ? config : mergeTables(config, {registry: registries});
}

function keptKeys(own: TomlTable, given: TomlTable): readonly string[] {
  const replaced = new Set(keyPaths(given).map(path => path.join('\0')));
  return [...new Set(keyPaths(own).map(path => path.join('\0')))]
    .filter(path => !replaced.has(path))
    .map(path => path.replaceAll('\0', '.'));
}
