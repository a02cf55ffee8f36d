import type {Expectation, JobResult} from '../base/result.ts';
import {keptLines, type Step} from '../base/trace.ts';
import {oneLine, plain} from './inert.ts';
import {verdict} from './result.ts';
import {counted, formatBytes, formatSeconds, truncate} from './text.ts';
import {
  failedStep,
  hintOf,
  mostImportant,
  type NumberedStep,
  numberedSteps,
  stageTimes,
  stateOf,
  versionRows,
} from './view.ts';
import {displayWidth, toColumns} from './width.ts';

export interface TerminalOptions {
  /** ANSI colours (SGR); off for files and pipes. */
  readonly colours?: boolean;
  readonly expect?: Expectation;
  /** Columns of the terminal; lines are cut to fit. */
  readonly width?: number;
  /** More steps than this are left out, the shortest first. */
  readonly maxSteps?: number;
}

type Colour = 'red' | 'green' | 'yellow' | 'dim' | 'bold';
const SGR: Readonly<Record<Colour, number>> = {red: 31, green: 32, yellow: 33, dim: 2, bold: 1};

const SYMBOLS: Readonly<Record<Step['state'], readonly [symbol: string, colour: Colour]>> = {
  done: ['✓', 'green'],
  cached: ['✓', 'dim'],
  failed: ['✗', 'red'],
  canceled: ['–', 'yellow'],
  running: ['…', 'yellow'],
};

/** For a step whose header is in the part of a log that is missing. */
const NAMELESS = '(its name is not in the log)';

/** A result for a terminal: steps, the failing step's last lines, versions, timings, outputs, and the verdict last. */
export function terminalReport(result: JobResult, options: TerminalOptions = {}): string {
  const {colours = false, width = 100, maxSteps = 60, expect = 'success'} = options;
  const paint = painter(colours);
  const columns = Math.max(40, width);
  const blocks = [
    stepLines(result, columns, maxSteps, paint),
    failureLines(result, columns, paint),
    versionLines(result, columns, paint),
    timingLines(result, columns, paint),
    outputLines(result, columns),
    verdictLines(result, expect, paint),
  ].filter(lines => lines.length > 0);
  return `${blocks.map(lines => lines.join('\n')).join('\n\n')}\n`;
}

/** What a build's log alone tells. */
export type LoggedResult = Pick<JobResult, 'trace' | 'outcome'>;

/** The blocks of `terminalReport` that a build's log alone tells: steps, source excerpt and the failing step's last lines. */
export function traceBlocks(result: LoggedResult, options: TerminalOptions = {}): readonly string[] {
  const {colours = false, width = 100, maxSteps = 60} = options;
  const paint = painter(colours);
  const columns = Math.max(40, width);
  return [stepLines(result, columns, maxSteps, paint), failureLines(result, columns, paint)]
    .filter(lines => lines.length > 0)
    .map(lines => lines.join('\n'));
}

export type Paint = (colour: Colour, text: string) => string;

/** Sets SGR colours, or leaves text as it is. */
export function painter(colours: boolean): Paint {
  return (colour, text) => (colours ? `\x1b[${SGR[colour]}m${text}\x1b[0m` : text);
}

function stepLines(result: LoggedResult, columns: number, maxSteps: number, paint: Paint): string[] {
  const steps = numberedSteps(result);
  const shown = mostImportant(steps, maxSteps);
  const lines = shown.map(step => stepLine(step, columns, String(steps.length).length, paint));
  const left = steps.length - shown.length;
  return left > 0 ? [...lines, paint('dim', `  ${counted(left, 'short step')} left out`)] : lines;
}

function stepLine({number, step}: NumberedStep, columns: number, digits: number, paint: Paint): string {
  const state = stateOf(step);
  const [symbol, colour] = SYMBOLS[state];
  const took = state === 'done' || state === 'failed' ? formatSeconds(step.seconds) : state;
  const head = `${symbol} ${String(number).padStart(digits)} `;
  const room = columns - displayWidth(head) - 11;
  const name = toColumns(oneLine(step.name || NAMELESS), room);
  return `${paint(colour, head)}${state === 'cached' ? paint('dim', name) : name} ${paint('dim', took.padStart(10))}`;
}

function failureLines(result: LoggedResult, columns: number, paint: Paint): string[] {
  if (result.outcome.kind !== 'build-failed') return [];
  const excerpt = result.trace?.excerpt;
  const source = (excerpt?.lines ?? []).slice(0, 40).map(line => {
    const text = `${String(line.number).padStart(4)} │ ${cut(line.text, columns - 7)}`;
    return line.marked ? paint('red', text) : paint('dim', text);
  });
  const failed = failedStep(result)?.step;
  const log = failed
    ? keptLines(failed.logs)
        .slice(-20)
        .map(line => `  │ ${cut(line.text, columns - 4)}`)
    : [];
  return [
    ...(excerpt ? [paint('bold', cut(`${excerpt.file}:${excerpt.line}`, columns)), ...source] : []),
    ...(log.length > 0 ? [...(excerpt ? [''] : []), paint('bold', 'Last lines of the step'), ...log] : []),
  ];
}

function versionLines(result: JobResult, columns: number, paint: Paint): string[] {
  return versionRows(result).map(([name, value, remark]) => {
    const known = `${paint('dim', name.padEnd(9))} ${cut(value, columns - 10)}`;
    const room = columns - 11 - Math.min(displayWidth(oneLine(value)), columns - 10);
    return remark === '' || room < 12 ? known : `${known} ${paint('dim', cut(`(${remark})`, room))}`;
  });
}

function timingLines(result: JobResult, columns: number, paint: Paint): string[] {
  const times = stageTimes(result.timings);
  const longest = Math.max(...times.map(time => time.seconds), Number.MIN_VALUE);
  const cells = Math.min(40, columns - 24);
  const lines = times.map(({title, seconds}) => {
    const bar = '━'.repeat(Math.max(1, Math.round((seconds / longest) * cells)));
    return `${paint('dim', title.padEnd(9))} ${formatSeconds(seconds).padStart(12)} ${paint('green', bar)}`;
  });
  return [
    ...lines,
    `${paint('dim', 'Total'.padEnd(9))} ${formatSeconds(result.timings.totalSeconds).padStart(12)}`,
  ];
}

function outputLines(result: JobResult, columns: number): string[] {
  const files = result.outputs.map(
    ({type, path, bytes}) => `${type} → ${path}${bytes === undefined ? '' : ` (${formatBytes(bytes)})`}`,
  );
  const digests = result.digest === undefined ? [] : [`digest ${truncate(oneLine(result.digest), 200)}`];
  return [...digests, ...files.map(line => cut(line, columns))];
}

/** Not cut to the width: a terminal wraps what one came to read. */
function verdictLines(result: JobResult, expect: Expectation, paint: Paint): string[] {
  const {ok, message} = verdict(result, expect);
  const canceled = result.outcome.kind === 'canceled';
  const colour = ok ? 'green' : canceled ? 'yellow' : 'red';
  const symbol = ok ? '✓' : canceled ? '–' : '✗';
  const warnings = result.warnings.map(text => `${paint('yellow', '!')} ${truncate(oneLine(text), 600)}`);
  const lint = result.trace?.warnings.length ?? 0;
  const hint = hintOf(result.outcome);
  return [
    ...warnings,
    ...(lint > 0 ? [`${paint('yellow', '!')} ${counted(lint, 'warning')} from the Dockerfile's lint`] : []),
    `${paint(colour, symbol)} ${paint('bold', message.charAt(0).toUpperCase() + message.slice(1))}`,
    ...(hint === undefined ? [] : [`  ${paint('dim', 'what to do:')} ${hint}`]),
  ];
}

function cut(text: string, columns: number): string {
  return toColumns(plain(text).replace(/\n/g, ' ').replace(/\t/g, '    '), columns).trimEnd();
}
