import type {BuildTrace, BuildWarning, SourceExcerpt, Step} from '../base/trace.ts';
import type {ProgressLimits} from './limits.ts';
import {StepRecord} from './step.ts';
import {cut} from './text.ts';
import {Timeline} from './timeline.ts';

type WarningText = Omit<BuildWarning, 'step'>;

/** What every reader writes into: the one place where a `BuildTrace` is made. */
export class Fold {
  readonly timeline = new Timeline();
  readonly limits: ProgressLimits;
  private readonly records = new Map<string, StepRecord>();
  private readonly shown: StepRecord[] = [];
  private readonly warnings: {readonly record: StepRecord | undefined; readonly warning: WarningText}[] = [];
  private excerptFound: SourceExcerpt | undefined;
  private errorFound: string | undefined;

  constructor(limits: ProgressLimits) {
    this.limits = limits;
  }

  /** The step with this key (a digest, or `#N`), if it is known. */
  find(key: string): StepRecord | undefined {
    return this.records.get(key);
  }

  /** The step with this key, made when it is new; undefined when there are more steps than are kept. */
  step(key: string, name: string): StepRecord | undefined {
    const known = this.records.get(key);
    if (known !== undefined) return known;
    if (this.records.size >= this.limits.steps) return undefined;
    const {limits, timeline} = this;
    const smallLog = this.records.size >= limits.stepsWithFullLogs;
    const record = new StepRecord(key, name, {
      limits,
      timeline,
      smallLog,
      onShown: it => this.shown.push(it),
    });
    this.records.set(key, record);
    return record;
  }

  all(): Iterable<StepRecord> {
    return this.records.values();
  }

  /** Forgets all: another build begins. */
  restart(): void {
    this.records.clear();
    this.shown.length = 0;
    this.warnings.length = 0;
    this.goesOn();
  }

  /** The build's first event is earlier than it was: all times given out before are stale. */
  firstEventMoved(): void {
    for (const record of this.records.values()) record.touch();
  }

  warn(record: StepRecord | undefined, warning: WarningText): void {
    if (this.warnings.length >= this.limits.warnings) return;
    this.warnings.push({record, warning: {...warning, message: cut(warning.message, this.limits.textChars)}});
  }

  /** The first excerpt is the innermost source (errdefs.Sources in solver/errdefs/source.go). */
  excerpt(excerpt: SourceExcerpt): void {
    this.excerptFound ??= excerpt;
  }

  /** The first error after the last progress is the build's; what follows in a longer log is not. */
  error(text: string): void {
    this.errorFound ??= cut(text, this.limits.textChars);
  }

  /** There is more progress, so nothing before it was the end. */
  goesOn(): void {
    this.excerptFound = undefined;
    this.errorFound = undefined;
  }

  /** What is known by now; later input does not change it. */
  trace(): BuildTrace {
    return Object.freeze({
      steps: byStart(this.shown),
      warnings: this.warnings.map(({record, warning}) =>
        record === undefined ? warning : {step: record.id, ...warning},
      ),
      ...(this.excerptFound === undefined ? {} : {excerpt: this.excerptFound}),
      ...(this.errorFound === undefined ? {} : {error: this.errorFound}),
    });
  }
}

/**
 * The oldest plain log prints steps when they end, in any order: clocks and, for steps that were found in the cache
 * at the same time, numbers tell more. A step without a clock keeps its place.
 */
function byStart(records: readonly StepRecord[]): Step[] {
  let started = Number.NEGATIVE_INFINITY;
  const keyed = records.map(record => {
    const step = record.snapshot();
    started = step.intervals[0]?.startedSeconds ?? started;
    return {step, started, rank: record.rank};
  });
  return keyed.sort((a, b) => a.started - b.started || a.rank - b.rank).map(({step}) => step);
}
