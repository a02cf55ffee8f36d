import {baseName, shortPath} from '../base/path.ts';
import type {Outcome, Versions} from '../base/result.ts';
import {parseVersion} from '../base/version.ts';
import type {BuildRun} from './buildctl.ts';
import {diagnose, failedInTracing, type MachineEvidence} from './diagnose/diagnose.ts';

/** What is known of the Dockerfile that was built; a remote context has none of it. */
export interface BuiltDockerfile {
  readonly path: string;
  readonly text: string;
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly target?: string;
  readonly platforms: readonly string[];
}

/**
 * True also where buildctl alone failed, in a release that is known for it, and the build did not.
 * @param hasResults whether what was asked for is there: all results, or none were asked for.
 */
export function isBuilt(run: BuildRun, {buildctl}: Versions, hasResults: boolean): boolean {
  if (run.exit.code === 0) return true;
  const release = parseVersion(buildctl.version);
  return (
    run.exit.code === 1 &&
    !run.timedOut &&
    hasResults &&
    release !== undefined &&
    failedInTracing(run.trace, release)
  );
}

/** How a build ended: built, or failed with kind, step, place in the Dockerfile and advice. */
export function outcomeOf(
  run: BuildRun,
  built: boolean,
  versions: Versions,
  dockerfile: BuiltDockerfile | undefined,
  evidence: MachineEvidence,
  workspaceDir: string,
): Outcome {
  if (built) return {kind: 'built'};
  const version = parseVersion(versions.buildkit.version);
  const diagnosis = diagnose({
    trace: run.trace,
    exitCode: run.exit.code ?? 1,
    machine: {
      kernel: versions.kernel,
      ...(versions.runc && {runc: versions.runc.version}),
      ...(run.timedOut && {stopped: 'timeout' as const}),
      ...evidence,
    },
    ...(version && {version}),
    ...(dockerfile && {
      dockerfile: dockerfile.text,
      dockerfileName: baseName(dockerfile.path),
      buildArgs: dockerfile.buildArgs,
      platforms: dockerfile.platforms,
      ...(dockerfile.target !== undefined && {target: dockerfile.target}),
    }),
  });
  const message =
    diagnosis?.summary ??
    run.trace.error ??
    `buildctl ended with ${run.exit.signal ?? `exit status ${run.exit.code}`}`;
  const file = dockerfile && shortPath(workspaceDir, dockerfile.path);
  return {
    kind: 'build-failed',
    failureKind: diagnosis?.kind ?? 'infra',
    message,
    ...(diagnosis?.step !== undefined && {step: diagnosis.step}),
    ...(diagnosis?.stepId !== undefined && {stepId: diagnosis.stepId}),
    ...(diagnosis?.exitCode !== undefined && {exitCode: diagnosis.exitCode}),
    ...(diagnosis?.lines &&
      file !== undefined && {
        location: {file, startLine: diagnosis.lines.startLine, endLine: diagnosis.lines.endLine},
      }),
    ...(diagnosis && {hint: hintOf(diagnosis)}),
  };
}

function hintOf({hint, worksFrom}: {hint: string; worksFrom?: string}): string {
  return worksFrom === undefined || hint.includes(worksFrom)
    ? hint
    : `${hint} It works from BuildKit ${worksFrom} on.`;
}
