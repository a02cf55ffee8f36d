/** What a build did, whatever form its progress was read from. Plain JSON: part of the published `JobResult`. */
export interface BuildTrace {
  /** In the order in which they started; steps that never started are not among them. */
  readonly steps: readonly Step[];
  readonly warnings: readonly BuildWarning[];
  /** The source excerpt printed by v0.8.0 and later, where there is one. */
  readonly excerpt?: SourceExcerpt;
  /** The build's final error, without `error:` and the prefixes of its release; absent when it did not fail. */
  readonly error?: string;
}

export type StepState = 'done' | 'cached' | 'failed' | 'canceled' | 'running';

/** BuildKit calls it a vertex. */
export interface Step {
  /** Vertex digest where the form has one, else `#N`. */
  readonly id: string;
  /** The whole name as BuildKit prints it, e.g. `[build 2/5] RUN make`; empty when the log begins behind it. */
  readonly name: string;
  /** Stage name from the step's name (`build` in `[build 2/5] …`, `internal` for internal steps). */
  readonly stage?: string;
  /** `linux/arm64` when the name carries one. */
  readonly platform?: string;
  /** Place within the stage: `{index: 2, total: 5}` for `[build 2/5]`. */
  readonly position?: {readonly index: number; readonly total: number};
  readonly state: StepState;
  /** True when the step's result, as last told, came from the cache. */
  readonly cached: boolean;
  readonly intervals: readonly Interval[];
  /** Sum of the completed intervals, in seconds; absent where the form does not say. */
  readonly seconds?: number;
  /** Of a failed step, as BuildKit says it. A canceled step has none: what canceled it is not its own. */
  readonly error?: string;
  readonly exitCode?: number;
  readonly logs: StepLogs;
  readonly statuses: readonly StepStatus[];
}

/** Seconds since the build's first event; forms without clocks leave `intervals` empty. */
export interface Interval {
  readonly startedSeconds: number;
  readonly completedSeconds?: number;
}

export interface LogLine {
  /** The plain log does not tell the streams apart. */
  readonly stream: 'stdout' | 'stderr' | 'unknown';
  /** Seconds since the step started, where the form says so. */
  readonly atSeconds?: number;
  readonly text: string;
}

/** Head and tail of a step's log, so that memory does not grow with the log. */
export interface StepLogs {
  readonly head: readonly LogLine[];
  readonly tail: readonly LogLine[];
  /** Lines left out between head and tail. */
  readonly omittedLines: number;
}

/** A transfer or a sub-task of a step, e.g. `transferring context:`, `exporting layers`, `sha256:…`. */
export interface StepStatus {
  readonly id: string;
  readonly current?: number;
  readonly total?: number;
  /** `bytes` when BuildKit counted bytes, else a plain count. */
  readonly unit?: 'bytes' | 'count';
  readonly seconds?: number;
  readonly done: boolean;
}

export interface BuildWarning {
  /** `Step.id` it belongs to. */
  readonly step?: string;
  readonly message: string;
  readonly file?: string;
  readonly line?: number;
  readonly url?: string;
}

export interface SourceExcerpt {
  readonly file: string;
  /** The line in the excerpt's header: where BuildKit puts the fault. */
  readonly line: number;
  readonly lines: readonly {readonly number: number; readonly text: string; readonly marked: boolean}[];
}

/** All the log lines that are kept, with a marker line where some were left out. */
export function keptLines(logs: StepLogs): LogLine[] {
  if (logs.omittedLines === 0) return [...logs.head, ...logs.tail];
  return [...logs.head, {stream: 'unknown', text: `… ${logs.omittedLines} lines left out …`}, ...logs.tail];
}
