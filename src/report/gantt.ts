import type {BuildTrace} from '../base/trace.ts';
import {truncate} from './text.ts';
import {type Timeline, type TimelineBar, tickSeconds, timelineOf} from './timeline.ts';

/** More bars than this make a picture that nobody reads. */
const MAX_BARS = 40;

/**
 * A mermaid gantt of the build; undefined when no step has a clock.
 *
 * Facts of its grammar (mermaid 11, `gantt.jison`, `ganttDb.js`): `dateFormat X` and `x` both take milliseconds; `%M:%S` on
 * the axis is in the reader's time zone, `%s` is not; a task's name ends at `:`, its data at `;` and `#`; `#…;` is a
 * character reference, `%%` begins a comment or a directive; a line that begins with a keyword is a statement; a task of
 * no length has no bar. So names begin with a number and keep letters, digits and a few signs.
 */
export function gantt(trace: BuildTrace | undefined): string | undefined {
  const timeline = timelineOf(trace, MAX_BARS);
  if (!timeline) return undefined;
  const lines = ['gantt', '  dateFormat x', ...axis(timeline), '  todayMarker off'];
  let group: string | undefined;
  for (const bar of timeline.bars) {
    if (bar.group !== group) lines.push(`  section ${ganttText(bar.group, 32) || 'build'}`);
    group = bar.group;
    lines.push(`  ${task(bar)}`);
  }
  return `${lines.join('\n')}\n`;
}

function task(bar: TimelineBar): string {
  const startMs = Math.round(bar.startSeconds * 1000);
  const lengthMs = Math.max(1, Math.round(bar.endSeconds * 1000) - startMs);
  const tag = {done: '', cached: 'done, ', failed: 'crit, ', canceled: 'active, ', running: 'active, '}[
    bar.state
  ];
  return `${bar.number} ${ganttText(bar.name, 56)} :${tag}s${bar.number}, ${startMs}, ${lengthMs}ms`;
}

function axis(timeline: Timeline): string[] {
  const seconds = tickSeconds(timeline.totalSeconds, 10);
  if (seconds < 1) return ['  axisFormat %s.%L s', `  tickInterval ${seconds * 1000}millisecond`];
  if (seconds < 60) return ['  axisFormat %s s', `  tickInterval ${seconds}second`];
  if (seconds < 3600) return ['  axisFormat %s s', `  tickInterval ${seconds / 60}minute`];
  return ['  axisFormat %s s', `  tickInterval ${Math.min(seconds / 3600, 12)}hour`];
}

function ganttText(text: string, maxChars: number): string {
  const kept = text
    .replace(/[^\p{L}\p{N} ._/=+@()[\]*,'-]/gu, ' ')
    .replace(/\s+/g, ' ')
    .trim();
  return truncate(kept, maxChars);
}
