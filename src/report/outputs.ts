import type {JobResult} from '../base/result.ts';
import type {Step} from '../base/trace.ts';
import {oneLine} from './inert.ts';
import {roundSeconds, truncate, utf8Bytes} from './text.ts';
import {byImportance, failedStepName, type NumberedStep, numberedSteps} from './view.ts';

export const OUTPUT_NAMES = [
  'result',
  'failure-kind',
  'failed-step',
  'imageid',
  'digest',
  'metadata',
  'buildkit-version',
  'buildkit-commit',
  'runc-version',
  'kernel-version',
  'os',
  'accelerator',
  'launcher',
  'derived-from',
  'debug-port',
  'boot-seconds',
  'build-seconds',
  'steps',
  'buildkit-host',
  'result-path',
] as const;
export type OutputName = (typeof OUTPUT_NAMES)[number];

/** A job's outputs together may be 1 MiB ("Workflow syntax", `jobs.<job_id>.outputs`); these two are the long ones. */
const MAX_STEPS_BYTES = 192 * 1024;
const MAX_METADATA_BYTES = 192 * 1024;

/**
 * The step outputs of a result: all names, always, each on one line, empty where there is nothing to say. Values that
 * scripts paste into command lines (versions, digests) are held to the characters such values have: the machine that
 * names them may be hostile.
 * @param resultPath the file that holds the printed `JobResult`; empty when none was written.
 */
export function stepOutputs(result: JobResult, resultPath: string): Record<OutputName, string> {
  const {outcome, versions, machine, timings} = result;
  return {
    result: outcome.kind === 'built' ? 'success' : 'failure',
    'failure-kind': failureKind(result),
    'failed-step': truncate(failedStepName(result) ?? '', 1000),
    imageid: digest(result.imageId),
    digest: digest(result.digest),
    metadata: metadata(result),
    'buildkit-version': word(versions?.buildkit.version),
    'buildkit-commit': word(versions?.buildkit.commit),
    'runc-version': word(versions?.runc?.version),
    'kernel-version': word(versions?.kernel),
    os: words(versions?.os),
    accelerator: machine?.accelerator ?? '',
    launcher: machine?.launcher ?? '',
    'derived-from': words(versions?.derived?.archive),
    'debug-port': machine?.debugPort === undefined ? '' : String(machine.debugPort),
    'boot-seconds': seconds(timings.bootSeconds),
    'build-seconds': seconds(timings.buildSeconds),
    steps: stepsJson(result),
    'buildkit-host': result.buildkitHost ?? '',
    'result-path': resultPath,
  };
}

function failureKind({outcome}: JobResult): string {
  if (outcome.kind === 'build-failed') return outcome.failureKind;
  if (outcome.kind === 'infra-failed') return 'infra';
  return outcome.kind === 'canceled' ? 'canceled' : '';
}

/** An OCI digest (image spec, "descriptor.md", Digests) or nothing. */
function digest(text: string | undefined): string {
  return text !== undefined && /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[A-Za-z0-9=_-]{32,256}$/.test(text)
    ? text
    : '';
}

function word(text: string | undefined): string {
  return words(text).replaceAll(' ', '_');
}

function words(text: string | undefined): string {
  return truncate(oneLine(text ?? ''), 200).replace(/[^A-Za-z0-9 ._+~:/(),@-]/g, '_');
}

function seconds(value: number | undefined): string {
  return value === undefined ? '' : String(roundSeconds(value));
}

/** The metadata file as it was; without it when it is longer than an output should be: it stands in the result file. */
function metadata(result: JobResult): string {
  const text = jsonLine(result.metadata ?? {});
  return utf8Bytes(text) <= MAX_METADATA_BYTES ? text : '{}';
}

interface StepOutput {
  readonly number: number;
  readonly name: string;
  readonly stage?: string;
  readonly platform?: string;
  readonly state: Step['state'];
  readonly cached: boolean;
  readonly seconds?: number;
  readonly exitCode?: number;
}

/** All steps, with shorter names if need be; if that is not enough, the shortest ones that did not fail go. */
function stepsJson(result: JobResult): string {
  const steps = numberedSteps(result);
  for (const maxNameChars of [400, 80]) {
    const text = jsonLine(steps.map(step => stepOutput(step, maxNameChars)));
    if (utf8Bytes(text) <= MAX_STEPS_BYTES) return text;
  }
  let weightBytes = 2;
  const kept = [...steps].sort(byImportance).filter(step => {
    weightBytes += utf8Bytes(jsonLine(stepOutput(step, 80))) + 1;
    return weightBytes <= MAX_STEPS_BYTES;
  });
  return jsonLine(kept.sort((a, b) => a.number - b.number).map(step => stepOutput(step, 80)));
}

function stepOutput({number, step}: NumberedStep, maxNameChars: number): StepOutput {
  const {stage, platform, exitCode} = step;
  return {
    number,
    name: truncate(oneLine(step.name), maxNameChars),
    ...(stage === undefined ? {} : {stage: truncate(oneLine(stage), 80)}),
    ...(platform === undefined ? {} : {platform: truncate(oneLine(platform), 80)}),
    state: step.state,
    cached: step.cached,
    ...(step.seconds === undefined ? {} : {seconds: roundSeconds(step.seconds)}),
    ...(exitCode === undefined ? {} : {exitCode}),
  };
}

/** JSON in which control characters, line separators and bidirectional signs stand as escapes. */
function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g,
    char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
