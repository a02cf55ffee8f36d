/**
 * A stand-in for the part of actions/runner that reads a step's output, written after its source: `ProcessInvoker.cs`
 * (lines), `OutputManager.cs` (which lines are looked at), `ActionCommand.cs` (the two forms), `ActionCommandManager.cs`
 * (registered names, stop-commands). Used by tests as the adversary of `src/report/inert.ts`.
 */

/** The commands the runner registers (the extensions of `ActionCommandManager.cs`), `stop-commands` among them. */
const REGISTERED = [
  'stop-commands',
  'internal-set-repo-path',
  'set-env',
  'set-output',
  'save-state',
  'add-mask',
  'add-path',
  'add-matcher',
  'remove-matcher',
  'debug',
  'warning',
  'error',
  'notice',
  'group',
  'endgroup',
  'echo',
];

export interface TakenCommand {
  readonly name: string;
  readonly properties: Readonly<Record<string, string>>;
  readonly data: string;
  readonly line: string;
}

/**
 * How strings are searched. The runner calls `StartsWith(string)` and `IndexOf(string)`, which compare by culture: with
 * ICU they pass over ignorable characters; without it (`InvariantGlobalization`) they compare code units.
 */
export type Comparison = 'ordinal' | 'icu';

const IGNORABLE = /[\p{Default_Ignorable_Code_Point}\p{Cf}\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]/u;
/** `Char.IsWhiteSpace`. */
const LEADING_SPACE = /^[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

export class PlayedRunner {
  /** What was carried out. */
  readonly commands: TakenCommand[] = [];
  /** Lines that went to the log as text. */
  readonly log: string[] = [];
  readonly #registered = new Set(REGISTERED);
  readonly #comparison: Comparison;
  #buffer = '';
  #stopToken: string | undefined;

  constructor(comparison: Comparison) {
    this.#comparison = comparison;
  }

  get stopped(): boolean {
    return this.#stopToken !== undefined;
  }

  write(text: string): void {
    this.#buffer += text;
    for (;;) {
      const end = /\r\n|\n|\r(?=[\s\S])/.exec(this.#buffer);
      if (!end) return;
      this.#line(this.#buffer.slice(0, end.index));
      this.#buffer = this.#buffer.slice(end.index + end[0].length);
    }
  }

  /** The end of the stream: what is left is a line too. */
  end(): void {
    const rest = this.#buffer.replace(/\r$/, '');
    this.#buffer = '';
    if (rest !== '') this.#line(rest);
  }

  #line(line: string): void {
    if (!this.#process(line)) this.log.push(line);
  }

  #process(line: string): boolean {
    const command = this.#parseColons(line) ?? this.#parseHashes(line);
    if (!command) return false;
    const name = command.name.toLowerCase();
    if (this.#stopToken !== undefined) {
      if (name !== this.#stopToken) return false;
      this.#registered.delete(this.#stopToken);
      this.#stopToken = undefined;
      return true;
    }
    this.commands.push(command);
    if (name === 'stop-commands') {
      // Refused tokens fail the step and stop nothing (`ValidateStopToken`).
      if (command.data === '' || command.data === 'pause-logging' || this.#isRegistered(command.data))
        return true;
      this.#stopToken = command.data.toLowerCase();
      this.#registered.add(this.#stopToken);
    }
    return true;
  }

  /** `ActionCommand.TryParseV2`. */
  #parseColons(line: string): TakenCommand | undefined {
    const message = line.replace(LEADING_SPACE, '');
    if (this.#indexOf(message, '::', 0, true) !== 0) return undefined;
    const end = this.#indexOf(message, '::', 2);
    if (end < 2) return undefined;
    const parsed = this.#head(message.slice(2, end), ',', line);
    return parsed && {...parsed, data: unescapeAll(message.slice(end + 2), DATA)};
  }

  /** `ActionCommand.TryParse`. */
  #parseHashes(line: string): TakenCommand | undefined {
    const start = this.#indexOf(line, '##[', 0);
    const end = start < 0 ? -1 : line.indexOf(']', start);
    if (end < start + 3) return undefined;
    const parsed = this.#head(line.slice(start + 3, end), ';', line);
    return (
      parsed && {...parsed, data: unescapeAll(line.slice(end + 1), [...DATA, [';', '%3B'], [']', '%5D']])}
    );
  }

  #head(head: string, separator: string, line: string): TakenCommand | undefined {
    const space = head.indexOf(' ');
    const name = space < 0 ? head : head.slice(0, space);
    if (!this.#isRegistered(name)) return undefined;
    const properties: Record<string, string> = {};
    for (const pair of space < 0 ? [] : head.slice(space + 1).split(separator)) {
      const match = /^=*([^=]+)=(.+)$/s.exec(pair.trim());
      if (match?.[1] && match[2]) properties[match[1]] = unescapeAll(match[2], PROPERTY);
    }
    return {name, properties, data: '', line};
  }

  #isRegistered(name: string): boolean {
    return this.#registered.has(name.toLowerCase());
  }

  /** `String.IndexOf(string)`; with `atStart`, 0 when `String.StartsWith(string)` would be true. */
  #indexOf(text: string, wanted: string, from: number, atStart = false): number {
    if (this.#comparison === 'ordinal') {
      return atStart ? (text.startsWith(wanted) ? 0 : -1) : text.indexOf(wanted, from);
    }
    for (let i = from; i < text.length; i++) {
      if (IGNORABLE.test(text[i] ?? '')) continue;
      if (matchesIgnoring(text, wanted, i)) return atStart ? 0 : i;
      if (atStart) return -1;
    }
    return -1;
  }
}

function matchesIgnoring(text: string, wanted: string, from: number): boolean {
  let found = 0;
  for (let i = from; i < text.length && found < wanted.length; i++) {
    const char = text[i] ?? '';
    if (char === wanted[found]) found++;
    else if (!IGNORABLE.test(char)) return false;
  }
  return found === wanted.length;
}

const DATA: readonly [string, string][] = [
  ['\r', '%0D'],
  ['\n', '%0A'],
];
const PROPERTY: readonly [string, string][] = [...DATA, [':', '%3A'], [',', '%2C']];

function unescapeAll(text: string, mappings: readonly [string, string][]): string {
  return mappings
    .reduce((done, [char, escaped]) => done.replaceAll(escaped, char), text)
    .replaceAll('%25', '%');
}
