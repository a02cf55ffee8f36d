import type {DaemonRequest} from '../base/daemon.ts';
import {UserError} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import type {Logins} from '../base/http.ts';
import {resolvePath, shortPath} from '../base/path.ts';
import type {Files, Forwards, Session} from '../base/ports.ts';
import type {BuildRequest, ClientPlace, PreflightMode} from '../base/request.ts';
import type {Links, ResultStore, TreeImager, TreePacker} from '../base/tree.ts';
import type {Version} from '../base/version.ts';
import {type ResolvedContext, resolveContext} from './context-plan.ts';
import {configMirrors} from './daemon/config.ts';
import {type PreparedDaemon, prepareDaemon} from './daemon/prepare.ts';
import {readDockerfile} from './dockerfile/read.ts';
import {buildctlCommand} from './guest-build.ts';
import {type BuildLogins, buildLogins} from './logins.ts';
import type {BuiltDockerfile} from './outcome.ts';
import {planOutputs, type ResultTarget} from './outputs.ts';
import {preflight} from './preflight.ts';
import {refuseOpenCredentials} from './runner-site.ts';
import {releaseOf} from './versions/table.ts';

/** The part of a plan that concerns the build. */
export interface BuildPlan {
  readonly request: BuildRequest;
  readonly daemon: DaemonRequest;
  /** Where buildctl runs. */
  readonly client: ClientPlace;
  readonly timeoutMs: number;
  readonly preflight: PreflightMode;
  /** Paths in results are relative to it. */
  readonly workspaceDir: string;
}

export interface BuildPorts {
  readonly files: Files & Links;
  readonly packer: TreePacker;
  readonly imager: TreeImager;
  readonly results: ResultStore;
  readonly logins: Logins;
  readonly forwards: Forwards;
  readonly openLocalSession: (dir: string) => Session;
}

/** A build that was looked at before anything was started. */
export interface PreparedBuild {
  readonly plan: BuildPlan;
  /** Results that come back to this machine. */
  readonly targets: readonly ResultTarget[];
  readonly daemon: PreparedDaemon;
  /** Secret: in memory and in the VM's memory only. */
  readonly logins: BuildLogins;
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
  refuseOpenCredentials(plan.client, request);
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
  const daemon = await prepareDaemon(ports, plan.daemon, plan.workspaceDir, version);
  if (request.context.kind === 'remote') {
    return {plan, targets, daemon, logins: await findLogins(ports, plan, daemon, undefined)};
  }
  const local = await resolveContext(request.context.dir, request.dockerfile, ports.files);
  const dockerfile = await loadDockerfile(ports.files, local, request);
  const logins = await findLogins(ports, plan, daemon, dockerfile);
  const prepared = {plan, targets, daemon, logins, local, dockerfile};
  if (version) foresee(prepared, version, ports.emit);
  return {...prepared, ...(version && {foreseen: version})};
}

async function findLogins(
  ports: BuildPorts & {readonly emit: Emit},
  {request, daemon: {mirrors, registryAuth}}: BuildPlan,
  {given}: PreparedDaemon,
  dockerfile: BuiltDockerfile | undefined,
): Promise<BuildLogins> {
  const logins = await buildLogins(registryAuth, ports.logins, {
    request,
    ...(dockerfile && {dockerfile: readDockerfile(dockerfile.text, {buildArgs: dockerfile.buildArgs})}),
    mirrors: [...mirrors, ...configMirrors(given)],
  });
  if (logins.size > 0) {
    ports.emit({
      kind: 'notice',
      message: `the build gets docker's logins for ${[...logins.keys()].join(', ')}`,
    });
  }
  return logins;
}

/**
 * Says what the release's built-in frontend will not understand. That it fails can be just what is wanted (`expect: failure`), so it is a notice
 * unless the plan makes it an error.
 * @throws UserError in that case.
 */
export function foresee({plan, local, dockerfile}: PreparedBuild, release: Version, emit: Emit): void {
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

async function loadDockerfile(
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
