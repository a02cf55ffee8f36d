import {blockRule, ErrorBlock, sameName} from './error-block.ts';
import type {Fold} from './fold.ts';
import {
  parseEnd,
  parseGluedEnd,
  parseStatus,
  type StepEnd,
  secondsLength,
  stepPrefixLength,
} from './plain-line.ts';
import type {LineReader} from './source.ts';
import type {StepRecord} from './step.ts';
import {TailReader} from './tail.ts';
import {parseLintLine} from './warnings.ts';

const digestOnly = /^sha256:[0-9a-f]{64}$/;
const warning = /^WARN: (.*)$/s;
const truncated = '...';
const maxErrorLines = 100;
/** buildctl's final error, and what its logger writes between (`--debug`). */
const endsError = /^(?:error: |time="[^"]*" level=)/;
const lastWords = /error: failed to (?:receive status|solve): /;

/** The block that is open: lines belong to its step. */
interface Block {
  readonly number: number;
  /** Undefined when there are more steps than are kept. */
  readonly record: StepRecord | undefined;
  /** Only the line after the header can be the digest. */
  afterHeader: boolean;
  /** It has had no `DONE`, `CACHED`, … and no `...`: the next header is of another step. */
  open: boolean;
}

/**
 * The plain log of v0.5.0 and later (textMux in util/progress/progressui/printer.go): blocks that start with an
 * empty line and `#N NAME`, and whose lines all start with `#N `. Log text stands behind `#N SECONDS `, so it is
 * told from BuildKit's own lines whatever it looks like; v0.10.0–v0.11.6 may write `#0` for N in front of it.
 */
export class PlainReader implements LineReader {
  private readonly fold: Fold;
  private readonly tail: TailReader;
  private block: Block | undefined;
  private afterBlank = true;
  private readonly errorBlock: ErrorBlock;
  private hasBegun = false;
  /** A log line that ends like a step: the next line tells whether it did. */
  private glued: {readonly atSeconds: number; readonly whole: string; log: string; end: StepEnd} | undefined;
  private openError: {readonly record: StepRecord; readonly lines: string[]} | undefined;
  /** The log text and time of the line before, when it was one. */
  private lastLog = '';
  private lastLogSeconds = 0;

  constructor(fold: Fold) {
    this.fold = fold;
    this.tail = new TailReader(fold);
    this.errorBlock = new ErrorBlock(fold);
  }

  line(text: string): void {
    const prefix = stepPrefixLength(text);
    this.lastLog = '';
    if (this.errorBlock.isOpen && this.inErrorBlock(text, prefix)) return;
    if (prefix > 0) this.stepLine(text, prefix);
    else this.otherLine(text);
  }

  cutLine(text: string): void {
    this.line(text);
  }

  end(): void {
    this.settleGlue(true);
    this.settleBrokenLog();
    this.tail.flush();
  }

  private stepLine(text: string, prefix: number): void {
    const number = Number(text.slice(1, prefix - 1));
    const {block} = this;
    const isLog = secondsLength(text, prefix);
    this.openError = undefined;
    if (this.glued !== undefined) this.settleGlue(block?.number !== number && number !== 0);
    const isOwn = number === block?.number || (number === 0 && isLog > 0);
    // Runners cut lines at carriage returns, so an empty line can come out of a log that goes on.
    if (block !== undefined && isOwn && (block.open || !this.afterBlank)) {
      if (isLog > 0) this.logLine(block, text, prefix, isLog);
      else this.bodyLine(block, text.slice(prefix));
    } else if (number === 0) {
      if (isLog === 0 && (block === undefined || this.afterBlank)) this.description();
    } else if (!this.hasBegun && isBody(text.slice(prefix))) {
      // The beginning of the log is missing, and with it the step's name.
      this.header(number, '');
      this.stepLine(text, prefix);
    } else if (this.afterBlank || !this.endsOther(number, text.slice(prefix))) {
      this.header(number, text.slice(prefix));
    }
    this.afterBlank = false;
  }

  /** An end without its header: from a log that somebody has filtered. */
  private endsOther(number: number, rest: string): boolean {
    const record = this.fold.find(`#${number}`);
    const end = parseEnd(rest);
    if (record === undefined || end === undefined) return rest === truncated;
    this.endStep({number, record, afterHeader: false, open: false}, end);
    return true;
  }

  /** `#0 building with "default" instance …`: docker buildx starts a build. */
  private description(): void {
    this.tail.progress();
    this.block = undefined;
    this.fold.restart();
  }

  private header(number: number, name: string): void {
    this.hasBegun = true;
    this.tail.progress();
    const key = `#${number}`;
    const known = this.fold.find(key);
    // A log of several builds counts from 1 again; a trace tells one build, the last.
    const isOther = known !== undefined && known.currentName !== '' && !sameName(known.currentName, name);
    if (number === 1 && isOther) this.fold.restart();
    const record = this.fold.step(key, name);
    if (record !== undefined && record === known && !name.endsWith(truncated)) record.rename(name);
    record?.print({state: 'running'});
    this.block = {number, record, afterHeader: true, open: true};
  }

  private bodyLine(block: Block, rest: string): void {
    const {record, afterHeader} = block;
    block.afterHeader = false;
    if (afterHeader && digestOnly.test(rest)) {
      if (record !== undefined) record.digest = rest;
      return;
    }
    if (rest === truncated) {
      block.open = false;
      record?.pause();
      return;
    }
    const end = parseEnd(rest);
    if (end !== undefined) {
      this.endStep(block, end);
      return;
    }
    const message = warning.exec(rest)?.[1];
    if (message !== undefined) {
      const line = parseLintLine(message);
      this.fold.warn(record, line === undefined ? {message} : {message, line});
    } else if (rest !== '') {
      record?.status(parseStatus(rest));
    }
  }

  private endStep(block: Block, end: StepEnd): void {
    block.open = false;
    const {record} = block;
    if (record === undefined) return;
    record.print(end);
    if (end.state === 'failed') this.openError = {record, lines: [end.error]};
  }

  private logLine(block: Block, text: string, prefix: number, secondsChars: number): void {
    block.afterHeader = false;
    const atSeconds = Number(text.slice(prefix, prefix + secondsChars));
    const log = text.slice(prefix + secondsChars);
    const glued = parseGluedEnd(log, block.number);
    if (glued !== undefined) this.glued = {atSeconds, whole: log, ...glued};
    else block.record?.repeatableLine(atSeconds, log);
    this.lastLog = log;
    this.lastLogSeconds = atSeconds;
  }

  /**
   * When the daemon goes away in the middle of a log line, buildctl's last words are glued to it. A step that is
   * still open at the end, with its log as the last line, is the only place where that can be.
   */
  private settleBrokenLog(): void {
    const at = this.lastLog.search(lastWords);
    if (at < 0 || this.block?.open !== true) return;
    this.block.record?.replaceLine(this.lastLogSeconds, this.lastLog.slice(0, at));
    this.tail.line(this.lastLog.slice(at));
  }

  /** @param blockEnded the step has no more lines, so the words at the end of its log were its end. */
  private settleGlue(blockEnded: boolean): void {
    const {glued, block} = this;
    this.glued = undefined;
    if (glued === undefined || block === undefined) return;
    block.record?.repeatableLine(glued.atSeconds, blockEnded ? glued.log : glued.whole);
    if (blockEnded) this.endStep(block, glued.end);
  }

  private otherLine(text: string): void {
    this.settleGlue(true);
    if (text === '') {
      this.afterBlank = true;
      this.openError = undefined;
      this.tail.line(text);
    } else if (text === blockRule) {
      this.errorBlock.open();
      this.openError = undefined;
      this.tail.flush();
    } else if (this.openError !== undefined && !endsError.test(text)) {
      this.errorContinues(text);
    } else {
      this.openError = undefined;
      this.tail.line(text);
    }
  }

  private inErrorBlock(text: string, prefix: number): boolean {
    const place = this.errorBlock.line(text, prefix);
    if (place === 'over') this.afterBlank = true;
    return place === 'inside' || text === blockRule;
  }

  /** Errors of commands with line feeds in them (here-documents of external frontends up to v0.8). */
  private errorContinues(text: string): void {
    const open = this.openError;
    if (open === undefined || open.lines.length >= maxErrorLines) return;
    open.lines.push(text);
    open.record.print({state: 'failed', error: open.lines.join('\n')});
  }
}

/** A line that cannot be the header of a step: its digest, its log, its end, or a status that has ended. */
function isBody(rest: string): boolean {
  if (digestOnly.test(rest) || secondsLength(rest, 0) > 0 || parseEnd(rest) !== undefined) return true;
  return rest === truncated || (!rest.startsWith('[') && parseStatus(rest).done);
}
