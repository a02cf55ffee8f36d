import type {LogLine, StepLogs} from '../base/trace.ts';
import type {ProgressLimits} from './limits.ts';
import {cut, detached, withoutCutCharacter} from './text.ts';

/** Head and tail of a log; what lies between is only counted. */
export class LogBuffer {
  private readonly limits: ProgressLimits;
  private readonly headChars: number;
  private readonly tailChars: number;
  private readonly head: LogLine[] = [];
  private headUsed = 0;
  private headFull = false;
  private tail: LogLine[] = [];
  private tailStart = 0;
  private tailUsed = 0;
  private omittedLines = 0;

  constructor(limits: ProgressLimits, small: boolean) {
    this.limits = limits;
    this.headChars = small ? limits.smallLogChars : limits.headChars;
    this.tailChars = small ? limits.smallLogChars : limits.tailChars;
  }

  push(stream: LogLine['stream'], atSeconds: number | undefined, wholeText: string): void {
    const text = detached(cut(wholeText, this.limits.lineChars));
    const line = atSeconds === undefined ? {stream, text} : {stream, atSeconds, text};
    if (!this.headFull && this.head.length < this.limits.headLines) {
      if (this.headUsed + text.length <= this.headChars) {
        this.headUsed += text.length;
        this.head.push(line);
        return;
      }
    }
    this.headFull = true;
    this.tail.push(line);
    this.tailUsed += text.length;
    this.trim();
  }

  /** True when the last line kept has this time, is not empty, and `text` starts with it. */
  lastIsStartOf(atSeconds: number, text: string): boolean {
    const last = this.tail.length > this.tailStart ? this.tail.at(-1) : this.head.at(-1);
    if (last === undefined || last.atSeconds !== atSeconds || last.text === '') return false;
    const wasCut = last.text.length > this.limits.lineChars;
    // What was printed can end within a character.
    const start = withoutCutCharacter(wasCut ? last.text.slice(0, -1) : last.text);
    return text.startsWith(start);
  }

  replaceLast(stream: LogLine['stream'], atSeconds: number, text: string): void {
    if (this.tail.length > this.tailStart) {
      this.tailUsed -= this.tail.pop()?.text.length ?? 0;
    } else {
      this.headUsed -= this.head.pop()?.text.length ?? 0;
      this.headFull = false;
    }
    this.push(stream, atSeconds, text);
  }

  /** @param unfinished lines whose end has not come yet. */
  snapshot(unfinished: readonly LogLine[]): StepLogs {
    const tail = this.tail.slice(this.tailStart);
    if (unfinished.length === 0) return {head: [...this.head], tail, omittedLines: this.omittedLines};
    return this.headFull
      ? {head: [...this.head], tail: [...tail, ...unfinished], omittedLines: this.omittedLines}
      : {head: [...this.head, ...unfinished], tail, omittedLines: this.omittedLines};
  }

  private trim(): void {
    const {tailLines} = this.limits;
    while (this.tail.length - this.tailStart > tailLines || this.tailUsed > this.tailChars) {
      const dropped = this.tail[this.tailStart];
      if (dropped === undefined) return;
      this.tailUsed -= dropped.text.length;
      this.tailStart += 1;
      this.omittedLines += 1;
    }
    // Dropped lines are let go in batches: shifting an array by one costs its length.
    if (this.tailStart > tailLines) {
      this.tail = this.tail.slice(this.tailStart);
      this.tailStart = 0;
    }
  }
}
