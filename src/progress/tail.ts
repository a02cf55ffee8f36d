import type {SourceExcerpt} from '../base/trace.ts';
import {stripErrorPrefixes} from './failure.ts';
import type {Fold} from './fold.ts';
import {countOf} from './numbers.ts';
import type {LineReader} from './source.ts';
import {cut} from './text.ts';

type ExcerptLine = SourceExcerpt['lines'][number];

const rule = '--------------------';
const excerptHead = /^(.+):(\d{1,9})$/;
const excerptLine = /^ *(\d{1,9}) \| (>>>| {3})(?: (.*))?$/s;
const maxExcerptLines = 1000;

// `error: …` is buildctl's (handleErr in cmd/buildctl/main.go), `ERROR: …` that of docker buildx.
const errorHead = /^(?:error|ERROR): (.*)$/s;
const maxErrorLines = 100;
/** What cannot be a further line of an error: logger lines, a runner's commands, headers of stack traces. */
const notError = /^(?:$|time="|##\[|::|\d+ \S+ .*\bbuild(?:ctl|kitd|x)\b)/;
const stackFrame = /^\t\S.*:\d+$/;
/** With `--debug`, releases before v0.9.0 print what wraps an error on lines of its own. */
const wrapper = /^failed to (?:solve|receive status|get status)$/;

/** Reads what buildctl prints after a build's progress: the source excerpt (v0.8.0 on) and the final error. */
export class TailReader implements LineReader {
  private readonly fold: Fold;
  private previous = '';
  private excerpt: {file: string; line: number; lines: ExcerptLine[]} | undefined;
  private errorLines: string[] | undefined;

  constructor(fold: Fold) {
    this.fold = fold;
  }

  /** One line that is not progress. */
  line(text: string): void {
    const {previous} = this;
    this.previous = text;
    if (this.excerpt !== undefined && this.inExcerpt(text)) return;
    const head = errorHead.exec(text)?.[1];
    if (head !== undefined) {
      this.finishError();
      this.errorLines = [head];
      return;
    }
    if (this.errorLines !== undefined && this.inError(text)) return;
    if (text !== rule) return;
    const place = excerptHead.exec(previous);
    if (place === null) return;
    const [, file = '', line] = place;
    this.excerpt = {file: cut(file, 1024), line: countOf(line), lines: []};
  }

  cutLine(text: string): void {
    this.line(text);
  }

  end(): void {
    this.flush();
  }

  /** Progress goes on: what stood before it is not how this build ended. */
  progress(): void {
    this.previous = '';
    this.excerpt = undefined;
    this.errorLines = undefined;
    this.fold.goesOn();
  }

  /** There is no more text, or none that belongs to what came before. */
  flush(): void {
    this.previous = '';
    this.finishExcerpt();
    this.finishError();
  }

  private inExcerpt(text: string): boolean {
    const parts = excerptLine.exec(text);
    if (parts === null || this.excerpt === undefined) {
      this.finishExcerpt();
      return text === rule;
    }
    const [, number, mark, source = ''] = parts;
    if (this.excerpt.lines.length >= maxExcerptLines) return true;
    const {lineChars} = this.fold.limits;
    this.excerpt.lines.push({
      number: countOf(number),
      text: cut(source, lineChars),
      marked: mark === '>>>',
    });
    return true;
  }

  private inError(text: string): boolean {
    const lines = this.errorLines;
    if (lines === undefined) return false;
    if (stackFrame.test(text)) {
      // The line before names the function.
      if (lines.length > 1) lines.pop();
      this.finishError();
      return true;
    }
    if (notError.test(text) || lines.length >= maxErrorLines) {
      this.finishError();
      return false;
    }
    lines.push(cut(text, this.fold.limits.lineChars));
    return true;
  }

  private finishExcerpt(): void {
    const {excerpt} = this;
    this.excerpt = undefined;
    if (excerpt !== undefined && excerpt.lines.length > 0) this.fold.excerpt(excerpt);
  }

  private finishError(): void {
    const lines = this.errorLines;
    this.errorLines = undefined;
    if (lines === undefined) return;
    while (lines.length > 1 && wrapper.test(lines.at(-1) ?? '')) lines.pop();
    this.fold.error(stripErrorPrefixes(lines.join('\n')));
  }
}
