/**
 * Text from the VM, made harmless for a runner's stdout.
 *
 * The runner (actions/runner, `ActionCommand.cs`) takes as commands: `::name …::` at a line's start, white space before
 * it aside, and `##[name …]` anywhere in a line. It splits lines at `\r`, `\n` and `\r\n` (`StreamReader.ReadLine`), and
 * compares by culture: ICU passes over control, format and zero-width characters, so a zero-width character between
 * two marker characters breaks nothing. Markers are therefore broken by a plain space (`: :`, `## [`), and characters
 * that a comparison may pass over do not end a marker here either.
 */

/** What a culture-sensitive comparison may pass over; marks and colours too, since a viewer may drop those. */
const UNSEEN = '\\p{Default_Ignorable_Code_Point}\\p{Cf}\\p{M}';
const COLOUR = '\\x1b\\[[0-9;:]*m';
const GAP = `(?:[${UNSEEN}]|${COLOUR})*`;
const INDENT = `(?:(?!\\n)[\\s${UNSEEN}]|${COLOUR})*`;

const LINE_MARKER = new RegExp(`^(${INDENT}:${GAP})(?=:)`, 'gmu');
const HASH_MARKER = new RegExp(`#${GAP}#${GAP}(?=\\[)`, 'gu');
const ENDS_INDENTED = new RegExp(`^${INDENT}$`, 'u');
const ENDS_ONE_COLON = new RegExp(`^${INDENT}:${GAP}$`, 'u');
const ENDS_TWO_HASHES = new RegExp(`#${GAP}#${GAP}$`, 'u');
const ENDS_ONE_HASH = new RegExp(`#${GAP}$`, 'u');
const COLOURS = new RegExp(COLOUR, 'g');

/**
 * Control functions (ECMA-48): CSI, the strings (OSC, DCS, SOS, PM, APC), two-character escapes; then line ends, other
 * controls, and bidirectional embeddings. A string that no BEL or ST ends is shown, so that it cannot hide what follows.
 */
const CONTROL =
  /\x1b(?:\[([0-?]{0,64})([ -/]{0,8})([@-~])|[\]PX^_][^\x07\x1b\r\n]{0,2048}(?:\x07|\x1b\\)|[ -/]{0,4}[0-Z\\`-~])?|\r\n?|[\v\f\x85\u2028\u2029]|[\0-\x08\x0e-\x1f\x7f-\x9f]|[\u202a-\u202e\u2066-\u2069]/g;
const UNFINISHED =
  /(?:\x1b(?:\[[0-?]{0,64}[ -/]{0,8}|[\]PX^_][^\x07\x1b\r\n]{0,2048}\x1b?|[ -/]{0,4})?|[\ud800-\udbff])$/;

/**
 * Makes a stream of text inert, chunk by chunk. Nothing is held back but an unfinished escape sequence or half a
 * character, so a live log stays live. Colours are kept; other terminal controls go; line ends become `\n`.
 */
export class InertStream {
  #held = '';
  #skipLineFeed = false;
  /** What the regular expressions must know of the line so far: '', ':', 'x', 'x#' or 'x##'. */
  #context = '';
  #lineOpen = false;

  /** True when the last line has no line end yet: a caller must end it before printing anything of its own. */
  get lineOpen(): boolean {
    return this.#lineOpen;
  }

  write(chunk: string): string {
    const text = this.#held + chunk;
    const unfinished = UNFINISHED.exec(text);
    this.#held = unfinished ? unfinished[0] : '';
    return this.#emit(unfinished ? text.slice(0, unfinished.index) : text);
  }

  /** What was held back. The stream can be written on afterwards. */
  flush(): string {
    const rest = this.#held;
    this.#held = '';
    return this.#emit(rest);
  }

  #emit(raw: string): string {
    if (raw === '') return '';
    const text = this.#skipLineFeed && raw.startsWith('\n') ? raw.slice(1) : raw;
    this.#skipLineFeed = raw.endsWith('\r');
    const safe = this.#break(withoutControls(text));
    if (safe !== '') this.#lineOpen = !safe.endsWith('\n');
    return safe;
  }

  #break(text: string): string {
    const whole = this.#context + text;
    const broken = whole.replace(HASH_MARKER, '$& ').replace(LINE_MARKER, '$1 ');
    const safe = broken.slice(this.#context.length);
    this.#context = contextOf(broken.slice(broken.lastIndexOf('\n') + 1));
    return safe;
  }
}

/**
 * The whole of `text` made inert: no line of it is a command to the runner, inside or outside of `stop-commands`.
 * Applying it again changes nothing.
 */
export function inert(text: string): string {
  const stream = new InertStream();
  return stream.write(text) + stream.flush();
}

/** Like `inert`, and without colours: for messages, summaries and files. */
export function plain(text: string): string {
  return inert(text).replace(COLOURS, '');
}

/** Like `plain`, on one line: for names, titles and outputs. */
export function oneLine(text: string): string {
  return inert(plain(text).replace(/\s+/g, ' ').trim());
}

/**
 * Prints a VM's text where a workflow's commands are read: between `::stop-commands::TOKEN` and `::TOKEN::`, markers
 * broken as well. While it is open the runner takes no command at all, also none of the action's own.
 * Source of the protocol: actions/runner, `ActionCommandManager.cs`.
 */
export class CommandGuard {
  #stream = new InertStream();
  #token: string | undefined;
  #tail = '';

  /**
   * Opens the guard; the line to print.
   * @param token fresh and random (at least 128 bits): whoever knows it can open the gate.
   * @throws RangeError when the token is too short or has other characters than letters, digits and `-`.
   */
  begin(token: string): string {
    if (!/^[A-Za-z0-9-]{22,200}$/.test(token)) {
      throw new RangeError('a stop-commands token needs 22 to 200 letters, digits or hyphens');
    }
    if (this.#token !== undefined) throw new Error('the command guard is open already');
    this.#token = token;
    this.#tail = '';
    return `::stop-commands::${token}\n`;
  }

  /** `chunk` as it may be printed. */
  write(chunk: string): string {
    return this.#withoutToken(this.#stream.write(chunk));
  }

  /** Ends an open line and closes the guard: a resume token is only read at a line's start. */
  end(): string {
    const rest = this.#withoutToken(this.#stream.flush());
    const lineEnd = this.#stream.lineOpen ? '\n' : '';
    this.#stream = new InertStream();
    const token = this.#token;
    this.#token = undefined;
    return token === undefined ? rest + lineEnd : `${rest}${lineEnd}::${token}::\n`;
  }

  /** The runner compares tokens without regard to case; a copy of it in the log gets a space before its last letter. */
  #withoutToken(text: string): string {
    const token = this.#token;
    if (token === undefined || text === '') return text;
    const copies = new RegExp(`${token.slice(0, -1)}(?=${token.slice(-1)})`, 'giu');
    const whole = (this.#tail + text).replace(copies, '$& ');
    const printed = whole.slice(this.#tail.length);
    this.#tail = whole.slice(-(token.length - 1));
    return printed;
  }
}

function withoutControls(text: string): string {
  return text.replace(CONTROL, (match, parameters?: string, intermediates?: string, final?: string) => {
    const first = match.charCodeAt(0);
    if (final === 'm' && intermediates === '' && showsText(parameters ?? '')) return match;
    if (match.startsWith('\r') || first === 0x0b || first === 0x0c || first === 0x85) return '\n';
    if (first === 0x2028 || first === 0x2029) return '\n';
    return first > 0x2000 ? `<U+${first.toString(16).toUpperCase()}>` : '';
  });
}

/** False for "Select Graphic Rendition" parameters that conceal text (8), or that are no plain numbers. */
function showsText(parameters: string): boolean {
  if (!/^[0-9;:]*$/.test(parameters)) return false;
  const codes = parameters.split(';');
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i] ?? '';
    if (/^0*8$/.test(code)) return false;
    if (/^[345]8$/.test(code)) i += codes[i + 1] === '2' ? 4 : 2;
  }
  return true;
}

function contextOf(line: string): string {
  if (ENDS_INDENTED.test(line)) return '';
  if (ENDS_ONE_COLON.test(line)) return ':';
  if (ENDS_TWO_HASHES.test(line)) return 'x##';
  return ENDS_ONE_HASH.test(line) ? 'x#' : 'x';
}
