import {blockRule} from './error-block.ts';
import type {Fold} from './fold.ts';
import {JsonReader} from './json.ts';
import {PlainReader} from './plain.ts';
import {stepPrefixLength} from './plain-line.ts';
import {PlainV03Reader, parseVertexEvent} from './plain-v03.ts';
import type {LineReader} from './source.ts';
import {TailReader} from './tail.ts';

const solveStatusLine = /^\{"(?:[vV]ertexes|[sS]tatuses|[lL]ogs|[wW]arnings)":/;
const solveStatusKey = /^ {2}"(?:vertexes|statuses|logs|warnings)": \[$/;

type Decide = (first: string, next: string) => LineReader | undefined;

/** Passes lines on to a reader that it chooses by the first line that tells, and the one behind that. */
class Chooser implements LineReader {
  private chosen: LineReader;
  private decided = false;
  private held: string | undefined;
  private readonly isTelling: (line: string) => boolean;
  private readonly decide: Decide;

  constructor(noise: LineReader, isTelling: (line: string) => boolean, decide: Decide) {
    this.chosen = noise;
    this.isTelling = isTelling;
    this.decide = decide;
  }

  line(text: string): void {
    if (this.decided) {
      this.chosen.line(text);
      return;
    }
    const {held} = this;
    if (held !== undefined) this.release(held, text);
    if (!this.decided && this.isTelling(text)) this.held = text;
    else this.chosen.line(text);
  }

  cutLine(text: string): void {
    if (this.decided) this.chosen.cutLine(text);
    else this.line(text);
  }

  end(): void {
    if (this.held !== undefined) this.release(this.held, '');
    this.chosen.end();
  }

  private release(held: string, next: string): void {
    this.held = undefined;
    const reader = this.decide(held, next);
    if (reader !== undefined) {
      this.chosen.end();
      this.chosen = reader;
      this.decided = true;
    }
    this.chosen.line(held);
  }
}

/** A plain log of any release: that of v0.3 and v0.4 shows itself by `digest:` under its first header, or what follows there. */
export function plainReader(fold: Fold): LineReader {
  return new Chooser(
    new TailReader(fold),
    line => stepPrefixLength(line) > 0 || line === blockRule,
    (first, next) => {
      if (first === blockRule) return isErrorBlock(next) ? new PlainReader(fold) : undefined;
      const isV03 = [first, next].some(line => parseVertexEvent(line.slice(stepPrefixLength(first))));
      return isV03 ? new PlainV03Reader(fold) : new PlainReader(fold);
    },
  );
}

/** Of a log whose beginning is missing, the block of the failed step can be all that is left. */
function isErrorBlock(next: string): boolean {
  return next.startsWith(' > ');
}

/** Progress of any form, with anything before it. */
export function anyReader(fold: Fold): LineReader {
  return new Chooser(
    new TailReader(fold),
    line => stepPrefixLength(line) > 0 || line === '{' || line === blockRule || solveStatusLine.test(line),
    (first, next) => {
      if (first === blockRule) return isErrorBlock(next) ? new PlainReader(fold) : undefined;
      if (stepPrefixLength(first) > 0) return plainReader(fold);
      return first !== '{' || solveStatusKey.test(next) ? new JsonReader(fold) : undefined;
    },
  );
}
