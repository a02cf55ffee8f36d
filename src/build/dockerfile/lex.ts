/** Word splitting as `frontend/dockerfile/shell/lex.go` of BuildKit does it, with all variables unset and left alone. */

export interface LexOptions {
  /** Keep quotes in the words. */
  readonly rawQuotes: boolean;
  /** Keep escape characters in the words. */
  readonly rawEscapes: boolean;
}

/**
 * Splits a line into shell words. `$name` and `${...}` stay as they are written.
 * Gives undefined where BuildKit reports a syntax error (a quote or brace without its end).
 */
export function shellWords(line: string, options: LexOptions): string[] | undefined {
  try {
    return new Lexer(line, options).words();
  } catch (error) {
    if (error instanceof LexError) return undefined;
    throw error;
  }
}

class LexError extends Error {}

const SPACE = /\s/;

class Lexer {
  private readonly chars: readonly string[];
  private readonly options: LexOptions;
  private at = 0;

  constructor(line: string, options: LexOptions) {
    this.chars = [...line];
    this.options = options;
  }

  words(): string[] {
    const words: string[] = [];
    let word = '';
    const endWord = (): void => {
      if (word !== '') words.push(word);
      word = '';
    };
    while (this.at < this.chars.length) {
      const char = this.peek();
      if (SPACE.test(char)) {
        this.at++;
        endWord();
        continue;
      }
      const piece = this.piece();
      if (char !== '$') {
        word += piece;
        continue;
      }
      for (const part of piece.split(/(\s)/)) {
        if (SPACE.test(part)) endWord();
        else word += part;
      }
    }
    endWord();
    return words;
  }

  private peek(): string {
    return this.chars[this.at] ?? '';
  }

  private next(): string {
    return this.chars[this.at++] ?? '';
  }

  /** What the character at the cursor stands for; the cursor moves behind it. */
  private piece(): string {
    const char = this.peek();
    if (char === "'") return this.singleQuoted();
    if (char === '"') return this.doubleQuoted();
    if (char === '$') return this.dollar();
    if (char === '<') return this.less();
    this.at++;
    if (char !== '\\') return char;
    return (this.options.rawEscapes ? char : '') + this.next();
  }

  /** Everything up to `stop`, which is taken away. */
  private until(stop: string): string {
    let text = '';
    while (this.at < this.chars.length) {
      if (this.peek() === stop) {
        this.at++;
        return text;
      }
      text += this.piece();
    }
    throw new LexError();
  }

  /** A heredoc's name may follow after spaces: `<< EOF` is one word. */
  private less(): string {
    this.at++;
    if (this.peek() !== '<') return '<';
    this.at++;
    let text = '<<';
    while (/[ \t]/.test(this.peek())) text += this.next();
    return text;
  }

  private singleQuoted(): string {
    const end = this.chars.indexOf("'", this.at + 1);
    if (end === -1) throw new LexError();
    const body = this.chars.slice(this.at + 1, end).join('');
    this.at = end + 1;
    return this.quoted(body, "'");
  }

  private doubleQuoted(): string {
    this.at++;
    let body = '';
    while (this.at < this.chars.length) {
      if (this.peek() === '"') {
        this.at++;
        return this.quoted(body, '"');
      }
      body += this.peek() === '$' ? this.dollar() : this.insideDoubleQuotes();
    }
    throw new LexError();
  }

  private insideDoubleQuotes(): string {
    const char = this.next();
    if (char !== '\\') return char;
    const escapes = /["$\\]/.test(this.peek());
    const kept = this.options.rawEscapes || !escapes ? char : '';
    return escapes ? kept + this.next() : kept;
  }

  private dollar(): string {
    const start = this.at++;
    if (this.peek() !== '{') {
      this.name();
      return this.since(start);
    }
    this.at++;
    if (/^[{}:]?$/.test(this.peek())) throw new LexError();
    this.name();
    let modifier = this.next();
    if (modifier === '}') return this.since(start);
    const colon = modifier === ':';
    if (colon) modifier = this.next();
    if (modifier === '/' && !colon) {
      if (this.peek() === '/') this.at++;
      this.until('/');
    } else if (colon ? /[#%]/.test(modifier) : !/[-+?#%]/.test(modifier)) {
      throw new LexError();
    }
    this.until('}');
    return this.since(start);
  }

  private name(): void {
    if (/[@*#?\-$!]/.test(this.peek())) {
      this.at++;
      return;
    }
    const body = /\d/.test(this.peek()) ? /\d/ : /[\p{L}\p{Nd}_]/u;
    while (body.test(this.peek())) this.at++;
  }

  private since(start: number): string {
    return this.chars.slice(start, this.at).join('');
  }

  private quoted(body: string, quote: string): string {
    return this.options.rawQuotes ? quote + body + quote : body;
  }
}
