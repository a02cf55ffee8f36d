import type {DerivedFacts} from '../base/derive.ts';
import type {Stage} from '../base/errors.ts';
import type {JobResult, Outcome, Timings} from '../base/result.ts';
import type {Step} from '../base/trace.ts';
import {oneLine} from './inert.ts';
import {snapshotText, startText} from './start.ts';
import {formatSeconds, truncate} from './text.ts';

/** A step with its place in the build, counted from 1: the `#N` of the plain log where that counts the same way. */
export interface NumberedStep {
  readonly number: number;
  readonly step: Step;
}

/** What the job was doing, for sentences about the stage in which it ended. */
export const STAGE_TITLES: Readonly<Record<Stage, string>> = {
  inputs: 'reading the inputs',
  plan: 'planning',
  archive: 'obtaining the archive',
  vm: 'booting the machine',
  inspect: 'inspecting the machine',
  context: 'sending the context',
  build: 'building',
  outputs: 'fetching the outputs',
  report: 'reporting',
  forge: 'forging the archive',
  cleanup: 'cleaning up',
};

/** The stages of a job with their times, in order; those not reached are left out. Seconds. */
export function stageTimes(timings: Timings): {title: string; seconds: number}[] {
  const all: [string, number | undefined][] = [
    ['Archive', timings.archiveSeconds],
    ['Boot', timings.bootSeconds],
    ['Inspect', timings.inspectSeconds],
    ['Context', timings.contextSeconds],
    ['Build', timings.buildSeconds],
    ['Outputs', timings.outputsSeconds],
    ['Cleanup', timings.cleanupSeconds],
  ];
  return all.flatMap(([title, seconds]) => (seconds === undefined ? [] : [{title, seconds}]));
}

export function numberedSteps(result: Pick<JobResult, 'trace'>): NumberedStep[] {
  return (result.trace?.steps ?? []).map((step, index) => ({number: index + 1, step}));
}

/** The step the outcome names, else the last one in state `failed`; undefined when the build did not fail in a step. */
export function failedStep(result: Pick<JobResult, 'trace' | 'outcome'>): NumberedStep | undefined {
  const {outcome} = result;
  if (outcome.kind !== 'build-failed') return undefined;
  const steps = numberedSteps(result);
  return (
    steps.find(({step}) => outcome.stepId !== undefined && step.id === outcome.stepId) ??
    steps.findLast(({step}) => step.state === 'failed' && step.name === outcome.step) ??
    steps.findLast(({step}) => step.state === 'failed')
  );
}

/** Name of the failed step on one line, as hostile as the Dockerfile; undefined when no step failed. */
export function failedStepName(result: JobResult): string | undefined {
  const {outcome} = result;
  if (outcome.kind !== 'build-failed') return undefined;
  const name = outcome.step ?? failedStep(result)?.step.name;
  return name === undefined ? undefined : oneLine(name);
}

/** One line that says how the job ended, safe to print. */
export function describeOutcome(result: JobResult): string {
  const {outcome} = result;
  if (outcome.kind === 'built') {
    const {buildSeconds} = result.timings;
    return buildSeconds === undefined ? 'built' : `built in ${formatSeconds(buildSeconds)}`;
  }
  const message = truncate(oneLine(outcome.message), 600);
  if (outcome.kind === 'canceled') return `canceled while ${STAGE_TITLES[outcome.stage]}: ${message}`;
  if (outcome.kind === 'infra-failed') return `failed while ${STAGE_TITLES[outcome.stage]}: ${message}`;
  const name = failedStepName(result);
  return name === undefined
    ? `the build failed: ${message}`
    : `the build failed at ${truncate(name, 200)}: ${message}`;
}

/** What to do next, when the outcome says so. */
export function hintOf(outcome: Outcome): string | undefined {
  return 'hint' in outcome && outcome.hint !== undefined ? truncate(oneLine(outcome.hint), 1000) : undefined;
}

/** `cached` where a step's result came from the cache, else its state. */
export function stateOf(step: Step): Step['state'] {
  return step.cached && step.state === 'done' ? 'cached' : step.state;
}

/** Failed steps first, then the longest: what is kept when not all can be shown. */
export function byImportance(a: NumberedStep, b: NumberedStep): number {
  const failed = Number(b.step.state === 'failed') - Number(a.step.state === 'failed');
  return failed || (b.step.seconds ?? 0) - (a.step.seconds ?? 0) || a.number - b.number;
}

/** The `max` most important steps, in their order. */
export function mostImportant(steps: readonly NumberedStep[], max: number): NumberedStep[] {
  return [...steps]
    .sort(byImportance)
    .slice(0, max)
    .sort((a, b) => a.number - b.number);
}

/** What comes from where in a machine that nobody archived. */
export function derivedText({archive, archiveBuildkit, runc}: DerivedFacts, buildkit: string): string {
  const base = archive === archiveBuildkit ? archive : `${archive} (${archiveBuildkit})`;
  return runc === 'bundled'
    ? `from archive ${base}: kernel and systemd of ${archiveBuildkit}, BuildKit and runc of ${buildkit}`
    : `from archive ${base}: kernel, systemd and runc of ${archiveBuildkit}, BuildKit of ${buildkit}`;
}

/** What the machine says about itself, as rows of name, value and remark; hostile text, not yet made safe. */
export function versionRows(result: JobResult): [name: string, value: string, remark: string][] {
  const {versions, machine} = result;
  if (!versions) return [];
  const {buildkit, buildctl, runc, systemd, workers} = versions;
  const runcRemarks = [
    runc?.commit,
    runc?.spec && `spec ${runc.spec}`,
    runc?.go && `Go ${runc.go.replace(/^go/, '')}`,
    runc?.libseccomp && `libseccomp ${runc.libseccomp}`,
  ];
  const failed = systemd.failedUnits.length > 0 ? `failed: ${systemd.failedUnits.join(', ')}` : '';
  const rows: [string, string | undefined, string | undefined][] = [
    ['BuildKit', buildkit.version, buildkit.commit],
    ['buildctl', buildctl.version, buildctl.commit],
    [
      'Derived',
      versions.derived && derivedText(versions.derived, buildkit.version),
      versions.derived?.source,
    ],
    ['runc', runc?.version, runcRemarks.filter(remark => remark).join(', ')],
    ['Kernel', versions.kernel, versions.architecture],
    ['OS', versions.os, ''],
    [
      'systemd',
      systemd.version ?? systemd.state,
      systemd.version ? [systemd.state, failed].filter(part => part).join(', ') : failed,
    ],
    ...workers.map((worker): [string, string, string] => [
      'Worker',
      worker.snapshotter ?? worker.id,
      worker.platforms.join(', '),
    ]),
    [
      'QEMU',
      machine?.qemuVersion,
      machine &&
        [
          machine.launcher === 'docker' ? 'in docker' : undefined,
          machine.accelerator,
          `${machine.cpus} CPU`,
          `${machine.memoryMib} MiB`,
          machine.line === 'published' ? 'devices as published' : undefined,
          machine.acceleratorReason,
          machine.launcherReason && `launched by ${machine.launcherReason}`,
        ]
          .filter(part => part)
          .join(', '),
    ],
    ['Start', machine?.start && startText(machine.start), machine?.start && snapshotText(machine.start)],
  ];
  return rows.flatMap(([name, value, remark]) => (value ? [[name, value, remark ?? '']] : []));
}
