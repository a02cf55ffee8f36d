import type {Emit, RunStage} from '../base/events.ts';
import type {Session} from '../base/ports.ts';
import type {JobResult, Outcome, Versions} from '../base/result.ts';
import type {BuildTrace} from '../base/trace.ts';
import {compareVersions, parseVersion} from '../base/version.ts';
import {type BuildRun, runBuildctl} from './buildctl.ts';
import {type SendReport, sendContext} from './context.ts';
import {planContext, type ResolvedContext} from './context-plan.ts';
import {changesDaemon, configureDaemon} from './daemon/configure.ts';
import {gatherEvidence} from './evidence.ts';
import {GUEST_PATHS, prepareGuest} from './guest.ts';
import {buildctlCommand, guestOutput, releaseInGuest} from './guest-build.ts';
import {withLogins} from './logins.ts';
import {type ImageFacts, imageFacts} from './metadata.ts';
import {type BuiltDockerfile, outcomeOf} from './outcome.ts';
import {type ResultTarget, receiveOutput} from './outputs.ts';
import {type BuildPlan, type BuildPorts, foresee, type PreparedBuild} from './prepare.ts';

export {type BuildPlan, type BuildPorts, type PreparedBuild, prepareBuild} from './prepare.ts';

/** What a build left behind; filled in as it goes, so that what is known is there when its machine dies. */
export interface BuildRecord extends ImageFacts {
  outcome?: Outcome;
  /** What the VM holds, when the build's own configuration of the daemon has changed it. */
  versions?: Versions;
  trace?: BuildTrace;
  sent?: SendReport;
  outputs?: JobResult['outputs'];
}

export type BuildContext = BuildPorts & {readonly emit: Emit; readonly stage: RunStage};

/** Sends the context in, runs buildctl, and fetches the results; `record` knows at any time how far it got. */
export async function runBuild(
  ports: BuildContext,
  session: Session,
  found: Versions,
  prepared: PreparedBuild,
  record: BuildRecord,
  signal: AbortSignal,
): Promise<void> {
  const {plan, local, dockerfile, daemon} = prepared;
  if (changesDaemon(daemon)) {
    record.versions = await ports.stage('inspect', 'Configure buildkitd', () =>
      configureDaemon(ports, session, found, daemon, signal),
    );
  }
  const versions = record.versions ?? found;
  const release = await releaseInGuest(session, versions.buildctl.version, signal);
  const command = buildctlCommand(plan.request, release);
  const real = parseVersion(versions.buildkit.version);
  if (real && (!prepared.foreseen || compareVersions(real, prepared.foreseen) !== 0))
    foresee(prepared, real, ports.emit);
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
    withLogins(session, prepared.logins, signal, env =>
      runBuildctl(session, command.argv, {
        emit: ports.emit,
        env,
        timeoutMs: plan.timeoutMs,
        signal,
        salvage: trace => Object.assign(record, {trace}),
      }),
    ),
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
