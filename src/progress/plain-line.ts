import type {StepStatus} from '../base/trace.ts';
import {roundSeconds} from './numbers.ts';
import type {PrintedState} from './step.ts';

const hash = 0x23;
const space = 0x20;
const dot = 0x2e;
const minus = 0x2d;
const maxDigits = 7;

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

/** Length of the `#N ` that each line of a step starts with (N of at most seven digits); 0 when there is none. */
export function stepPrefixLength(line: string): number {
  if (line.charCodeAt(0) !== hash) return 0;
  let at = 1;
  while (at <= maxDigits && isDigit(line.charCodeAt(at))) at += 1;
  return at > 1 && line.charCodeAt(at) === space ? at + 1 : 0;
}

/**
 * Length of the `SECONDS ` of a log line that begins at `from`; 0 when there is none. Seconds have one to three
 * decimals: five characters up to v0.7.2 (`%#.4g` cut), three, two or one decimals from v0.8.0 on.
 */
export function secondsLength(line: string, from: number): number {
  let at = from;
  if (line.charCodeAt(at) === minus) at += 1;
  const whole = at;
  while (isDigit(line.charCodeAt(at))) at += 1;
  if (at === whole || line.charCodeAt(at) !== dot) return 0;
  const decimals = at + 1;
  at = decimals;
  while (isDigit(line.charCodeAt(at))) at += 1;
  const count = at - decimals;
  if (count < 1 || count > 3) return 0;
  if (line.charCodeAt(at) === space) return at + 1 - from;
  // Trailing spaces are taken off by some that copy logs, and then an empty log line ends here.
  return at === line.length ? at - from : 0;
}

// `#N ID[ CURRENT[ / TOTAL]][ 1.2s][ done]` (printVtx in util/progress/progressui/printer.go).
const amount = String.raw`\d+(?:\.\d+)?[kMGTPEZ]?B`;
const statusEnd = new RegExp(
  String.raw`^(.*?)(?: (${amount})(?: / (${amount}))?)?(?: (\d+\.\d)s)?( done)?$`,
  's',
);
const scale = ['', 'k', 'M', 'G', 'T', 'P', 'E', 'Z'];

/** A status line without its `#N `. Amounts are rounded by the printer to three digits or so. */
export function parseStatus(text: string): StepStatus {
  const [, id = text, current, total, seconds, done] = statusEnd.exec(text) ?? [];
  return {
    id,
    ...(current === undefined ? {} : {current: bytesOf(current), unit: 'bytes' as const}),
    ...(total === undefined ? {} : {total: bytesOf(total)}),
    ...(seconds === undefined ? {} : {seconds: roundSeconds(Number(seconds))}),
    done: done !== undefined,
  };
}

/** Bytes of `2.10MB`: decimal units (github.com/tonistiigi/units). */
function bytesOf(text: string): number {
  const unit = text.charAt(text.length - 2);
  const power = isDigit(unit.charCodeAt(0)) ? 0 : scale.indexOf(unit);
  return Math.round(Number.parseFloat(text) * 1000 ** power);
}

const end = /^(?:DONE(?: (\d+\.\d)s)?|(CACHED)|(CANCELED)|ERROR: (.*))$/s;

export type StepEnd = Exclude<PrintedState, {readonly state: 'running'}>;

/** The line that ends a step's block: `DONE 0.1s`, `CACHED`, `CANCELED`, `ERROR: …` (v0.5.0 on). */
export function parseEnd(text: string): StepEnd | undefined {
  const found = end.exec(text);
  if (found === null) return undefined;
  const [, seconds, cached, canceled, error] = found;
  if (cached !== undefined) return {state: 'cached'};
  if (canceled !== undefined) return {state: 'canceled'};
  if (error !== undefined) return {state: 'failed', error};
  return seconds === undefined ? {state: 'done'} : {state: 'done', seconds: Number(seconds)};
}

const glue = /^#(\d{1,7}) (DONE \d{1,9}\.\ds|DONE|CACHED)$/;

/**
 * Up to v0.10.6 a log that does not end with a newline has the step's end glued to it:
 * `no newline at the end#9 DONE 0.1s`.
 */
export function parseGluedEnd(log: string, step: number): {log: string; end: StepEnd} | undefined {
  const at = log.lastIndexOf('#');
  if (at < 0 || log.length - at > 32) return undefined;
  const found = glue.exec(log.slice(at));
  if (found === null || Number(found[1]) !== step) return undefined;
  const parsed = parseEnd(found[2] ?? '');
  return parsed === undefined ? undefined : {log: log.slice(0, at), end: parsed};
}
