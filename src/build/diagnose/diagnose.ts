import type {FailureKind} from '../../base/result.ts';
import type {BuildTrace} from '../../base/trace.ts';
import type {Version} from '../../base/version.ts';
import type {LineRange} from '../dockerfile/types.ts';
import {copyFault} from './copy-rules.ts';
import {
  checksumMismatch,
  entitlement,
  lintViolation,
  missingDockerfile,
  missingFile,
  missingInput,
  missingTarget,
} from './dockerfile-rules.ts';
import {collectFacts, type DiagnoseInput, type Facts, type Rule, shortName} from './facts.ts';
import {dockerfileFault, frontendRefusal} from './frontend-rules.ts';
import {kernelFault, outOfMemory, outOfSpace, runFailed} from './machine-rules.ts';
import {daemonLost, networkFault, registryFault} from './remote-rules.ts';
import {faultyRequest} from './request-rules.ts';
import {addedUrl, gitFault} from './source-rules.ts';
import {onbuildCopy, unsupportedFeature, unsupportedRequest} from './unsupported.ts';

export type {DiagnoseInput, MachineEvidence} from './facts.ts';

/** Why a build failed, where, and what to do. */
export interface Diagnosis {
  readonly kind: FailureKind;
  /** Name of the step that failed; absent when the build failed outside any step. */
  readonly step?: string;
  readonly stepId?: string;
  /** Exit code of the step's command. */
  readonly exitCode?: number;
  /** First line of `lines`. */
  readonly dockerfileLine?: number;
  readonly lines?: LineRange;
  /** One sentence: what happened. */
  readonly summary: string;
  /** What to do next. */
  readonly hint: string;
  /** First release that can, as `v0.10.0`. */
  readonly worksFrom?: string;
}

/** The local exporter's client and daemon wait for each other over many files, in all releases to date (https://github.com/moby/buildkit/issues/2950). */
const hangingExport: Rule = ({machine, trace}) => {
  const isCopying = trace.steps.some(
    ({name, state}) =>
      /^exporting to client(?: directory)?$/.test(name) && state !== 'done' && state !== 'cached',
  );
  if (machine.stopped !== 'timeout' || !isCopying) return undefined;
  return {
    kind: 'timeout',
    summary: 'The build took too long and was stopped while it copied its result into a directory',
    hint: 'Raise the timeout, or set outputs: type=tar instead of type=local: with very many files BuildKit can hang there (moby/buildkit#2950).',
  };
};

const canceled: Rule = ({errors, machine}) => {
  if (machine.stopped === 'timeout') {
    return {kind: 'timeout', summary: 'The build took too long and was stopped', hint: 'Raise the timeout.'};
  }
  const said = /^(?:Canceled: )?context canceled$/m.test(errors.split('\n')[0] ?? '');
  if (machine.stopped !== 'canceled' && !said) return undefined;
  return {kind: 'canceled', summary: 'The build was canceled', hint: 'Start it again.'};
};

/**
 * Whether buildctl ended with status 1 for its own sake, after a build of which all steps succeeded: v0.31.0 and v0.31.1 do when their own tracing takes more
 * than 50 ms to shut down (cmd/buildctl/common/trace.go). What the build itself failed of would stand before it.
 * @param version undefined when it is not known.
 */
export function failedInTracing(trace: BuildTrace, version: Version | undefined): boolean {
  const isSuspect = version === undefined || (version.major === 0 && version.minor === 31);
  const ended = trace.steps.every(
    ({state, name}) => state === 'done' || state === 'cached' || /^importing cache manifest/.test(name),
  );
  return isSuspect && trace.error === 'context deadline exceeded' && trace.steps.length > 0 && ended;
}

const tracerShutdown: Rule = ({trace, version}) => {
  if (!failedInTracing(trace, version)) return undefined;
  return {
    kind: 'infra',
    summary: 'All steps succeeded, and buildctl ended with an error of its own all the same',
    hint: 'BuildKit v0.31.0 and v0.31.1 do so on a slow or busy machine, when tracing takes more than 50 ms to shut down. Try again, or use v0.32.0 or later.',
  };
};

const deadline: Rule = ({errors}) =>
  /context deadline exceeded|DeadlineExceeded/.test(errors)
    ? {kind: 'timeout', summary: 'The build ran into a time limit', hint: 'Raise the timeout, or try again.'}
    : undefined;

const unknown: Rule = ({errors, step}) => ({
  kind: 'infra',
  summary:
    errors.split('\n')[0] || `The build failed${step ? ` in ${shortName(step)}` : ' without a message'}`,
  hint: 'No rule knows this error: look at the log of buildctl and buildkitd.',
});

/** In this order: the first that answers decides. What is surer, or hides the rest, stands first. */
const RULES: readonly Rule[] = [
  hangingExport,
  canceled,
  missingInput,
  daemonLost,
  unsupportedRequest,
  unsupportedFeature,
  onbuildCopy,
  entitlement,
  missingTarget,
  missingDockerfile,
  lintViolation,
  checksumMismatch,
  addedUrl,
  gitFault,
  copyFault,
  missingFile,
  faultyRequest,
  dockerfileFault,
  outOfSpace,
  outOfMemory,
  kernelFault,
  runFailed,
  networkFault,
  registryFault,
  tracerShutdown,
  deadline,
  frontendRefusal,
  unknown,
];

/** Kinds whose fault does not lie in a line of the Dockerfile, even when a step was running. */
const WITHOUT_LINE: ReadonlySet<FailureKind> = new Set(['daemon', 'canceled', 'timeout', 'infra']);

/**
 * Says why a build failed: kind, step, Dockerfile lines, and what to do. Undefined when it did not fail (exit status 0,
 * or no exit status, no error and no failed step).
 */
export function diagnose(input: DiagnoseInput): Diagnosis | undefined {
  if (!hasFailed(input)) return undefined;
  const facts = collectFacts(input);
  for (const rule of RULES) {
    const verdict = rule(facts);
    if (!verdict) continue;
    const {lines: own, ...rest} = verdict;
    const lines = own ?? placeOf(facts, verdict.kind);
    return {...rest, ...stepOf(facts), ...(lines ? {dockerfileLine: lines.startLine, lines} : {})};
  }
  return undefined;
}

/** A step's `ERROR` alone does not fail a build: an import cache that is not found ends with exit status 0. */
function hasFailed({trace, exitCode, machine}: DiagnoseInput): boolean {
  if (exitCode !== undefined) return exitCode !== 0;
  return trace.error !== undefined || machine?.stopped !== undefined;
}

function stepOf({step}: Facts): Pick<Diagnosis, 'step' | 'stepId' | 'exitCode'> {
  if (!step) return {};
  return {
    step: step.name,
    stepId: step.id,
    ...(step.exitCode === undefined ? {} : {exitCode: step.exitCode}),
  };
}

function placeOf({located, line}: Facts, kind: FailureKind): LineRange | undefined {
  const place = located ?? (WITHOUT_LINE.has(kind) ? undefined : line);
  return place && {startLine: place.startLine, endLine: place.endLine};
}
