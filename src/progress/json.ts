import type {Fold} from './fold.ts';
import {SolveStatusFold} from './solve-status.ts';
import type {LineReader} from './source.ts';
import {TailReader} from './tail.ts';

/**
 * Reads JSON objects one a line (`--trace` of every release, `--progress=rawjson` from v0.14.0) or indented over
 * many lines (rawjson of v0.13), and the plain text before, between and after them. In an indented object only
 * the first and the last line start at the margin, and JSON strings hold no line feeds.
 */
export class JsonReader implements LineReader {
  private readonly status: SolveStatusFold;
  private readonly tail: TailReader;
  private readonly maxChars: number;
  private parts: string[] = [];
  private partChars = 0;

  constructor(fold: Fold) {
    this.status = new SolveStatusFold(fold);
    this.tail = new TailReader(fold);
    this.maxChars = fold.limits.jsonBytes;
  }

  line(text: string): void {
    if (this.parts.length > 0 && this.within(text)) return;
    if (text === '{') {
      this.parts = [text];
      this.partChars = 1;
    } else if (text.startsWith('{')) {
      this.object(text);
    } else {
      this.tail.line(text);
    }
  }

  /** An object that is too long to be kept. */
  cutLine(): void {
    this.parts = [];
  }

  end(): void {
    this.tail.flush();
  }

  private within(text: string): boolean {
    const isLast = text === '}';
    // An object that the end of its writer cut off is followed by text at the margin.
    if (!isLast && !text.startsWith(' ')) {
      this.parts = [];
      return false;
    }
    this.partChars += text.length;
    if (this.partChars <= this.maxChars) this.parts.push(text);
    if (!isLast) return true;
    if (this.partChars <= this.maxChars) this.object(this.parts.join(''));
    this.parts = [];
    return true;
  }

  private object(text: string): void {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      return;
    }
    this.tail.progress();
    this.status.add(value);
  }
}
