import {cp, readdir, rename} from 'node:fs/promises';
import {join} from 'node:path';
import {messageOf, UserError} from '../../base/errors.ts';
import {isFile, kept} from '../cache.ts';
import {run, ToolError} from '../run.ts';
import {findTool} from '../tools.ts';

/** A Go command and the environment to run it in. */
export interface Go {
  readonly command: string;
  /** `1.26.8` */
  readonly version: string;
  readonly env: NodeJS.ProcessEnv;
}

export interface GoRequest {
  readonly env: NodeJS.ProcessEnv;
  readonly cacheDir: string;
  readonly signal: AbortSignal | undefined;
  log(line: string): void;
}

// What a Go that is too old fetches in its own stead; it compiles all releases from v0.7 to v0.32.
const TOOLCHAIN_VERSION = '1.26.3';
// Older ones do not know the module proxy's checksum database.
const OLDEST_FETCHING_GO = '1.13';

/** The Go on PATH; undefined when there is none that runs. */
export async function hostGo(request: GoRequest): Promise<Go | undefined> {
  const command = await findTool('go', request.env);
  if (!command) return undefined;
  try {
    const {stdout} = await run([command, 'version'], {env: request.env, signal: request.signal});
    const version = /\bgo(\d+\.\d+(?:\.\d+)?)/.exec(stdout)?.[1];
    return version === undefined ? undefined : {command, version, env: request.env};
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    request.log(`the go on PATH does not run: ${messageOf(error)}`);
    return undefined;
  }
}

/**
 * A Go that is at least `needed`: the given one, or a newer toolchain that it fetches as a module
 * (`golang.org/toolchain`, checked by Go against the checksum database) and that is kept in the cache.
 * @throws UserError when neither is to be had.
 */
export async function goAtLeast(needed: string, host: Go, request: GoRequest): Promise<Go> {
  if (compareGo(host.version, needed) >= 0) return host;
  const wanted = toolchainFor(needed);
  const tooOld = `go ${host.version} is too old: this BuildKit needs ${needed}`;
  const hint = `install Go ${needed} or newer (https://go.dev/dl/), or use --from release`;
  if (compareGo(host.version, OLDEST_FETCHING_GO) < 0) throw new UserError(tooOld, {hint, stage: 'forge'});
  try {
    request.log(`go ${host.version} is older than ${needed}: fetching Go ${wanted}`);
    const root = await kept(request.cacheDir, `go-${wanted}`, dir =>
      fetchToolchain(host, wanted, dir, request),
    );
    return {
      command: join(root, 'bin', 'go'),
      version: wanted,
      env: {...request.env, GOROOT: root, GOTOOLCHAIN: 'local'},
    };
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    throw new UserError(`${tooOld}, and Go ${wanted} cannot be fetched: ${messageOf(error)}`, {
      hint,
      stage: 'forge',
      cause: error,
    });
  }
}

/** The toolchain to fetch: the pinned one, unless a release asks for a newer one. */
export function toolchainFor(needed: string): string {
  if (compareGo(TOOLCHAIN_VERSION, needed) >= 0) return TOOLCHAIN_VERSION;
  return needed.split('.').length === 2 ? `${needed}.0` : needed;
}

/** Compares Go versions by their numbers; `1.22` counts as `1.22.0`. */
export function compareGo(a: string, b: string): number {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  for (let i = 0; i < 3; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/**
 * Go's own `toolchain.NewerToolchain` does the same: a toolchain is a module whose zip carries neither
 * permissions nor nested go.mod files (they are called _go.mod). Source: cmd/go/internal/toolchain/select.go.
 */
async function fetchToolchain(host: Go, version: string, dir: string, request: GoRequest): Promise<void> {
  const module = `golang.org/toolchain@v0.0.1-go${version}.linux-amd64`;
  const argv = [host.command, 'mod', 'download', '-json', module];
  const env = {...host.env, GOFLAGS: '', GOWORK: 'off', GO111MODULE: 'on'};
  const {stdout} = await run(argv, {env, cwd: dir, signal: request.signal});
  const source = (JSON.parse(stdout) as {Dir?: string}).Dir;
  if (!source) throw new Error(`go mod download ${module} says no folder`);
  await cp(source, dir, {recursive: true, mode: 0});
  await run(['chmod', '-R', 'u+w,a+rX', dir], {signal: request.signal});
  const tools = join(dir, 'pkg', 'tool', 'linux_amd64');
  const commands = (await readdir(tools).catch(() => [])).map(name => join(tools, name));
  await run(['chmod', 'a+x', join(dir, 'bin', 'go'), join(dir, 'bin', 'gofmt'), ...commands], {});
  for (const folder of ['src', 'src/cmd', 'misc']) {
    const hidden = join(dir, folder, '_go.mod');
    if (await isFile(hidden)) await rename(hidden, join(dir, folder, 'go.mod'));
  }
}
