import type {Fold} from './fold.ts';
import {goUnquote} from './go-quote.ts';
import {parseStatus, secondsLength, stepPrefixLength} from './plain-line.ts';
import type {LineReader} from './source.ts';
import type {StepRecord, VertexState} from './step.ts';
import {TailReader} from './tail.ts';

const keys = ['digest', 'name', 'started', 'completed', 'duration', 'cached', 'error'] as const;
type Key = (typeof keys)[number];
interface VertexEvent {
  readonly key: Key;
  readonly value: string;
}

const eventWidth = 13;
const eventLine = /^ {3,8}([a-z]+): (.*)$/s;

/** `      started: 2026-…`: the key stands right-aligned in 13 columns (triggerVertexEvent in display.go). */
export function parseVertexEvent(text: string): VertexEvent | undefined {
  const found = eventLine.exec(text);
  const key = keys.find(it => it === found?.[1]);
  if (key === undefined || text.indexOf(':') !== eventWidth - 1) return undefined;
  return {key, value: found?.[2] ?? ''};
}

interface Block {
  readonly number: number;
  readonly record: StepRecord | undefined;
  vertex: VertexState;
}

const unstarted: VertexState = {
  name: '',
  started: undefined,
  completed: undefined,
  cached: false,
  error: '',
};

/**
 * The plain log of v0.3.0–v0.4.0 (util/progress/progressui/{printer,display}.go of v0.3.0): blocks as in later
 * releases, but a step's facts are lines of their own and there are no `DONE`, `CACHED`, `ERROR`. `#N ...` has the
 * number of the next step, so numbers are believed in headers only.
 */
export class PlainV03Reader implements LineReader {
  private readonly fold: Fold;
  private readonly tail: TailReader;
  private readonly vertexes = new Map<number, VertexState>();
  private block: Block | undefined;
  private afterBlank = true;
  /** A log line that ends like `completed:`: the `duration:` that must follow tells whether it is one. */
  private glued: {atSeconds: number; whole: string; log: string; event: VertexEvent} | undefined;

  constructor(fold: Fold) {
    this.fold = fold;
    this.tail = new TailReader(fold);
  }

  line(text: string): void {
    const prefix = stepPrefixLength(text);
    if (prefix > 0) {
      this.stepLine(text, prefix);
      return;
    }
    this.settleGlue(false);
    this.afterBlank = text === '';
    this.tail.line(text);
  }

  cutLine(text: string): void {
    this.line(text);
  }

  end(): void {
    this.settleGlue(false);
    this.tail.flush();
  }

  private stepLine(text: string, prefix: number): void {
    const number = Number(text.slice(1, prefix - 1));
    const rest = text.slice(prefix);
    const {block} = this;
    const event = parseVertexEvent(rest);
    this.settleGlue(event?.key === 'duration');
    if (rest === '...') block?.record?.pause();
    else if (block === undefined && event !== undefined) {
      // The beginning of the log is missing.
      this.header(number, '');
      if (this.block) this.event(this.block, event);
    } else if (block === undefined || this.afterBlank || block.number !== number) this.header(number, rest);
    else if (event !== undefined) this.event(block, event);
    else this.bodyLine(block, text, prefix);
    this.afterBlank = false;
  }

  private header(number: number, name: string): void {
    this.tail.progress();
    const record = this.fold.step(`#${number}`, name);
    if (record !== undefined) record.rank = number;
    // No more is kept of steps that are too many.
    const vertex = record === undefined ? unstarted : (this.vertexes.get(number) ?? unstarted);
    this.block = {number, record, vertex};
  }

  private event(block: Block, event: VertexEvent): void {
    const {record} = block;
    if (record === undefined) return;
    if (event.key === 'digest') record.digest = event.value;
    block.vertex = this.changed(block.vertex, event);
    this.vertexes.set(block.number, block.vertex);
    if (record.applyVertex(block.vertex)) this.fold.firstEventMoved();
  }

  private changed(vertex: VertexState, {key, value}: VertexEvent): VertexState {
    const {timeline} = this.fold;
    switch (key) {
      case 'name':
        return {...vertex, name: goUnquote(value) ?? value};
      case 'started':
        return {...vertex, started: timeline.parse(value) ?? vertex.started, completed: undefined};
      case 'completed':
        return {...vertex, completed: timeline.parse(value) ?? vertex.completed};
      case 'cached':
        return {...vertex, cached: value === 'true'};
      case 'error':
        return {...vertex, error: goUnquote(value) ?? value};
      default:
        return vertex;
    }
  }

  private bodyLine(block: Block, text: string, prefix: number): void {
    const secondsChars = secondsLength(text, prefix);
    const {record} = block;
    if (secondsChars === 0) {
      if (text.length > prefix) record?.status(parseStatus(text.slice(prefix)));
      return;
    }
    const atSeconds = Number(text.slice(prefix, prefix + secondsChars));
    const whole = text.slice(prefix + secondsChars);
    const at = whole.lastIndexOf(`#${block.number}  `);
    const event = at < 0 ? undefined : parseVertexEvent(whole.slice(at + `#${block.number} `.length));
    const isGlue = event?.key === 'completed' && this.fold.timeline.parse(event.value) !== undefined;
    if (isGlue) this.glued = {atSeconds, whole, log: whole.slice(0, at), event};
    else record?.repeatableLine(atSeconds, whole);
  }

  /** An unfinished log line has the next event behind it, and is printed again with its end, if it gets one. */
  private settleGlue(isGlue: boolean): void {
    const {glued, block} = this;
    this.glued = undefined;
    if (glued === undefined || block === undefined) return;
    block.record?.repeatableLine(glued.atSeconds, isGlue ? glued.log : glued.whole);
    if (!isGlue) return;
    block.record?.pause();
    this.event(block, glued.event);
  }
}
