import type {DaemonRequest} from '../base/daemon.ts';
import type {DerivePlan} from '../base/derive.ts';
import {UserError} from '../base/errors.ts';
import type {ImageReference} from '../base/image-reference.ts';
import {baseName, dirName, resolvePath} from '../base/path.ts';
import type {BuildRequest, ClientPlace, ContextSource, PreflightMode} from '../base/request.ts';
import type {Expectation} from '../base/result.ts';
import {archiveAndDerive} from './archive.ts';
import {CATALOG, resolveVersion} from './catalog.ts';
import {daemonConfig} from './daemon.ts';

import type {Inputs} from './inputs.ts';

/** What the job will do, decided; plain JSON, printed by `--plan`, and the only source of cache keys. */
export interface Plan {
  readonly archive: {
    /** For people: as the user wrote it. */
    readonly reference: string;
    /** Where it may lie on this machine. */
    readonly path?: string;
    /** Where registries have it, in the order in which to try. */
    readonly images: readonly ImageReference[];
    readonly expectedBuildkit?: string;
    readonly storeDir: string;
  };
  /** A BuildKit that takes the place of the archive's own. */
  readonly derive?: DerivePlan;
  readonly vm: {
    readonly launcher: 'auto' | 'qemu' | 'docker';
    readonly accelerator: 'auto' | 'kvm' | 'tcg';
    readonly machine: 'auto' | 'published';
    readonly snapshot: 'auto' | 'off';
    readonly cpus: number;
    readonly memoryMib: number;
    /** The machine goes on after the job, for others. */
    readonly keepRunning: boolean;
    readonly bootTimeoutMs: number;
    readonly kvmPatienceMs: number;
    readonly username: string;
    readonly password: string;
    /** The port of 127.0.0.1 (0 for one that is free) that leads to the guest's debugger. */
    readonly debug?: {readonly hostPort: number; readonly guestPort: number};
  };
  readonly build: {
    readonly request: BuildRequest;
    readonly daemon: DaemonRequest;
    /** Where buildctl runs. */
    readonly client: ClientPlace;
    readonly timeoutMs: number;
    readonly preflight: PreflightMode;
    /** Paths in results and annotations are relative to it. */
    readonly workspaceDir: string;
  };
  readonly report: {
    readonly expect: Expectation;
    readonly summary: boolean;
    readonly annotations: boolean;
  };
}

/** What a plan needs to know of the place where it will run. */
export interface Place {
  /** Absolute; what relative paths in inputs are relative to. */
  readonly workspaceDir: string;
  readonly storeDir: string;
}

/** @throws UserError when inputs do not go together. */
export function makePlan(inputs: Inputs, place: Place): Plan {
  const {archive, derive} = archiveAndDerive(inputs, place);
  return {
    archive,
    ...(derive && {derive}),
    vm: {
      launcher: inputs.launcher,
      accelerator: inputs.accelerator,
      machine: inputs.machine,
      snapshot: inputs.snapshot,
      cpus: inputs.cpus,
      memoryMib: inputs.memory,
      keepRunning: inputs['keep-running'],
      bootTimeoutMs: inputs['boot-timeout'] * 1000,
      kvmPatienceMs: inputs['kvm-patience'] * 1000,
      // Every published archive has this login; its port is on loopback only.
      username: 'root',
      password: 'root',
      ...debugForward(inputs),
    },
    build: {
      request: buildRequest(inputs, place),
      daemon: daemonRequest(inputs, place),
      client: inputs.client,
      timeoutMs: inputs['build-timeout'] * 1000,
      preflight: inputs.preflight,
      workspaceDir: place.workspaceDir,
    },
    report: {
      expect: inputs.expect,
      summary: inputs.summary,
      annotations: inputs.annotations,
    },
  };
}

/** Of all published archives that have a debugger. */
const DEBUGGER_PORT = 2345;

/** @throws UserError for a published archive without a debugger. */
function debugForward(inputs: Inputs): Pick<Plan['vm'], 'debug'> {
  const {archive, 'buildkit-version': asked, 'debug-port': hostPort} = inputs;
  if (hostPort === undefined) return {};
  // What an archive of the user's own brings is for the user to know.
  if (archive !== '' || asked === '') return {debug: {hostPort, guestPort: DEBUGGER_PORT}};
  const {entry} = resolveVersion(asked, {sources: []});
  if (entry.debugger !== undefined) return {debug: {hostPort, guestPort: entry.debugger}};
  const withOne = CATALOG.flatMap(({name, debugger: port}) => (port === undefined ? [] : [name]));
  throw new UserError(
    `debug-port: the archive ${entry.name} has no debugger; those that have one: ${withOne.join(', ')}`,
    {
      input: 'debug-port',
      stage: 'inputs',
      hint: `set buildkit-version: ${withOne.at(-1)}, or leave debug-port out`,
    },
  );
}

/** The plan for printing: secrets are named, never shown. */
export function printablePlan(plan: Plan): unknown {
  const {request} = plan.build;
  const secrets = request.secrets.map(secret =>
    secret.kind === 'value' ? {...secret, value: '***'} : secret,
  );
  return {...plan, vm: {...plan.vm, password: '***'}, build: {...plan.build, request: {...request, secrets}}};
}

function buildRequest(inputs: Inputs, place: Place): BuildRequest {
  const context = contextSource(inputs.context, place.workspaceDir);
  const optional = (key: 'target' | 'network' | 'shm-size' | 'override-copy-image', name: string) =>
    inputs[key] === '' ? {} : {[name]: inputs[key]};
  return {
    context,
    dockerfile: dockerfile(inputs.file, context, place.workspaceDir),
    buildArgs: inputs['build-args'],
    labels: inputs.labels,
    tags: inputs.tags,
    noCache: inputs['no-cache'],
    noCacheFilters: inputs['no-cache-filters'],
    pull: inputs.pull,
    platforms: inputs.platforms,
    addHosts: inputs['add-hosts'],
    outputs: inputs.outputs.map(output =>
      output.dest === undefined ? output : {...output, dest: resolvePath(place.workspaceDir, output.dest)},
    ),
    secrets: uniqueSecrets([
      ...inputs.secrets,
      ...inputs['secret-files'].map(secret =>
        secret.kind === 'file' ? {...secret, path: resolvePath(place.workspaceDir, secret.path)} : secret,
      ),
    ]),
    allow: inputs.allow,
    ulimits: inputs.ulimit,
    cacheFrom: inputs['cache-from'],
    cacheTo: inputs['cache-to'],
    ...optional('target', 'target'),
    ...optional('network', 'network'),
    ...optional('shm-size', 'shmSize'),
    ...optional('override-copy-image', 'overrideCopyImage'),
  };
}

function daemonRequest(inputs: Inputs, place: Place): DaemonRequest {
  const config = daemonConfig(inputs, place.workspaceDir);
  return {
    ...(config && {config}),
    flags: inputs['buildkitd-flags'],
    mirrors: inputs['registry-mirrors'],
    registryAuth: inputs['registry-auth'],
  };
}

function uniqueSecrets(secrets: BuildRequest['secrets']): BuildRequest['secrets'] {
  const seen = new Set<string>();
  for (const {id} of secrets) {
    if (seen.has(id)) {
      throw new UserError(`secrets: the ID "${id}" is given twice`, {
        input: 'secrets',
        stage: 'inputs',
        hint: 'give each secret its own ID',
      });
    }
    seen.add(id);
  }
  return secrets;
}

/** What BuildKit takes for a remote context (frontend/dockerfile, `detectGitContext` and `detectHTTPContext`); all else is a folder. */
const REMOTE = /^(https?:\/\/|git:\/\/|ssh:\/\/|git@|github\.com\/)/;

function contextSource(text: string, workspaceDir: string): ContextSource {
  return REMOTE.test(text)
    ? {kind: 'remote', url: text}
    : {kind: 'local', dir: resolvePath(workspaceDir, text)};
}

/** `file` is relative to the workspace, as in docker/build-push-action; inside a remote context it is a name there. */
function dockerfile(file: string, context: ContextSource, workspaceDir: string): BuildRequest['dockerfile'] {
  if (context.kind === 'remote') return {name: file === '' ? 'Dockerfile' : file};
  const path = resolvePath(workspaceDir, file === '' ? `${context.dir}/Dockerfile` : file);
  return {dir: dirName(path), name: baseName(path)};
}
