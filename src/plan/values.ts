import {parse} from 'csv-parse/sync';
import {UserError} from '../base/errors.ts';
import type {KeyValue} from '../base/request.ts';

/** Parsers for one input's text. Each returns the value or throws a `UserError` naming input, value and what is allowed. */

/** YAML 1.2 booleans (core schema, 10.3.2): true, True, TRUE, false, False, FALSE. */
export function parseBoolean(input: string, text: string): boolean {
  if (/^(true|True|TRUE)$/.test(text)) return true;
  if (/^(false|False|FALSE)$/.test(text)) return false;
  throw bad(input, text, 'true or false');
}

export function parseChoice<T extends string>(input: string, text: string, choices: readonly T[]): T {
  const found = choices.find(choice => choice === text);
  if (found !== undefined) return found;
  throw bad(input, text, choices.join(', '));
}

export function parseInteger(
  input: string,
  text: string,
  range: {min: number; max: number; unit: string},
): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= range.min && value <= range.max) return value;
  throw bad(input, text, `a whole number of ${range.unit} from ${range.min} to ${range.max}`);
}

/** Seconds: `90`, `90s`, `5m`, `1h`. */
export function parseSeconds(input: string, text: string, range: {min: number; max: number}): number {
  const match = /^(\d{1,6})(s|m|h)?$/.exec(text);
  const factor = {s: 1, m: 60, h: 3600}[match?.[2] ?? 's'] ?? 1;
  const seconds = match ? Number(match[1]) * factor : Number.NaN;
  if (seconds >= range.min && seconds <= range.max) return seconds;
  throw bad(input, text, `a time from ${range.min} s to ${range.max} s, such as 90, 90s, 5m`);
}

/** A TCP port; `auto` and 0 stand for one that is free (0), nothing for none. */
export function parsePort(input: string, text: string): number | undefined {
  if (text === '') return undefined;
  if (text === 'auto') return 0;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (port >= 0 && port <= 65_535) return port;
  throw bad(input, text, 'auto, or a port from 0 to 65535');
}

/** Memory in MiB: `2048`, `2048M`, `2G`, with an optional `i` and `B`; units are binary as in QEMU's `-m`. */
export function parseMemoryMib(input: string, text: string, range: {min: number; max: number}): number {
  const match = /^(\d{1,8})\s*(?:([MG])(?:i?B)?)?$/i.exec(text);
  const memoryMib = match ? Number(match[1]) * (match[2]?.toUpperCase() === 'G' ? 1024 : 1) : Number.NaN;
  if (memoryMib >= range.min && memoryMib <= range.max) return memoryMib;
  throw bad(input, text, `memory from ${range.min}M to ${range.max}M, such as 2048, 2048M, 4G`);
}

/**
 * A list as docker/build-push-action reads it (docker/actions-toolkit, `Util.getInputList`): one item a line, CSV quotes for an item with line
 * breaks, and, unless `ignoreComma`, several items a line separated by commas. Empty items are dropped.
 */
export function parseList(
  input: string,
  text: string,
  options: {ignoreComma?: boolean; quote?: boolean} = {},
): readonly string[] {
  let records: string[][];
  try {
    records = parse(text, {
      columns: false,
      relaxQuotes: true,
      relaxColumnCount: true,
      skipEmptyLines: true,
      quote: options.quote === false ? null : '"',
    });
  } catch (error) {
    throw new UserError(`${input}: cannot be read as a list: ${(error as Error).message}`, {
      input,
      stage: 'inputs',
      hint: 'write one item a line; put an item that holds line breaks in double quotes',
    });
  }
  const items = records.flatMap(record => (options.ignoreComma ? [record.join(',')] : record));
  return items.map(item => item.trim()).filter(item => item !== '');
}

/** `KEY=VALUE`; the value may be empty and may hold further `=`. */
export function parseKeyValue(input: string, item: string, separators = '='): KeyValue {
  const at = [...item].findIndex(char => separators.includes(char));
  if (at <= 0) throw bad(input, item, `KEY${separators[0]}VALUE`);
  return {key: item.slice(0, at), value: item.slice(at + 1)};
}

export function bad(input: string, value: string, allowed: string): UserError {
  return new UserError(`${input}: ${JSON.stringify(value)} is not allowed; allowed: ${allowed}`, {
    input,
    stage: 'inputs',
    hint: `set ${input} to one of the allowed values`,
  });
}

/** The beginning of a URL; nothing for none. */
export function parseHttpUrl(input: string, text: string): string {
  if (text === '') return '';
  // A login in it would stand in logs and in the store.
  const isOpen = /^https?:\/\/[^/@?#]+(\/[^@?#]*)?$/.test(text) && URL.canParse(text);
  if (isOpen) return text;
  throw bad(
    input,
    text.replace(/\/\/[^/]*@/, '//***@'),
    'https://HOST/PATH or http://HOST/PATH, without a login, "?" or "#"',
  );
}

/** A SHA-256 in hexadecimal, with or without `sha256:` before it; nothing for none. */
export function parseSha256(input: string, text: string): string {
  const match = /^(?:sha256:)?([0-9a-fA-F]{64})$/.exec(text);
  if (text === '' || match) return match?.[1]?.toLowerCase() ?? '';
  throw bad(input, text, '64 hexadecimal digits');
}
