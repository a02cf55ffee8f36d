import type {Devices} from '../base/devices.ts';
import type {Emit, RunStage} from '../base/events.ts';
import type {InteractiveSession, Session} from '../base/ports.ts';
import type {JobResult, Outcome, Versions} from '../base/result.ts';
import type {BuildTrace} from '../base/trace.ts';
import {compareVersions, parseVersion} from '../base/version.ts';
import {runBuildctl} from './buildctl.ts';
import {type SendReport, sendContext} from './context.ts';
import {planContext, type ResolvedContext} from './context-plan.ts';
import {changesDaemon, configureDaemon} from './daemon/configure.ts';
import {gatherEvidence} from './evidence.ts';
import {GUEST_PATHS, prepareGuest} from './guest.ts';
import {buildctlCommand, releaseInGuest} from './guest-build.ts';
import {withLogins} from './logins.ts';
import {type ImageFacts, imageFacts} from './metadata.ts';
import {isBuilt, outcomeOf} from './outcome.ts';
import {type ResultTarget, receiveOutput} from './outputs.ts';
import {type BuildPlan, type BuildPorts, foresee, type PreparedBuild} from './prepare.ts';
import {openRunnerSite} from './runner-site.ts';
import {type BuildSite, commandAt, siteInVm} from './site.ts';

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

export type BuildContext = BuildPorts & {
  readonly emit: Emit;
  readonly stage: RunStage;
  /** An SSH session into the machine. */
  readonly login: (signal: AbortSignal) => Promise<InteractiveSession>;
  /** What can be plugged into this machine. */
  readonly devices?: Devices | undefined;
  /** Resolves when the machine is known to be sound. The context may go in before; nothing that counts may be done. */
  readonly proven: Promise<void>;
};

/** Sends the context in, runs buildctl, and fetches the results; `record` knows at any time how far it got. */
export async function runBuild(
  ports: BuildContext,
  session: Session,
  found: Versions,
  prepared: PreparedBuild,
  record: BuildRecord,
  signal: AbortSignal,
): Promise<void> {
  const {plan, dockerfile, daemon} = prepared;
  if (changesDaemon(daemon)) {
    await ports.proven;
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
  await using site = await openSite(ports, session, versions, prepared, record, signal);
  await ports.proven;
  const run = await ports.stage('build', `Build on BuildKit ${versions.buildkit.version}`, () =>
    withLogins(site.session, site.layout.docker, prepared.logins, signal, env =>
      runBuildctl(site, commandAt(site, plan.request, release).argv, {
        emit: ports.emit,
        env,
        timeoutMs: plan.timeoutMs,
        signal,
        salvage: trace => Object.assign(record, {trace}),
      }),
    ),
  );
  await ports.stage('outputs', 'Fetch the results', async () => {
    record.trace = run.trace;
    // A client outside of the machine only sees that its connection broke.
    const metadata = await site.session.output(['cat', site.layout.metadata], {signal});
    // It is written last of all, where something is exported.
    const hasResults = plan.request.outputs.length === 0 || metadata.code === 0;
    const built = isBuilt(run, versions, hasResults);
    if (!built && plan.client === 'runner') await session.output(['true'], {signal});
    const evidence = built ? {} : await gatherEvidence(session, signal);
    Object.assign(record, {
      outcome: outcomeOf(run, built, versions, dockerfile, evidence, plan.workspaceDir),
      ...imageFacts(built && metadata.code === 0 ? metadata.stdout : undefined, run.trace),
    });
    if (!built) return;
    if (run.exit.code !== 0) ports.emit({kind: 'warning', message: TRACING_WARNING});
    record.outputs = await fetchResults(ports, site, session, prepared.targets, signal);
  });
}

const TRACING_WARNING =
  'buildctl ended with status 1 although all steps succeeded: BuildKit v0.31.0 and v0.31.1 do so when their tracing takes more than 50 ms to shut down; the build counts as built';

/** Puts in place what buildctl reads, where it is to run. */
function openSite(
  ports: BuildContext,
  session: Session,
  versions: Versions,
  {plan, local}: PreparedBuild,
  record: BuildRecord,
  signal: AbortSignal,
): Promise<BuildSite> {
  if (plan.client === 'runner') {
    return ports.stage('context', "Take the archive's buildctl out of the VM", () =>
      openRunnerSite(ports, {session, login: ports.login, versions}, plan.request, local, signal),
    );
  }
  const title = local ? `Send the context ${local.contextDir}` : 'Prepare the build';
  return ports.stage('context', title, async () => {
    await prepareGuest(session, plan.request.secrets, path => ports.files.openRead(path), signal);
    if (local) record.sent = await send(ports, session, local, plan, versions, signal);
    return siteInVm(session);
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
  const {devices, emit, imager} = ports;
  const report = await sendContext(session, ports.packer, plan, GUEST_PATHS, {
    signal,
    disk: devices && {devices, emit, imager},
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
    message: `sent ${report.files} files, ${(report.bytes / 1e6).toFixed(1)} MB${report.way === 'disk' ? ' as a disk' : ''}; ${report.leftOut} entries left out by ${plan.ignoreFiles.join(', ') || 'nothing'}`,
  });
  return report;
}

async function fetchResults(
  ports: BuildContext,
  {session, layout}: BuildSite,
  inVm: Session,
  targets: readonly ResultTarget[],
  signal: AbortSignal,
): Promise<JobResult['outputs']> {
  const done: {type: string; path: string; bytes: number}[] = [];
  for (const [index, target] of targets.entries()) {
    const report = await receiveOutput(session, ports.results, target, layout.output(index), {
      signal,
      devices: session === inVm ? ports.devices : undefined,
      onTrouble: message => ports.emit({kind: 'notice', message}),
      onTemp: path => ports.emit({kind: 'resource', resource: {kind: 'temp-dir', path}}),
    });
    for (const message of report.warnings) ports.emit({kind: 'warning', message});
    done.push({type: target.spec.type, path: target.dest, bytes: report.bytes});
  }
  return done;
}
