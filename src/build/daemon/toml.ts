import {parse, stringify, TomlError, type TomlTable, type TomlValue} from 'smol-toml';
import {UserError, type UserErrorOptions} from '../../base/errors.ts';

export type {TomlTable, TomlValue};

/** A configuration as it was written, and what it says; integers are bigints, so that they stay apart from floats. */
export interface Document {
  readonly text: string;
  readonly table: TomlTable;
}

/**
 * @param name what the text is, for the message: an input, or a file in the VM.
 * @throws UserError with the line, when it is no TOML.
 */
export function readToml(text: string, name: string, options: UserErrorOptions): Document {
  try {
    return {text, table: parse(text, {integersAsBigInt: true})};
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The library's message has its reason, a blank line, and the place.
    const reason = error.message.split('\n')[0]?.replace(/^Invalid TOML document: /, '') ?? '';
    const line = text.split('\n')[error.line - 1]?.trim() ?? '';
    throw new UserError(
      `${name}: line ${error.line}, column ${error.column}: ${reason}: ${JSON.stringify(line.slice(0, 200))}`,
      {...options, cause: error},
    );
  }
}

export function writeToml(table: TomlTable): Document {
  return {text: stringify(table, {numbersAsFloat: true}), table};
}

export function isTable(value: TomlValue | undefined): value is TomlTable {
  return typeof value === 'object' && !Array.isArray(value) && !(value instanceof Date);
}

/** The paths of all keys that have a value; those in an array of tables without its index. */
export function keyPaths(table: TomlTable): readonly (readonly string[])[] {
  return Object.entries(table).flatMap(([key, value]) => {
    const tables = isTable(value) ? [value] : Array.isArray(value) && value.every(isTable) ? value : [];
    const below = tables.flatMap(keyPaths);
    return below.length === 0 ? [[key]] : below.map(path => [key, ...path]);
  });
}

/** `over` laid over `under`: tables key by key, any other value as a whole. */
export function mergeTables(under: TomlTable, over: TomlTable): TomlTable {
  const merged = new Map(Object.entries(under));
  for (const [key, value] of Object.entries(over)) {
    const before = merged.get(key);
    merged.set(key, isTable(before) && isTable(value) ? mergeTables(before, value) : value);
  }
  return fromEntries(merged);
}

/** A table of these keys; `__proto__` is a key like any other. */
export function fromEntries(entries: Iterable<readonly [string, TomlValue]>): TomlTable {
  return Object.fromEntries(entries);
}
