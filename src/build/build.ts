import {UserError} from '../base/errors.ts';
import type {Emit, RunStage} from '../base/events.ts';
import {resolvePath, shortPath} from '../base/path.ts';
import type {Files, Session} from '../base/ports.ts';
import type {BuildRequest, PreflightMode} from '../base/request.ts';
import type {JobResult, Outcome, Versions} from '../base/result.ts';
import type {BuildTrace} from '../base/trace.ts';
import type {Links, ResultStore, TreePacker} from '../base/tree.ts';
import {compareVersions, parseVersion, type Version} from '../base/version.ts';
import {type BuildRun, runBuildctl} from './buildctl.ts';
import {type SendReport, sendContext} from './context.ts';
import {planContext, type ResolvedContext, resolveContext} from './context-plan.ts';
import {gatherEvidence} from './evidence.ts';
import {GUEST_PATHS, prepareGuest} from './guest.ts';
import {buildctlCommand, guestOutput, releaseInGuest} from './guest-build.ts';
import {type ImageFacts, imageFacts} from './metadata.ts';
import {type BuiltDockerfile, outcomeOf} from './outcome.ts';
import {planOutputs, type ResultTarget, receiveOutput} from './outputs.ts';
import {preflight} from './preflight.ts';
import {releaseOf} from './versions/table.ts';

/** The part of a plan that concerns the build. */
export interface BuildPlan {
  readonly request: BuildRequest;
  readonly timeoutMs: number;
  readonly preflight: PreflightMode;
  /** Paths in results are relative to it. */
  readonly workspaceDir: string;
}

export interface BuildPorts {
  readonly files: Files & Links;
  readonly packer: TreePacker;
  readonly results: ResultStore;
}

/** What a build left behind; filled in as it goes, so that what is known is there when its machine dies. */
export interface BuildRecord extends ImageFacts {
  outcome?: Outcome;
  trace?: BuildTrace;
  sent?: SendReport;
  outputs?: JobResult['outputs'];
}

/** A build that was looked at before anything was started. */
export interface PreparedBuild {
  readonly plan: BuildPlan;
  /** Results that come back to this machine. */
  readonly targets: readonly ResultTarget[];
  /** Absent for a remote context. */
  readonly local?: ResolvedContext;
  readonly dockerfile?: BuiltDockerfile;
  /** The release that the pre-flight was done for. */
  readonly foreseen?: Version;
}

/**
 * Finds everything on this side that would make the build fail: a missing context, Dockerfile or secret, a destination that cannot be
 * written, an input that the expected release cannot honour.
 * @param expected the release, when it is known before the boot.
 * @throws UserError naming the input.
 */
export async function prepareBuild(
  ports: BuildPorts & {readonly emit: Emit},
  plan: BuildPlan,
  expected: string | undefined,
): Promise<PreparedBuild> {
  const {request} = plan;
  const version = expected === undefined ? undefined : releaseOf(expected);
  if (version) buildctlCommand(request, version);
  const targets = await planOutputs(request.outputs, plan.workspaceDir, ports.files);
  for (const secret of request.secrets) {
    if (secret.kind === 'file' && (await ports.files.kind(secret.path)) !== 'file') {
      throw new UserError(`secret-files: there is no file ${secret.path} for the secret "${secret.id}"`, {
        input: 'secret-files',
        stage: 'inputs',
        hint: 'write ID=PATH; the path is relative to the workspace',
      });
    }
  }
  if (request.context.kind === 'remote') return {plan, targets};
  const local = await resolveContext(request.context.dir, request.dockerfile, ports.files);
  const prepared = {plan, targets, local, dockerfile: await readDockerfile(ports.files, local, request)};
  if (version) foresee(prepared, version, ports.emit);
  return {...prepared, ...(version && {foreseen: version})};
}

/**
 * Says what the release's built-in frontend will not understand. That it fails can be just what is wanted (`expect: failure`), so it is a notice
 * unless the plan makes it an error.
 * @throws UserError in that case.
 */
function foresee({plan, local, dockerfile}: PreparedBuild, release: Version, emit: Emit): void {
  if (plan.preflight === 'off' || !dockerfile || !local) return;
  const findings = preflight(dockerfile.text, release, {
    buildArgs: dockerfile.buildArgs,
    dockerfileName: local.dockerfileName,
    hasSpecificDockerignore: local.specificIgnore !== undefined,
    ...(plan.request.overrideCopyImage !== undefined && {overrideCopyImage: plan.request.overrideCopyImage}),
  });
  const file = shortPath(plan.workspaceDir, dockerfile.path);
  const fatal = plan.preflight === 'error' ? findings.filter(({severity}) => severity === 'error') : [];
  if (fatal.length > 0) {
    throw new UserError(fatal.map(({startLine, message}) => `${file}:${startLine}: ${message}`).join('\n'), {
      input: 'preflight',
      stage: 'plan',
      hint: 'take an archive of a BuildKit that can, or set preflight: notice to build all the same',
    });
  }
  for (const {message, startLine, endLine} of findings)
    emit({kind: 'notice', message, location: {file, startLine, endLine}});
}

async function readDockerfile(
  files: Files,
  local: ResolvedContext,
  request: BuildRequest,
): Promise<BuiltDockerfile> {
  const path = resolvePath(local.dockerfileDir, local.dockerfileNames[0] ?? local.dockerfileName);
  return {
    path,
    text: await files.readText(path),
    buildArgs: Object.fromEntries(request.buildArgs.map(({key, value}) => [key, value])),
    platforms: request.platforms,
    ...(request.target !== undefined && {target: request.target}),
  };
}

export type BuildContext = BuildPorts & {readonly emit: Emit; readonly stage: RunStage};

/** Sends the context in, runs buildctl, and fetches the results; `record` knows at any time how far it got. */
export async function runBuild(
  ports: BuildContext,
  session: Session,
  versions: Versions,
  prepared: PreparedBuild,
  record: BuildRecord,
  signal: AbortSignal,
): Promise<void> {
  const {plan, local, dockerfile} = prepared;
  const release = await releaseInGuest(session, versions.buildctl.version, signal);
  const command = buildctlCommand(plan.request, release);
  const found = parseVersion(versions.buildkit.version);
  if (found && (!prepared.foreseen || compareVersions(found, prepared.foreseen) !== 0))
    foresee(prepared, found, ports.emit);
  for (const message of command.warnings) ports.emit({kind: 'warning', message});
  await ports.stage(
    'context',
    local ? `Send the context ${local.contextDir}` : 'Prepare the build',
    async () => {
      await prepareGuest(session, plan.request.secrets, path => ports.files.openRead(path), signal);
      if (local) record.sent = await send(ports, session, local, plan, versions, signal);
    },
  );
  const run = await ports.stage('build', `Build on BuildKit ${versions.buildkit.version}`, () =>
    runBuildctl(session, command.argv, {
      emit: ports.emit,
      timeoutMs: plan.timeoutMs,
      signal,
      salvage: trace => Object.assign(record, {trace}),
    }),
  );
  await ports.stage('outputs', 'Fetch the results', async () => {
    await describe(session, run, versions, dockerfile, plan, record, signal);
    if (run.exit.code !== 0) return;
    record.outputs = await fetchResults(ports, session, prepared.targets, signal);
  });
}

async function send(
  ports: BuildContext,
  session: Session,
  local: ResolvedContext,
  {request}: BuildPlan,
  versions: Versions,
  signal: AbortSignal,
): Promise<SendReport> {
  const plan = planContext(local, {
    buildkit: parseVersion(versions.buildkit.version),
    buildArgs: request.buildArgs,
  });
  const report = await sendContext(session, ports.packer, plan, GUEST_PATHS, {
    signal,
    onProgress: (bytes, files) =>
      ports.emit({
        kind: 'progress',
        stage: 'context',
        text: `sent ${(bytes / 1e6).toFixed(1)} MB, ${files} files`,
      }),
  });
  for (const message of report.warnings) ports.emit({kind: 'warning', message});
  ports.emit({
    kind: 'notice',
    message: `sent ${report.files} files, ${(report.bytes / 1e6).toFixed(1)} MB; ${report.leftOut} entries left out by ${plan.ignoreFiles.join(', ') || 'nothing'}`,
  });
  return report;
}

async function fetchResults(
  ports: BuildContext,
  session: Session,
  targets: readonly ResultTarget[],
  signal: AbortSignal,
): Promise<JobResult['outputs']> {
  const done: {type: string; path: string; bytes: number}[] = [];
  for (const [index, target] of targets.entries()) {
    const report = await receiveOutput(session, ports.results, target, guestOutput(index), {
      signal,
      onTemp: path => ports.emit({kind: 'resource', resource: {kind: 'temp-dir', path}}),
    });
    for (const message of report.warnings) ports.emit({kind: 'warning', message});
    done.push({type: target.spec.type, path: target.dest, bytes: report.bytes});
  }
  return done;
}

/** Turns what buildctl left behind into the record: metadata, digests, and the answer why it failed. */
async function describe(
  session: Session,
  run: BuildRun,
  versions: Versions,
  dockerfile: BuiltDockerfile | undefined,
  plan: BuildPlan,
  record: BuildRecord,
  signal: AbortSignal,
): Promise<void> {
  const failed = run.exit.code !== 0;
  const evidence = failed ? await gatherEvidence(session, signal) : {};
  const metadata = failed ? undefined : await session.output(['cat', GUEST_PATHS.metadata], {signal});
  Object.assign(record, {
    trace: run.trace,
    outcome: outcomeOf(run, versions, dockerfile, evidence, plan.workspaceDir),
    ...imageFacts(metadata?.code === 0 ? metadata.stdout : undefined, run.trace),
  });
}
