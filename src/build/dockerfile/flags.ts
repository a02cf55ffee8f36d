import type {Flag} from './types.ts';

/**
 * Takes the `--name=value` words off the front of an instruction's arguments
 * (`extractBuilderFlags` of `frontend/dockerfile/parser/split_command.go`).
 */
export function splitFlags(text: string, escapeToken: string): {flags: Flag[]; args: string} {
  const flags: Flag[] = [];
  let rest = text.trimStart();
  while (rest.startsWith('--')) {
    const {word, length} = flagWord(rest, escapeToken);
    rest = rest.slice(length);
    if (word === '--') break;
    const equals = word.indexOf('=');
    flags.push(
      equals === -1
        ? {name: word.slice(2), value: undefined}
        : {name: word.slice(2, equals), value: word.slice(equals + 1)},
    );
    rest = rest.trimStart();
  }
  return {flags, args: rest.trim()};
}

/** One word with its quotes taken off and escapes resolved, and how much of the text it took. */
function flagWord(text: string, escapeToken: string): {word: string; length: number} {
  let word = '';
  let quote = '';
  let at = 0;
  for (; at < text.length; at++) {
    const char = text[at] ?? '';
    if (quote === '' && /\s/.test(char)) break;
    if (char === quote) quote = '';
    else if (quote === '' && /["']/.test(char)) quote = char;
    else if (char === escapeToken) word += text[++at] ?? '';
    else word += char;
  }
  return {word, length: at};
}

/** The fields of a `--mount=type=cache,target=/x` value; quoted as CSV (`"a=b,c"`), keys in lower case. */
export function csvFields(value: string): {readonly key: string; readonly value: string | undefined}[] {
  const fields = value.match(/"(?:[^"]|"")*"|[^,]+/g) ?? [];
  return fields.map(field => {
    const plain = field.startsWith('"') ? field.slice(1, -1).replaceAll('""', '"') : field;
    const equals = plain.indexOf('=');
    if (equals === -1) return {key: plain.trim().toLowerCase(), value: undefined};
    return {key: plain.slice(0, equals).trim().toLowerCase(), value: plain.slice(equals + 1)};
  });
}
