import type {Interval, LogLine, Step, StepState, StepStatus} from '../base/trace.ts';
import type {ProgressLimits} from './limits.ts';
import {LineSplitter} from './lines.ts';
import {LogBuffer} from './logs.ts';
import {isCancellation, parseExitCode, parseStepName} from './names.ts';
import {roundSeconds} from './numbers.ts';
import {cut, detached} from './text.ts';
import type {Timeline} from './timeline.ts';

/** A vertex as the JSON forms and the plain dialect of v0.3 tell it; times are seconds on the timeline. */
export interface VertexState {
  readonly name: string;
  readonly started: number | undefined;
  readonly completed: number | undefined;
  readonly cached: boolean;
  readonly error: string;
}

/** What a plain log says of a step's state. */
export type PrintedState =
  | {readonly state: 'running' | 'cached' | 'canceled'}
  | {readonly state: 'done'; readonly seconds?: number}
  | {readonly state: 'failed'; readonly error: string};

export interface StepSetup {
  readonly limits: ProgressLimits;
  readonly timeline: Timeline;
  readonly smallLog: boolean;
  readonly onShown: (record: StepRecord) => void;
}

type Span = {started: number; completed: number | undefined};

/** One step while it is read. */
export class StepRecord {
  digest: string | undefined;
  /** Order among steps that started at the same time, where the form tells. */
  rank = 0;
  private readonly key: string;
  private readonly limits: ProgressLimits;
  private readonly timeline: Timeline;
  private name: string;
  private state: StepState = 'running';
  private cached = false;
  private error = '';
  private printedSeconds: number | undefined;
  private readonly spans = new Map<number, Span>();
  private readonly log: LogBuffer;
  private readonly streams = new Map<LogLine['stream'], StreamRest>();
  private readonly statuses = new Map<string, StepStatus>();
  private shown = false;
  private paused = false;
  private made: Step | undefined;
  private readonly onShown: (record: StepRecord) => void;

  /** @param setup.onShown called once, when the step starts or first has something to show, as BuildKit's printers do. */
  constructor(key: string, name: string, setup: StepSetup) {
    this.key = key;
    this.limits = setup.limits;
    this.timeline = setup.timeline;
    this.onShown = setup.onShown;
    this.name = detached(cut(name, this.limits.textChars));
    this.log = new LogBuffer(this.limits, setup.smallLog);
  }

  get id(): string {
    return this.digest ?? this.key;
  }

  get currentName(): string {
    return this.name;
  }

  get currentState(): StepState {
    return this.state;
  }

  rename(name: string): void {
    this.name = detached(cut(name, this.limits.textChars));
    this.made = undefined;
  }

  /** A vertex as it is now; each change repeats it whole. True when the build's first event moved. */
  applyVertex(vertex: VertexState): boolean {
    // A vertex that is announced again must not undo what it did (trace.update in progressui/display.go).
    if (vertex.started === undefined && this.spans.size > 0) return false;
    if (vertex.name !== '') this.rename(vertex.name);
    this.cached = vertex.cached;
    this.error = vertex.error;
    if (vertex.started === undefined) return false;
    this.show();
    if (this.spans.has(vertex.started) || this.spans.size < this.limits.intervalsPerStep) {
      this.spans.set(vertex.started, {started: vertex.started, completed: vertex.completed});
    }
    this.state = this.spanState();
    return this.timeline.noteStart(vertex.started);
  }

  /** A step's state as a plain log prints it. Its seconds count all intervals, before v0.10.0 the last one. */
  print(printed: PrintedState): void {
    this.show();
    this.state = printed.state;
    if (printed.state === 'running') return;
    this.cached = printed.state === 'cached';
    this.error = printed.state === 'failed' ? detached(cut(printed.error, this.limits.textChars)) : '';
    if (printed.state === 'done' && printed.seconds !== undefined) this.printedSeconds = printed.seconds;
  }

  /** A printer leaves this step; when it comes back it repeats a log line that had no end yet. */
  pause(): void {
    this.paused = true;
  }

  /** One line of log, which may repeat or go on with the last one before a `pause`. */
  repeatableLine(atSeconds: number, text: string): void {
    this.show();
    const repeats = this.paused && this.log.lastIsStartOf(atSeconds, text);
    this.paused = false;
    if (repeats) this.log.replaceLast('unknown', atSeconds, text);
    else this.log.push('unknown', atSeconds, text);
  }

  /** The last line of log was not what it seemed. */
  replaceLine(atSeconds: number, text: string): void {
    this.show();
    this.log.replaceLast('unknown', atSeconds, text);
  }

  /** Bytes of log, cut anywhere; `timestamp` in seconds on the timeline. */
  bytes(stream: LogLine['stream'], timestamp: number | undefined, data: Uint8Array): void {
    if (data.length === 0) return;
    this.show();
    const latest = Math.max(...this.spans.keys());
    const known = timestamp !== undefined && Number.isFinite(latest);
    let rest = this.streams.get(stream);
    if (rest === undefined) {
      rest = new StreamRest(this.limits.lineChars * 4, (at, text) => this.log.push(stream, at, text));
      this.streams.set(stream, rest);
    }
    rest.write(data, known ? roundSeconds(timestamp - latest) : undefined);
  }

  status(status: StepStatus): void {
    if (!this.statuses.has(status.id) && this.statuses.size >= this.limits.statusesPerStep) return;
    this.show();
    const id = detached(cut(status.id, this.limits.textChars));
    this.statuses.set(id, {...status, id});
  }

  /** Forgets the made snapshot: the build's first event has moved. */
  touch(): void {
    this.made = undefined;
  }

  snapshot(): Step {
    this.made ??= this.make();
    return this.made;
  }

  private show(): void {
    if (!this.shown) this.onShown(this);
    this.shown = true;
    this.made = undefined;
  }

  private spanState(): StepState {
    const latest = Math.max(...this.spans.keys());
    if (this.spans.get(latest)?.completed === undefined) return 'running';
    if (this.error !== '') return isCancellation(this.error) ? 'canceled' : 'failed';
    return this.cached ? 'cached' : 'done';
  }

  private make(): Step {
    const intervals = mergeSpans([...this.spans.values()]);
    const completed = intervals.filter(span => span.completed !== undefined);
    const sum = completed.reduce((seconds, span) => seconds + ((span.completed ?? 0) - span.started), 0);
    const seconds = completed.length > 0 ? roundSeconds(sum) : this.printedSeconds;
    const error = this.state === 'failed' ? this.error : '';
    const exitCode = parseExitCode(error);
    return Object.freeze({
      id: this.id,
      name: this.name,
      ...parseStepName(this.name),
      state: this.state,
      cached: this.cached,
      intervals: intervals.map(span => this.interval(span)),
      ...(seconds === undefined ? {} : {seconds}),
      ...(error === '' ? {} : {error: cut(error, this.limits.textChars)}),
      ...(exitCode === undefined ? {} : {exitCode}),
      logs: this.log.snapshot(
        [...this.streams].flatMap(([stream, rest]) => rest.lines(stream, this.limits.lineChars)),
      ),
      statuses: [...this.statuses.values()],
    });
  }

  private interval(span: Span): Interval {
    const startedSeconds = this.timeline.sinceFirst(span.started);
    if (span.completed === undefined) return {startedSeconds};
    return {startedSeconds, completedSeconds: this.timeline.sinceFirst(span.completed)};
  }
}

/** The unfinished last line of one stream of a step. */
class StreamRest {
  private readonly splitter: LineSplitter;
  private atSeconds: number | undefined;
  private nextSeconds: number | undefined;
  private inLine = false;

  constructor(maxBytes: number, onLine: (atSeconds: number | undefined, text: string) => void) {
    this.splitter = new LineSplitter(maxBytes, text => {
      onLine(this.inLine ? this.atSeconds : this.nextSeconds, text);
      this.inLine = false;
    });
  }

  write(data: Uint8Array, atSeconds: number | undefined): void {
    this.nextSeconds = atSeconds;
    this.splitter.write(data);
    if (this.inLine || data[data.length - 1] === 0x0a) return;
    // A line has the time at which its first part came.
    this.inLine = true;
    this.atSeconds = atSeconds;
  }

  lines(stream: LogLine['stream'], maxChars: number): LogLine[] {
    if (!this.inLine) return [];
    const text = cut(this.splitter.rest(), maxChars);
    return [this.atSeconds === undefined ? {stream, text} : {stream, atSeconds: this.atSeconds, text}];
  }
}

/** Joins intervals that overlap, as BuildKit counts a step's time (mergeIntervals in progressui/display.go). */
function mergeSpans(spans: readonly Span[]): Span[] {
  const merged: Span[] = [];
  for (const span of [...spans].sort((a, b) => a.started - b.started)) {
    const last = merged.at(-1);
    if (last === undefined || (last.completed !== undefined && last.completed < span.started)) {
      merged.push({...span});
    } else if (last.completed === undefined || span.completed === undefined) {
      last.completed = undefined;
    } else {
      last.completed = Math.max(last.completed, span.completed);
    }
  }
  return merged;
}
