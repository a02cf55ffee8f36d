import {messageOf, UserError} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import type {Files, Forward, Forwards, InteractiveSession, Session} from '../base/ports.ts';
import type {BuildRequest, ClientPlace} from '../base/request.ts';
import type {Versions} from '../base/result.ts';
import type {ResultStore} from '../base/tree.ts';
import {csvFields} from './arg-list.ts';
import type {ResolvedContext} from './context-plan.ts';
import type {BuildSite} from './site.ts';

/** BuildKit's own default (util/appdefaults, `Address`). */
export const DAEMON_SOCKET = '/run/buildkit/buildkitd.sock';

export interface RunnerPorts {
  readonly files: Files;
  readonly results: ResultStore;
  readonly forwards: Forwards;
  /** Commands on this machine, at home in a folder. */
  readonly openLocalSession: (dir: string) => Session;
  readonly emit: Emit;
}

/** The VM as far as a client outside of it needs it. */
export interface ClientVm {
  readonly session: Session;
  readonly login: (signal: AbortSignal) => Promise<InteractiveSession>;
  readonly versions: Versions;
}

/**
 * buildctl on this machine: the VM's own program, in a folder that only this user can enter, with a forward to the daemon's socket. It reads the context where it
 * lies. Disposing the site ends what runs there and removes the folder, secrets and results included.
 * @throws UserError when the program does not run here.
 */
export async function openRunnerSite(
  ports: RunnerPorts,
  vm: ClientVm,
  request: BuildRequest,
  local: ResolvedContext | undefined,
  signal: AbortSignal,
): Promise<BuildSite> {
  const dir = await ports.files.makeTempDir();
  ports.emit({kind: 'resource', resource: {kind: 'temp-dir', path: dir}});
  const session = ports.openLocalSession(dir);
  let forward: Forward | undefined;
  const dispose = async (): Promise<void> => {
    await session.close();
    await forward?.[Symbol.asyncDispose]();
    await removeAll(ports.files, session, dir);
  };
  try {
    const paths = runnerPaths(dir);
    await Promise.all([
      takeBuildctl(ports.results, vm, session, paths.buildctl, signal),
      ports.forwards
        .open(vm.session, {socketPath: paths.socket, guestPath: DAEMON_SOCKET, login: vm.login, signal})
        .then(opened => {
          forward = opened;
        }),
      prepareFolder(ports.files, session, request, local, paths, signal),
    ]);
    ports.emit({kind: 'debug', message: `buildctl runs here, with a forward by ${forward?.way}`});
    return {
      session,
      layout: {
        ...paths,
        context: local?.contextDir ?? '',
        output: index => `${paths.out}/${index}`,
        secret: id => secretHere(request, id, paths.secrets),
      },
      // When this process is killed, its connection breaks, and it ends.
      buildctl: [paths.buildctl, '--addr', `unix://${paths.socket}`],
      interrupt: ['pkill', '-INT', '-f', `^${escapeRegExp(paths.buildctl)} `],
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

function runnerPaths(dir: string) {
  return {
    buildctl: `${dir}/buildctl`,
    socket: `${dir}/buildkit.sock`,
    dockerfile: `${dir}/dockerfile`,
    out: `${dir}/out`,
    trace: `${dir}/trace`,
    metadata: `${dir}/metadata.json`,
    secrets: `${dir}/secrets`,
    docker: `${dir}/docker`,
  } as const;
}

/** A file of the user is read where it lies; a value has a file of its own. */
function secretHere(request: BuildRequest, id: string, dir: string): string {
  const secret = request.secrets.find(one => one.id === id);
  return secret?.kind === 'file' ? secret.path : `${dir}/${id}`;
}

async function takeBuildctl(
  results: ResultStore,
  vm: ClientVm,
  session: Session,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  await results.receiveFile(path, async write => {
    let stderr = '';
    const exit = await vm.session.run(['sh', '-c', READ_BUILDCTL], {
      onStdout: write,
      bulk: 'stdout',
      onStderr: chunk => {
        stderr += chunk.toString('utf8');
      },
      signal,
    });
    if (exit.code !== 0) throw new Error(`buildctl could not be read in the VM: ${stderr.trim()}`);
  });
  await session.output(['chmod', '0700', path], {signal});
  const {version} = vm.versions.buildctl;
  const ran = await session
    .output([path, '--version'], {signal, timeoutMs: 20_000})
    .catch((error: unknown) => ({code: undefined, stdout: '', stderr: messageOf(error)}));
  signal.throwIfAborted();
  if (ran.code === 0 && ran.stdout.includes(version)) return;
  const said = (ran.stderr || ran.stdout).trim().split('\n')[0] ?? '';
  throw new UserError(`client: the archive's buildctl ${version} does not run on this machine: ${said}`, {
    input: 'client',
    stage: 'context',
    hint: `it is a program for Linux on ${vm.versions.architecture}; leave client at vm to run it in the VM`,
  });
}

const READ_BUILDCTL =
  'PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin; path=$(command -v buildctl) && exec cat -- "$path"';

const PREPARE = 'umask 077 && mkdir -- "$1" "$2" "$3" && mkfifo -- "$4"';

async function prepareFolder(
  files: Files,
  session: Session,
  request: BuildRequest,
  local: ResolvedContext | undefined,
  paths: ReturnType<typeof runnerPaths>,
  signal: AbortSignal,
): Promise<void> {
  const {dockerfile, out, secrets, trace} = paths;
  const made = await session.output(['sh', '-c', PREPARE, 'prepare', dockerfile, out, secrets, trace], {
    signal,
  });
  if (made.code !== 0) throw new Error(`cannot make the build's folders: ${made.stderr.trim()}`);
  for (const secret of request.secrets) {
    if (secret.kind === 'value') await files.write(`${secrets}/${secret.id}`, secret.value);
  }
  // Copied, since the Dockerfile may be a link, which BuildKit would not follow out of its folder.
  for (const name of local?.dockerfileNames ?? [])
    await files.copySparse(`${local?.dockerfileDir}/${name}`, `${dockerfile}/${name}`);
}

/** A result may hold folders that their owner cannot write. */
async function removeAll(files: Files, session: Session, dir: string): Promise<void> {
  await files.remove(dir).catch(async () => {
    await session.output(['chmod', '-R', 'u+rwX', '--', dir]);
    await files.remove(dir);
  });
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/**
 * What is on buildctl's command line can be read by every user of the machine that it runs on: in the VM that is nobody else.
 * @throws UserError for credentials of a cache or of a context's URL with `runner`.
 */
export function refuseOpenCredentials(client: ClientPlace, request: BuildRequest): void {
  if (client === 'vm') return;
  const refuse = (input: string, what: string): never => {
    throw new UserError(
      `${input}: with client: runner ${what} would stand on a command line, where others can read it`,
      {
        input,
        stage: 'inputs',
        hint: 'leave client at vm',
      },
    );
  };
  for (const [input, specs] of [
    ['cache-from', request.cacheFrom],
    ['cache-to', request.cacheTo],
  ] as const) {
    const fields = specs.flatMap(spec => csvFields(spec) ?? []);
    const names = fields.filter(field => field.includes('=')).map(field => field.split('=')[0] ?? '');
    const open = names.find(name => /secret|token|password|access_key|account_key/i.test(name));
    if (open !== undefined) refuse(input, open.trim());
  }
  const {context} = request;
  if (context.kind === 'remote' && /^[a-z]+:\/\/[^/@]*:[^/@]+@/i.test(context.url))
    refuse('context', 'the password in the URL');
}
