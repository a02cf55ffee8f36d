import type {Step} from '../base/trace.ts';
import {countOf} from './numbers.ts';

type NameParts = Pick<Step, 'stage' | 'platform' | 'position'>;

// `[linux/arm64 build  2/12] RUN …`: platform when several were asked for, stage, index padded to the width of
// the total (prefixCommand in frontend/dockerfile/dockerfile2llb/convert.go). `->` names the target platform.
const positioned = /^\[(?:(\S{1,100}\/\S{1,100}) )?(?:([^\s/\]]+) )? *(\d{1,6})\/(\d{1,6})\] /;
const internal = /^\[(?:(\S{1,100}\/\S{1,100}) )?internal\] /;

/** What BuildKit writes into a step's name: stage, platform, and place within the stage. */
export function parseStepName(name: string): NameParts {
  const at = positioned.exec(name);
  if (at !== null) {
    const [, platform, stage, index, total] = at;
    return {
      ...(stage === undefined ? {} : {stage}),
      ...(platform === undefined ? {} : {platform}),
      position: {index: countOf(index), total: countOf(total)},
    };
  }
  const inner = internal.exec(name);
  if (inner === null) return {};
  const [, platform] = inner;
  return platform === undefined ? {stage: 'internal'} : {stage: 'internal', platform};
}

const processError = /executor failed running \[|did not complete successfully/;
const exitCode = /: exit code: (\d{1,10})(?=:|$)/gm;

/**
 * The exit code in a RUN's error: `executor failed running […]: exit code: 7` (v0.3.0–v0.6.1, v0.8.x) and
 * `process "…" did not complete successfully: exit code: 7` (v0.9.0 on); v0.6.2–v0.7.2 do not say it.
 */
export function parseExitCode(error: string): number | undefined {
  if (!processError.test(error)) return undefined;
  // The command stands before the code and can hold the same words, so the last one counts.
  const found = [...error.matchAll(exitCode)].at(-1)?.[1];
  return found === undefined ? undefined : countOf(found);
}

/** BuildKit's own rule (printVtx in util/progress/progressui/printer.go). */
export function isCancellation(error: string): boolean {
  return error.endsWith('context canceled');
}
