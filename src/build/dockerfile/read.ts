import {isAtLeast, type Version, version} from '../../base/version.ts';
import {detectSyntax, readDirectives} from './directives.ts';
import {splitFlags} from './flags.ts';
import {heredocsOf} from './heredoc.ts';
import {groupStages} from './stages.ts';
import type {Dockerfile, Heredoc, Instruction, LineRange} from './types.ts';

export interface ReadOptions {
  /** `--build-arg` values, for `ARG`s before the first `FROM`. */
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** The release that reads it: before v0.8.0 a line that ends in two escape characters is continued, too. */
  readonly version?: Version;
}

const DOUBLE_ESCAPE_ENDS = version('v0.8.0');

/** Only these can carry heredocs (`heredocDirectives` of BuildKit's parser). */
const HEREDOC_KEYWORDS: ReadonlySet<string> = new Set(['ADD', 'COPY', 'RUN']);
const JSON_KEYWORDS: ReadonlySet<string> = new Set([
  'ADD',
  'CMD',
  'COPY',
  'ENTRYPOINT',
  'RUN',
  'SHELL',
  'VOLUME',
]);

/**
 * Reads a Dockerfile as BuildKit's own parser splits it (`frontend/dockerfile/parser/parser.go`, v0.32.2):
 * continuation lines with comments and empty lines between, heredocs, directives, BOM, CRLF. Never throws; what
 * BuildKit would refuse is listed in `problems`.
 */
export function readDockerfile(text: string, options: ReadOptions = {}): Dockerfile {
  const lines = text.replace(/^\uFEFF/, '').split('\n');
  if (lines.at(-1) === '') lines.pop();
  const bare = lines.map(line => line.replace(/\r$/, ''));
  const problems: (LineRange & {message: string})[] = [];
  const {directives, repeated} = readDirectives(bare.map(line => line.trimStart()));
  if (repeated) {
    problems.push({...range(repeated), message: `only one ${repeated.name} parser directive can be used`});
  }
  const escapeValue = directives.find(({name}) => name === 'escape');
  if (escapeValue && !/^[`\\]$/.test(escapeValue.value)) {
    problems.push({...range(escapeValue), message: `invalid escape token '${escapeValue.value}'`});
  }
  const escapeToken = escapeValue?.value === '`' ? '`' : '\\';
  const reader = new Reader(lines, bare, escapeToken, options.version);
  const instructions = reader.read();
  const syntax = detectSyntax(bare);
  if (instructions.length === 0) {
    problems.push({startLine: 1, endLine: Math.max(1, lines.length), message: 'no instructions'});
  }
  return {
    directives,
    ...(syntax ? {syntax} : {}),
    escape: escapeToken,
    instructions,
    stages: groupStages(instructions, options.buildArgs ?? {}),
    problems: [...problems, ...reader.problems],
  };
}

function range(of: LineRange): LineRange {
  return {startLine: of.startLine, endLine: of.endLine};
}

class Reader {
  readonly problems: (LineRange & {message: string})[] = [];
  private readonly lines: readonly string[];
  private readonly bare: readonly string[];
  private readonly escapeToken: '\\' | '`';
  private readonly continuation: RegExp;
  private at = 0;

  constructor(lines: readonly string[], bare: readonly string[], escapeToken: '\\' | '`', release?: Version) {
    this.lines = lines;
    this.bare = bare;
    this.escapeToken = escapeToken;
    const token = escapeToken === '`' ? '`' : '\\\\';
    const old = release !== undefined && !isAtLeast(release, DOUBLE_ESCAPE_ENDS);
    this.continuation = new RegExp(
      old ? `()${token}[ \\t]*$` : `([^${token}])${token}[ \\t]*$|^${token}[ \\t]*$`,
    );
  }

  read(): Instruction[] {
    const instructions: Instruction[] = [];
    while (this.at < this.bare.length) {
      const startLine = this.at + 1;
      const line = this.logicalLine();
      if (line === undefined) continue;
      const parsed = parseInstruction(line, startLine, this.at, this.escapeToken);
      const heredocs = this.heredocs(parsed, line, startLine);
      instructions.push(withHeredocs(parsed, heredocs, Math.max(startLine, this.at)));
    }
    return instructions;
  }

  /** The next line with its continuations joined; undefined for a blank line or a comment. */
  private logicalLine(): string | undefined {
    const first = this.bare[this.at++] ?? '';
    const start = first.trimStart();
    let {text, ends} = this.cutContinuation(start.startsWith('#') ? '' : start);
    if (ends && text === '') return undefined;
    while (!ends && this.at < this.bare.length) {
      const next = this.bare[this.at++] ?? '';
      // Comments and empty lines within a continued instruction do not end it.
      if (/^\s*(#|$)/.test(next)) continue;
      const cut = this.cutContinuation(next);
      text += cut.text;
      ends = cut.ends;
    }
    return text;
  }

  private cutContinuation(line: string): {text: string; ends: boolean} {
    if (!this.continuation.test(line)) return {text: line, ends: true};
    return {text: line.replace(this.continuation, '$1'), ends: false};
  }

  private heredocs(parsed: Instruction, line: string, startLine: number): Heredoc[] {
    const carrier = parsed.trigger ?? parsed;
    if (!HEREDOC_KEYWORDS.has(carrier.keyword) || parsed.json) return [];
    return heredocsOf(line).map(head => {
      const first = this.at;
      const content: string[] = [];
      let ended = false;
      while (this.at < this.lines.length && !ended) {
        const raw = this.bare[this.at] ?? '';
        ended = (head.chomp ? raw.replace(/^\t+/, '') : raw) === head.name;
        if (!ended) content.push(`${this.lines[this.at] ?? ''}\n`);
        this.at++;
      }
      if (!ended) this.problems.push({startLine, endLine: this.at, message: 'unterminated heredoc'});
      return {...head, content: content.join(''), startLine: first + 1, endLine: this.at};
    });
  }
}

function withHeredocs(parsed: Instruction, heredocs: readonly Heredoc[], endLine: number): Instruction {
  const trigger = parsed.trigger && {...parsed.trigger, heredocs, endLine};
  return {...parsed, heredocs, endLine, ...(trigger ? {trigger} : {})};
}

function parseInstruction(
  line: string,
  startLine: number,
  endLine: number,
  escapeToken: string,
): Instruction {
  const text = line.trim();
  const [, word = text, rest = ''] = /^([^\t\v\f\r ]+)[\t\v\f\r ]+(.*)$/s.exec(text) ?? [];
  const keyword = word.toUpperCase();
  const {flags, args} = splitFlags(rest, escapeToken);
  const json = JSON_KEYWORDS.has(keyword) ? jsonStrings(args) : undefined;
  const trigger =
    keyword === 'ONBUILD' && args !== '' && parseInstruction(args, startLine, endLine, escapeToken);
  return {
    keyword,
    flags,
    args,
    text,
    startLine,
    endLine,
    heredocs: [],
    ...(json ? {json} : {}),
    ...(trigger ? {trigger} : {}),
  };
}

/** A JSON array of strings, else undefined: BuildKit then takes the text as shell form. */
function jsonStrings(args: string): string[] | undefined {
  if (!args.startsWith('[')) return undefined;
  try {
    const value: unknown = JSON.parse(args);
    if (Array.isArray(value) && value.every(item => typeof item === 'string')) return value;
  } catch {
    // No JSON: the shell form.
  }
  return undefined;
}
