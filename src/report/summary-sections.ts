import type {JobResult} from '../base/result.ts';
import {keptLines, type Step} from '../base/trace.ts';
import {code, details, fence, prose, table} from './markdown.ts';
import {counted, formatBytes, formatSeconds, truncate} from './text.ts';
import {
  failedStep,
  mostImportant,
  type NumberedStep,
  numberedSteps,
  stageTimes,
  stateOf,
  versionRows,
} from './view.ts';

const MAX_LOG_LINES = 40;
const MAX_LINE_CHARS = 400;
/** More rows than this are folded away; more than the second are left out. */
const OPEN_STEPS = 15;
const MAX_STEPS = 150;
const BAR_CELLS = 24;

/** The source lines at fault and the end of the failing step's log; empty when the build did not fail. */
export function failureSection(result: JobResult): string {
  if (result.outcome.kind !== 'build-failed') return '';
  const parts: string[] = [];
  const excerpt = result.trace?.excerpt;
  if (excerpt) {
    const lines = excerpt.lines
      .slice(0, 60)
      .map(
        line =>
          `${String(line.number).padStart(4)} | ${line.marked ? '>>> ' : '    '}${truncate(line.text, MAX_LINE_CHARS)}`,
      );
    parts.push(`${code(`${excerpt.file}:${excerpt.line}`)}\n\n${fence(lines, 'dockerfile')}`);
  }
  const log = lastLines(failedStep(result)?.step);
  if (log.length > 0)
    parts.push(`The step's last ${log.length === 1 ? 'line' : `${log.length} lines`}:\n\n${fence(log)}`);
  return parts.join('\n');
}

function lastLines(step: Step | undefined): string[] {
  if (!step) return [];
  return keptLines(step.logs)
    .slice(-MAX_LOG_LINES)
    .map(line => truncate(line.text, MAX_LINE_CHARS));
}

export function versionsSection(result: JobResult): string {
  const rows = versionRows(result)
    .slice(0, 20)
    .map(([name, value, remark]) => [name, code(value, 120), prose(remark)]);
  const asked = result.archive.requestedBuildkit;
  const archive = [
    'Archive',
    code(result.archive.reference, 300),
    asked === undefined ? '' : `asked for ${code(asked, 60)}`,
  ];
  return `### Versions\n\n${table(['', 'found in the machine', ''], ['---', '---', '---'], [...rows, archive])}`;
}

export function timingsSection(result: JobResult): string {
  const times = stageTimes(result.timings);
  if (times.length === 0) return '';
  const longest = Math.max(...times.map(time => time.seconds), Number.MIN_VALUE);
  const rows = times.map(({title, seconds}) => [title, formatSeconds(seconds), bar(seconds / longest)]);
  const {contextBytes, contextFiles, totalSeconds} = result.timings;
  const context =
    contextBytes === undefined
      ? ''
      : `\nContext: ${formatBytes(contextBytes)}${contextFiles === undefined ? '' : ` in ${counted(contextFiles, 'file')}`}.\n`;
  const total = ['**Total**', `**${formatSeconds(totalSeconds)}**`, ''];
  return `### Timings\n\n${table(['Stage', 'Time', ''], ['---', '---:', '---'], [...rows, total])}${context}`;
}

/** A bar of up to 24 cells, in eighths of a cell (U+2588…U+258F). */
function bar(share: number): string {
  const eighths = Math.max(share > 0 ? 1 : 0, Math.round(share * BAR_CELLS * 8));
  const rest = eighths % 8;
  return '█'.repeat(Math.floor(eighths / 8)) + (rest > 0 ? String.fromCodePoint(0x2590 - rest) : '');
}

export function stepsSection(result: JobResult): string {
  const steps = numberedSteps(result);
  if (steps.length === 0) return '';
  const shown = mostImportant(steps, MAX_STEPS);
  const cached = steps.filter(({step}) => stateOf(step) === 'cached').length;
  const title = `${counted(steps.length, 'step')}, ${cached} cached`;
  const note =
    shown.length < steps.length ? `\n${steps.length - shown.length} short steps are left out.\n` : '';
  const body = stepTable(shown) + note;
  if (steps.length <= OPEN_STEPS) return `### Steps\n\n${body}`;
  const longest = stepTable(mostImportant(steps, 5));
  return `### Steps\n\nThe longest of ${title}:\n\n${longest}\n${details('All steps', body)}`;
}

const STATE_LABELS: Readonly<Record<Step['state'], string>> = {
  done: 'done',
  cached: 'cached',
  failed: '❌ failed',
  canceled: '🚫 canceled',
  running: '⏳ not ended',
};

function stepTable(steps: readonly NumberedStep[]): string {
  const rows = steps.map(({number, step}) => {
    const exit = step.exitCode === undefined ? '' : ` (exit code ${step.exitCode})`;
    return [
      String(number),
      code(step.name, 160),
      `${STATE_LABELS[stateOf(step)]}${exit}`,
      formatSeconds(step.seconds),
    ];
  });
  return table(['#', 'Step', 'State', 'Time'], ['---:', '---', '---', '---:'], rows);
}

export function artefactsSection(result: JobResult): string {
  const rows = [
    ...(result.digest === undefined ? [] : [['Digest', code(result.digest), '']]),
    ...(result.imageId === undefined ? [] : [['Image ID', code(result.imageId), '']]),
    ...result.outputs
      .slice(0, 20)
      .map(output => [
        code(output.type, 40),
        code(output.path, 300),
        output.bytes === undefined ? '' : formatBytes(output.bytes),
      ]),
  ];
  return rows.length === 0 ? '' : `### Outputs\n\n${table(['', '', 'Size'], ['---', '---', '---:'], rows)}`;
}

/** The job's own warnings, then the Dockerfile's. */
export function warningsSection(result: JobResult): string {
  const own = result.warnings.map(text => code(text, 600));
  const lint = (result.trace?.warnings ?? []).map(warning => {
    const place =
      warning.file === undefined
        ? ''
        : `${warning.file}${warning.line === undefined ? '' : `:${warning.line}`}`;
    return `${code(warning.message, 400)}${place === '' ? '' : ` (${code(place, 200)})`}`;
  });
  const all = [...own, ...lint];
  if (all.length === 0) return '';
  const shown = all.slice(0, 50).map(line => `- ${line}`);
  if (all.length > shown.length) shown.push(`- … and ${all.length - shown.length} more`);
  return details(counted(all.length, 'warning'), `${shown.join('\n')}\n`, own.length > 0);
}
