import type {BuildTrace, SourceExcerpt} from '../base/trace.ts';
import {formatVersion} from '../base/version.ts';
import type {DiagnoseInput, Diagnosis} from '../build/diagnose/diagnose.ts';
import {oneLine} from '../report/inert.ts';
import {type Paint, painter, traceBlocks} from '../report/terminal.ts';
import {counted, formatSeconds, truncate} from '../report/text.ts';
import type {Io} from './io.ts';

/** Lines of the Dockerfile shown around the fault where the log has no excerpt of its own (up to v0.7). */
const AROUND_LINES = 2;
const MAX_WARNINGS = 20;
const MAX_TEXT_CHARS = 1000;

/** What `explain` prints: steps, the place and the last lines of the failure, warnings, and the answer last. */
export function explanation(
  input: DiagnoseInput,
  diagnosis: Diagnosis | undefined,
  {colours, width}: Pick<Io, 'colours' | 'width'>,
): string {
  const paint = painter(colours);
  const blocks = [
    ...traceBlocks(logged(input, diagnosis), {colours, width}),
    warnings(input.trace, paint),
    diagnosis ? answer(diagnosis, input, paint) : success(input.trace, paint),
  ];
  return `${blocks.filter(block => block !== '').join('\n\n')}\n`;
}

function logged(input: DiagnoseInput, diagnosis: Diagnosis | undefined): Parameters<typeof traceBlocks>[0] {
  const {trace} = input;
  if (!diagnosis) return {trace, outcome: {kind: 'built'}};
  const excerpt = trace.excerpt ?? excerptFor(input, diagnosis);
  return {
    trace: excerpt ? {...trace, excerpt} : trace,
    outcome: {
      kind: 'build-failed',
      failureKind: diagnosis.kind,
      message: diagnosis.summary,
      ...(diagnosis.step !== undefined && {step: diagnosis.step}),
      ...(diagnosis.stepId !== undefined && {stepId: diagnosis.stepId}),
    },
  };
}

function excerptFor(
  {dockerfile, dockerfileName = 'Dockerfile'}: DiagnoseInput,
  {lines: range}: Diagnosis,
): SourceExcerpt | undefined {
  if (dockerfile === undefined || !range) return undefined;
  const {startLine, endLine} = range;
  const first = Math.max(1, startLine - AROUND_LINES);
  const lines = dockerfile
    .split(/\r?\n/)
    .slice(first - 1, endLine + AROUND_LINES)
    .map((text, i) => ({number: first + i, text, marked: first + i >= startLine && first + i <= endLine}));
  return {file: dockerfileName, line: startLine, lines};
}

function warnings({warnings: all}: BuildTrace, paint: Paint): string {
  const shown = all.slice(0, MAX_WARNINGS).map(({message, file, line}) => {
    const told = line === undefined || message.includes(`(line ${line})`);
    const place = told ? '' : ` (${oneLine(file ?? 'Dockerfile')}:${line})`;
    return `${paint('yellow', '!')} ${text(message)}${place}`;
  });
  const left = all.length - shown.length;
  return [...shown, ...(left > 0 ? [`  ${counted(left, 'more warning')}`] : [])].join('\n');
}

function answer(diagnosis: Diagnosis, {version, dockerfileName}: DiagnoseInput, paint: Paint): string {
  const {kind, summary, hint, lines, step, worksFrom} = diagnosis;
  const range =
    lines && (lines.endLine > lines.startLine ? `${lines.startLine}-${lines.endLine}` : lines.startLine);
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['release', version && formatVersion(version)],
    ['step', step],
    ['line', lines && `${dockerfileName ?? 'Dockerfile'}:${range}`],
    ['works from', worksFrom],
    ['what to do', hint],
  ];
  return [
    `${paint('red', '✗')} ${paint('bold', `${kind}: ${text(summary)}`)}`,
    ...rows.flatMap(([name, value]) =>
      value === undefined ? [] : [`  ${paint('dim', `${name}:`.padEnd(11))} ${text(value)}`],
    ),
  ].join('\n');
}

function success({steps}: BuildTrace, paint: Paint): string {
  const cached = steps.filter(step => step.cached).length;
  // Steps overlap: the end of the last one is how long it took.
  const endSeconds = Math.max(
    ...steps.flatMap(step => step.intervals.map(({completedSeconds = 0}) => completedSeconds)),
    0,
  );
  const parts = [
    counted(steps.length, 'step'),
    ...(cached > 0 ? [`${cached} cached`] : []),
    ...(endSeconds > 0 ? [formatSeconds(endSeconds)] : []),
  ];
  return `${paint('green', '✓')} ${paint('bold', 'The build succeeded')} (${parts.join(', ')})`;
}

function text(value: string): string {
  return truncate(oneLine(value), MAX_TEXT_CHARS);
}
