import type {GivenConfig} from './config.ts';
import {fromEntries, isTable, type TomlTable, type TomlValue, writeToml} from './toml.ts';

/** Certificates and keys of registries that a configuration names on this machine. */
export interface RegistryFile {
  readonly path: string;
  readonly guestPath: string;
}

/**
 * In memory, since private keys are among them, and apart from the build's own folder, which each build makes anew: the daemon reads them with
 * each request.
 */
const GUEST_DIR = '/run/buildkit-archive-registries';

/**
 * Has the files that `registry.HOST.ca` and `registry.HOST.keypair` name sent into the VM, and the configuration name them there, as docker/buildx does
 * for its containers (util/confutil, `LoadConfigFiles`). What is not on this machine is left to be a file of the archive.
 * @param locate the absolute path of a file here; undefined when there is none.
 */
export async function adoptRegistryFiles(
  given: GivenConfig,
  locate: (path: string) => Promise<string | undefined>,
): Promise<{
  readonly given: GivenConfig;
  readonly files: readonly RegistryFile[];
  readonly missing: readonly string[];
}> {
  const named = [...new Set(registriesOf(given.table).flatMap(([, entry]) => filesOf(entry)))];
  const found = await Promise.all(named.map(locate));
  const guestPaths = new Map<string, string>();
  const files: RegistryFile[] = [];
  for (const [index, path] of found.entries()) {
    if (path === undefined) continue;
    // The number keeps apart what has one name in two folders; the name is for people.
    const guestPath = `${GUEST_DIR}/${index}-${safeName(path)}`;
    guestPaths.set(named[index] ?? '', guestPath);
    files.push({path, guestPath});
  }
  const missing = named.filter((_, index) => found[index] === undefined);
  if (files.length === 0) return {given, files, missing};
  const moved = (value: TomlValue): TomlValue =>
    typeof value === 'string' ? (guestPaths.get(value) ?? value) : value;
  const registry = fromEntries(
    Object.entries(given.table.registry ?? {}).map(([host, entry]) => [
      host,
      isTable(entry) ? withPaths(entry, moved) : entry,
    ]),
  );
  return {
    given: {
      ...writeToml(fromEntries([...Object.entries(given.table), ['registry', registry]])),
      input: given.input,
    },
    files,
    missing,
  };
}

function registriesOf(table: TomlTable): readonly (readonly [string, TomlTable])[] {
  if (!isTable(table.registry)) return [];
  return Object.entries(table.registry).flatMap(([host, entry]) =>
    isTable(entry) ? [[host, entry] as const] : [],
  );
}

function filesOf(entry: TomlTable): readonly string[] {
  const pairs = Array.isArray(entry.keypair) ? entry.keypair.filter(isTable) : [];
  return [entry.ca, ...pairs.flatMap(({key, cert}) => [key, cert])]
    .flat()
    .filter(value => typeof value === 'string' && value !== '') as string[];
}

function withPaths(entry: TomlTable, moved: (value: TomlValue) => TomlValue): TomlTable {
  const list = (value: TomlValue): TomlValue => (Array.isArray(value) ? value.map(moved) : moved(value));
  const pair = (value: TomlValue): TomlValue =>
    isTable(value) ? fromEntries(Object.entries(value).map(([key, text]) => [key, moved(text)])) : value;
  return fromEntries(
    Object.entries(entry).map(([key, value]): [string, TomlValue] => {
      if (key === 'ca') return [key, list(value)];
      if (key === 'keypair' && Array.isArray(value)) return [key, value.map(pair)];
      return [key, value];
    }),
  );
}

function safeName(path: string): string {
  return (path.split('/').at(-1) ?? '').replace(/[^\w.-]/g, '_');
}
