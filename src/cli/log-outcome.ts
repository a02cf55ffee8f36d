import type {BuildTrace, Step} from '../base/trace.ts';
import {type DiagnoseInput, type Diagnosis, diagnose} from '../build/diagnose/diagnose.ts';
import {failedStep} from '../build/diagnose/facts.ts';

/**
 * Why the build of a log failed; undefined when it succeeded. Without an exit status the log decides: by its final error, else by its failed
 * steps. One that tells of neither, and not of an end either, gets an answer that says so.
 */
export function explainTrace(input: DiagnoseInput): Diagnosis | undefined {
  const {trace, exitCode} = input;
  if (exitCode !== undefined || trace.error !== undefined) return diagnose(input);
  const failed = failedStep(trace);
  // `ignore-error=true` on a cache export lets the build pass; that it fails is said by an error, which is not here.
  if (failed && !/^exporting cache/.test(failed.name)) return diagnose({...input, exitCode: 1});
  return withoutEnd(trace);
}

/** For a log that has no error and no failed step: undefined when it shows a whole build. */
function withoutEnd({steps}: BuildTrace): Diagnosis | undefined {
  const canceled = steps.find(({state}) => state === 'canceled');
  if (canceled) return unfinished(`${name(canceled)} was canceled`, canceled);
  const running = steps.findLast(({state}) => state === 'running');
  if (running) return unfinished(`${name(running)} still ran`, running);
  // What a `--trace` file and the stdout of v0.3 and v0.4 name by digest has its final error elsewhere: a build that stopped after
  // reading the Dockerfile looks like one that had nothing to do.
  const mayLackError = steps.every(({id, name}) => !/^#\d+$/.test(id) && name.startsWith('[internal]'));
  return mayLackError ? unfinished('nothing was built') : undefined;
}

function unfinished(what: string, step?: Step): Diagnosis {
  return {
    kind: 'infra',
    ...(step && {step: step.name, stepId: step.id}),
    summary: `The log does not say how the build ended: ${what}, and no error follows`,
    hint: "Give --exit-code N (buildctl's exit status), or the rest of the log: the error may stand in another stream or file, which can be named as a second LOG.",
  };
}

function name({name: whole}: Step): string {
  return whole.replace(/\s+/g, ' ').slice(0, 120);
}
