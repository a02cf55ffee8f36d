import type {BuildTrace, Step} from '../base/trace.ts';
import {oneLine} from './inert.ts';
import {stateOf} from './view.ts';

/** One bar of a picture of the build: a step from its first start to its last end. */
export interface TimelineBar {
  readonly number: number;
  /** One line, as hostile as the Dockerfile. */
  readonly name: string;
  /** Stage, with its platform where the step has one. */
  readonly group: string;
  readonly state: Step['state'];
  readonly startSeconds: number;
  readonly endSeconds: number;
}

export interface Timeline {
  /** In the order of their start, within groups in the order of their first start. */
  readonly bars: readonly TimelineBar[];
  readonly totalSeconds: number;
  /** Steps with a clock for which there was no room. */
  readonly leftOut: number;
}

/**
 * The bars to draw: failed steps and the longest ones, at most `maxBars`.
 * @returns undefined when no step has an interval (logs without clocks).
 */
export function timelineOf(trace: BuildTrace | undefined, maxBars: number): Timeline | undefined {
  const steps = trace?.steps ?? [];
  const last = Math.max(0, ...steps.flatMap(step => step.intervals.flatMap(ends)));
  const all = steps.flatMap((step, index) => barOf(step, index + 1, last));
  if (all.length === 0) return undefined;
  const kept = [...all].sort(byWeight).slice(0, maxBars).sort(byStart);
  const groups = [...new Set(kept.map(bar => bar.group))];
  return {
    bars: groups.flatMap(group => kept.filter(bar => bar.group === group)),
    totalSeconds: last,
    leftOut: all.length - kept.length,
  };
}

/** Round distances between ticks, in seconds, such that there are at most `maxTicks` of them. */
export function tickSeconds(totalSeconds: number, maxTicks: number): number {
  const steps = [0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 300, 900, 3600, 21_600, 86_400];
  return steps.find(step => totalSeconds / step <= maxTicks) ?? 86_400;
}

function barOf(step: Step, number: number, last: number): TimelineBar[] {
  const starts = step.intervals.map(interval => interval.startedSeconds).filter(Number.isFinite);
  if (starts.length === 0) return [];
  const startSeconds = Math.max(0, Math.min(...starts));
  const open = step.intervals.some(interval => interval.completedSeconds === undefined);
  const endSeconds = Math.max(startSeconds, open ? last : Math.max(...step.intervals.flatMap(ends)));
  const stage = oneLine(step.stage ?? '') || 'build';
  const group = step.platform === undefined ? stage : `${stage} ${oneLine(step.platform)}`;
  return [{number, name: oneLine(step.name), group, state: stateOf(step), startSeconds, endSeconds}];
}

function ends(interval: {startedSeconds: number; completedSeconds?: number}): number[] {
  return [interval.startedSeconds, interval.completedSeconds ?? 0].filter(Number.isFinite);
}

function byWeight(a: TimelineBar, b: TimelineBar): number {
  const failed = Number(b.state === 'failed') - Number(a.state === 'failed');
  return failed || lengthOf(b) - lengthOf(a) || a.number - b.number;
}

function byStart(a: TimelineBar, b: TimelineBar): number {
  return a.startSeconds - b.startSeconds || a.number - b.number;
}

function lengthOf(bar: TimelineBar): number {
  return bar.endSeconds - bar.startSeconds;
}
