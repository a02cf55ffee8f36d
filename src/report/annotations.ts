import type {FailureKind, JobResult} from '../base/result.ts';
import {oneLine, plain} from './inert.ts';
import {truncate} from './text.ts';
import {describeOutcome, failedStep, hintOf} from './view.ts';

/** One annotation, in the terms of `AnnotationProperties` of @actions/core, which does the escaping. */
export interface Annotation {
  readonly level: 'error' | 'warning';
  readonly title: string;
  /** Path relative to the repository. */
  readonly file?: string;
  readonly startLine?: number;
  readonly endLine?: number;
  readonly message: string;
}

export interface AnnotationOptions {
  /** Annotations of each level the runner keeps for a step: 10 (actions/runner, `_maxCountPerIssueType`). */
  readonly maxErrors?: number;
  readonly maxWarnings?: number;
  /** Turns a file name from the build's warnings into a path of the repository; undefined for "not in it". */
  readonly resolveFile?: (file: string) => string | undefined;
}

/** The runner cuts messages at 4096 characters (actions/runner, `_maxIssueMessageLength`); titles have 255 at the API. */
const MAX_MESSAGE_CHARS = 3900;
const MAX_TITLE_CHARS = 250;
const LOG_LINES = 10;

const WHAT_FAILED: Readonly<Record<FailureKind, string>> = {
  dockerfile: 'Dockerfile error',
  'unsupported-feature': 'Not supported',
  'run-failed': 'RUN failed',
  'missing-file': 'File not found',
  registry: 'Registry error',
  network: 'Network error',
  daemon: 'Daemon lost',
  'out-of-space': 'No space left',
  'out-of-memory': 'Out of memory',
  kernel: 'Kernel refused',
  timeout: 'Timed out',
  canceled: 'Canceled',
  infra: 'Build failed',
};

/**
 * What to annotate: the failure first, at its line of the Dockerfile where that is known, then the build's lint
 * warnings in their order. Every text is safe to print. The last warning says how many had no room.
 */
export function annotations(result: JobResult, options: AnnotationOptions = {}): Annotation[] {
  const {maxErrors = 10, maxWarnings = 10} = options;
  return [...failure(result).slice(0, maxErrors), ...limited(lintWarnings(result, options), maxWarnings)];
}

function failure(result: JobResult): Annotation[] {
  const {outcome} = result;
  if (outcome.kind === 'built') return [];
  const hint = hintOf(outcome);
  const message = truncate([describeOutcome(result), ...(hint ? [hint] : [])].join('\n'), MAX_MESSAGE_CHARS);
  if (outcome.kind !== 'build-failed') {
    return [{level: 'error', title: outcome.kind === 'canceled' ? 'Canceled' : 'Not built', message}];
  }
  const version = result.versions?.buildkit.version;
  const where = version === undefined ? '' : ` on BuildKit ${version}`;
  const title = truncate(oneLine(`${WHAT_FAILED[outcome.failureKind]}${where}`), MAX_TITLE_CHARS);
  return [{level: 'error', title, ...place(outcome.location), message: withLastLines(result, message)}];
}

/** An annotation is read beside the source, far from the log: the last lines of the step's log say why. */
function withLastLines(result: JobResult, message: string): string {
  const logs = failedStep(result)?.step.logs;
  const lines = logs
    ? [...logs.head, ...logs.tail].slice(-LOG_LINES).map(line => truncate(plain(line.text), 200))
    : [];
  const whole = [message, ...(lines.length > 0 ? ['', ...lines] : [])].join('\n');
  return truncate(whole, MAX_MESSAGE_CHARS);
}

function lintWarnings(result: JobResult, {resolveFile}: AnnotationOptions): Annotation[] {
  const seen = new Set<string>();
  return (result.trace?.warnings ?? []).flatMap((warning): Annotation[] => {
    const key = JSON.stringify([warning.message, warning.file, warning.line]);
    if (seen.has(key)) return [];
    seen.add(key);
    const file = warning.file && resolveFile ? resolveFile(warning.file) : warning.file;
    const text = plain(warning.message);
    const rule = /^(\w+): /.exec(text)?.[1];
    const more = warning.url === undefined ? '' : `\n${oneLine(warning.url)}`;
    return [
      {
        level: 'warning',
        title: rule ? `Dockerfile: ${rule}` : 'Dockerfile',
        ...(file === undefined || warning.line === undefined
          ? {}
          : place({file, startLine: warning.line, endLine: warning.line})),
        message: truncate(text + more, MAX_MESSAGE_CHARS),
      },
    ];
  });
}

function limited(all: Annotation[], max: number): Annotation[] {
  if (all.length <= max) return all;
  if (max <= 0) return [];
  const left = all.length - (max - 1);
  const message = `${left} more warnings stand in the summary and in the log`;
  return [...all.slice(0, max - 1), {level: 'warning', title: 'Dockerfile', message}];
}

type Place = Pick<Annotation, 'file' | 'startLine' | 'endLine'>;

/** Lines outside of 1… make the whole annotation invalid for the API, so they are left out. */
function place(location: {file: string; startLine: number; endLine: number} | undefined): Place {
  if (!location) return {};
  const file = truncate(oneLine(location.file), 1000);
  if (!Number.isSafeInteger(location.startLine) || location.startLine < 1) return {file};
  const endLine = Number.isSafeInteger(location.endLine) ? location.endLine : location.startLine;
  return {file, startLine: location.startLine, endLine: Math.max(location.startLine, endLine)};
}
