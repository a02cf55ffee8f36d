import type {Expectation, JobResult} from '../base/result.ts';
import type {Step, StepLogs} from '../base/trace.ts';
import {truncate, utf8Bytes} from './text.ts';
import {describeOutcome} from './view.ts';

export interface Verdict {
  /** Whether the job may end well. */
  readonly ok: boolean;
  /** One line, safe to print. */
  readonly message: string;
}

/**
 * Holds a result against what was expected of the build. Only a build can meet an expectation: a job that never got to
 * an answer (no machine, canceled, trouble of our own) is never ok, whatever was expected.
 */
export function verdict(result: JobResult, expect: Expectation): Verdict {
  const message = describeOutcome(result);
  const {outcome} = result;
  if (outcome.kind === 'built') {
    return expect === 'failure'
      ? {ok: false, message: `${message}, but \`expect: failure\` asks for a build that fails`}
      : {ok: true, message};
  }
  if (outcome.kind !== 'build-failed') return {ok: false, message};
  if (outcome.failureKind === 'infra' || outcome.failureKind === 'canceled') return {ok: false, message};
  return expect === 'success'
    ? {ok: false, message}
    : {
        ok: true,
        message: `${message} (${expect === 'failure' ? 'as expected' : 'allowed by `expect: any`'})`,
      };
}

/** In this order at the top of a printed result, so that a reader meets the answer first. */
const KEY_ORDER: readonly (keyof JobResult)[] = [
  'schema',
  'outcome',
  'archive',
  'versions',
  'machine',
  'timings',
  'imageId',
  'digest',
  'outputs',
  'warnings',
  'metadata',
  'trace',
];

const NO_LOGS: StepLogs = {head: [], tail: [], omittedLines: 0};

/** What is given up to meet the size limit, least important first. Each leaves a result that the schema takes. */
const REDUCTIONS: readonly ((result: JobResult) => JobResult)[] = [
  result =>
    withSteps(result, step => (step.state === 'failed' ? step : {...step, logs: withoutLines(step.logs)})),
  result => withSteps(result, step => ({...step, statuses: []})),
  result => withSteps(result, step => ({...step, logs: shortLogs(step.logs)})),
  ({metadata: _, ...result}) => result,
  ({trace: _, ...result}) => ({
    ...result,
    warnings: [...result.warnings.slice(0, 20), 'the trace is left out: the result would be too large'],
  }),
  result => withShortStrings(result, 2000) as JobResult,
];

/**
 * The published JSON of a result: indented, ended by a line end, the same text for equal results whatever order their
 * keys were set in. When it would be longer than `maxBytes`, logs of steps that did not fail are left out first
 * (counted in `omittedLines`), then statuses, other logs, metadata, the trace, and in the end
 * long strings are cut.
 */
export function printResult(result: JobResult, options: {maxBytes?: number} = {}): string {
  const maxBytes = options.maxBytes ?? 4 * 1024 * 1024;
  let reduced = result;
  let text = stableJson(reduced);
  for (const reduce of REDUCTIONS) {
    if (utf8Bytes(text) <= maxBytes) break;
    reduced = reduce(reduced);
    text = stableJson(reduced);
  }
  return text;
}

function stableJson(result: JobResult): string {
  const known = KEY_ORDER.filter(key => result[key] !== undefined).map(key => [key, sorted(result[key])]);
  return `${JSON.stringify(Object.fromEntries(known), undefined, 2)}\n`;
}

/**
 * JSON has no NaN or infinity: `null` would stand there. Durations below zero are no durations: BuildKit v0.3.0 reports
 * cached blobs as completed when they were first pulled, before the status started.
 */
function isNoMeasure(key: string, value: unknown): boolean {
  return typeof value === 'number' && (!Number.isFinite(value) || (key === 'seconds' && value < 0));
}

/** By entries, since a `__proto__` key from the machine's metadata must stay a plain key. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(item => sorted(item));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(
    ([key, item]) => item !== undefined && !isNoMeasure(key, item),
  );
  entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]));
}

function withShortStrings(value: unknown, maxChars: number): unknown {
  if (typeof value === 'string') return truncate(value, maxChars);
  if (Array.isArray(value)) return value.slice(0, 100).map(item => withShortStrings(item, maxChars));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, withShortStrings(item, maxChars)]),
  );
}

function withSteps(result: JobResult, change: (step: Step) => Step): JobResult {
  if (!result.trace) return result;
  return {...result, trace: {...result.trace, steps: result.trace.steps.map(change)}};
}

function withoutLines(logs: StepLogs): StepLogs {
  return {...NO_LOGS, omittedLines: logs.omittedLines + logs.head.length + logs.tail.length};
}

function shortLogs(logs: StepLogs): StepLogs {
  const all = [...logs.head, ...logs.tail];
  const tail = all.slice(-20).map(line => ({...line, text: line.text.slice(0, 500)}));
  return {head: [], tail, omittedLines: logs.omittedLines + all.length - tail.length};
}
