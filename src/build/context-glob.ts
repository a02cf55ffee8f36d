import {posix} from 'node:path';
import {type Token, tokenMatcher} from './context-tokens.ts';

/**
 * Which matcher a buildctl carries. Before v0.10.0: docker/docker `pkg/fileutils`, every pattern a regular
 * expression in which only `.` and `$` are escaped. From v0.10.0: its successor moby/patternmatcher, which
 * compares plain strings where it can. Read from the modules that the releases' go.mod files name.
 */
export type MatcherGeneration = 'fileutils' | 'patternmatcher';

/** One compiled line of an ignore file. */
export interface Glob {
  /** After Go's `filepath.Clean`, without the `!`. */
  readonly text: string;
  /** Written with a leading `!`: takes matching paths back in. */
  readonly negated: boolean;
  matches(path: string): boolean;
}

/**
 * Compiles the lines of an ignore file as `patternmatcher.New` does.
 * @returns undefined when a line is invalid, or says something whose meaning is not certain here (an
 * alternation, a repetition, an escaped letter, …): then no exclusion is certain.
 */
export function compileGlobs(
  lines: readonly string[],
  generation: MatcherGeneration,
): readonly Glob[] | undefined {
  const globs: Glob[] = [];
  for (const line of lines) {
    const trimmed = goTrimSpace(line);
    if (trimmed === '') continue;
    const cleaned = goClean(trimmed);
    const negated = cleaned.startsWith('!');
    const text = negated ? cleaned.slice(1) : cleaned;
    // U+FEFF and U+0000 are eaten by Go's text/scanner; U+FFFD stands for bytes that are no UTF-8.
    if (text === '' || /[\0\uFEFF\uFFFD]/.test(text)) return undefined;
    const matches = matcherOf(text, generation);
    if (!matches) return undefined;
    globs.push({text, negated, matches});
  }
  return globs;
}

/** Go's `filepath.Clean` on a system with `/`. */
export function goClean(path: string): string {
  const normal = posix.normalize(path);
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}

/** Go's `strings.TrimSpace`, whose idea of white space has U+0085 and lacks U+FEFF. */
export function goTrimSpace(text: string): string {
  return text
    .replace(/^[\t-\r \x85\xA0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]+/, '')
    .replace(/[\t-\r \x85\xA0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]+$/, '');
}

type Shape = 'exact' | 'prefix' | 'suffix' | 'regexp';

function matcherOf(pattern: string, generation: MatcherGeneration): ((path: string) => boolean) | undefined {
  const scanned = scan(pattern, generation);
  if (!scanned) return undefined;
  switch (scanned.shape) {
    case 'exact':
      return path => path === pattern;
    case 'prefix': {
      const prefix = pattern.slice(0, -2);
      return path => path.startsWith(prefix);
    }
    case 'suffix': {
      const suffix = pattern.slice(2);
      const whole = suffix.startsWith('/') ? suffix.slice(1) : undefined;
      return path => path.endsWith(suffix) || path === whole;
    }
    case 'regexp':
      return tokenMatcher(scanned.tokens);
  }
}

/** `Pattern.compile`: the same walk over the pattern, with tokens in place of a regular expression. */
function scan(pattern: string, generation: MatcherGeneration): {shape: Shape; tokens: Token[]} | undefined {
  const chars = [...pattern];
  const old = generation === 'fileutils';
  const tokens: Token[] = [];
  let shape: Shape = 'exact';
  let operators = false;
  let i = 0;
  while (i < chars.length) {
    const at = i;
    const char = chars[i++] as string;
    if (char === '*' && chars[i] === '*') {
      i++;
      if (chars[i] === '/') i++;
      const atEnd = i >= chars.length;
      tokens.push({kind: atEnd ? 'all' : 'directories'});
      shape = atEnd && shape === 'exact' ? 'prefix' : 'regexp';
      if (at === 0) shape = 'suffix';
    } else if (char === '*' || char === '?') {
      tokens.push({kind: char === '*' ? 'star' : 'one'});
      shape = 'regexp';
    } else if (char === '[') {
      const set = scanClass(chars, i);
      if (!set) return undefined;
      tokens.push({kind: 'set', set: set.set});
      i = set.next;
      shape = 'regexp';
    } else if (char === '\\') {
      const next = chars[i++];
      if (next === undefined || !isPunctuation(next)) return undefined;
      tokens.push({kind: 'char', char: next});
      shape = 'regexp';
    } else {
      if (char === ']') shape = 'regexp';
      operators ||= isOperator(char, chars[i], old);
      tokens.push({kind: 'char', char});
    }
  }
  if (old) shape = 'regexp';
  return operators && shape === 'regexp' ? undefined : {shape, tokens};
}

/** Characters that the matchers pass on unescaped to RE2, where they are operators. */
function isOperator(char: string, next: string | undefined, old: boolean): boolean {
  if (char === '|' || char === '^') return true;
  if (char === '{') return next !== undefined && /\d/.test(next);
  return old && /[+()]/.test(char);
}

/** A class from behind its `[`, or undefined when `filepath.Match` refuses it or its meaning is not certain. */
function scanClass(chars: readonly string[], start: number): {set: RegExp; next: number} | undefined {
  let i = start;
  let source = '[';
  if (chars[i] === '^') {
    source += '^';
    i++;
  }
  const first = i;
  while (chars[i] !== ']' || i === first) {
    const low = classItem(chars, i);
    if (!low) return undefined;
    i = low.next;
    source += quote(low.char);
    if (chars[i] !== '-') continue;
    const high = classItem(chars, i + 1);
    if (!high || (high.char.codePointAt(0) ?? 0) < (low.char.codePointAt(0) ?? 0)) return undefined;
    i = high.next;
    source += `-${quote(high.char)}`;
  }
  return {set: new RegExp(`${source}]`, 'u'), next: i + 1};
}

function classItem(chars: readonly string[], at: number): {char: string; next: number} | undefined {
  const char = chars[at];
  if (char === undefined || '[]*?/-'.includes(char)) return undefined;
  if (char !== '\\') return {char, next: at + 1};
  const escaped = chars[at + 1];
  return escaped !== undefined && isPunctuation(escaped) ? {char: escaped, next: at + 2} : undefined;
}

/** What RE2 takes literally behind a backslash; letters and digits have a meaning of their own there. */
function isPunctuation(char: string): boolean {
  return /^[ -/:-@[-`{-~]$/.test(char);
}

function quote(char: string): string {
  return /^[\^$\\.*+?()[\]{}|/]$/.test(char) ? `\\${char}` : char === '-' ? '\\x2d' : char;
}
