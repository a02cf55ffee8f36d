import {access, copyFile, mkdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {messageOf, UserError} from '../../base/errors.ts';
import {run, ToolError} from '../run.ts';
import type {Go} from './gotoolchain.ts';

export const MODULE = 'github.com/moby/buildkit';

/** What `go mod download -json` says about a module. */
export interface DownloadedModule {
  readonly version: string;
  readonly dir: string;
  /** Known when the proxy (or Git) tells where the version came from. */
  readonly commit: string | undefined;
}

/**
 * A module that stands where BuildKit's own would: `go install MODULE@version` refuses modules whose go.mod has
 * replace or exclude lines, so this one repeats them.
 */
export function wrapperGoMod(upstreamGoMod: string, version: string): string {
  const body = upstreamGoMod.replace(/^module\s+\S+.*$/m, 'module buildkit-archive.invalid/wrapper');
  return `${body.trimEnd()}\n\nrequire ${MODULE} ${version}\n`;
}

/** Imports the commands, so that their packages count as needed; never compiled itself. */
export const WRAPPER_GO = `//go:build tools

package wrapper

import (
\t_ "${MODULE}/cmd/buildctl"
\t_ "${MODULE}/cmd/buildkitd"
)
`;

/** Without these flags the binaries do not know what they are. */
export function goBuildArgs(
  go: string,
  outputDir: string,
  version: string,
  commit: string | undefined,
): string[] {
  const set = (name: string, value: string): string => `-X ${MODULE}/version.${name}=${value}`;
  const ldflags = ['-s -w', set('Version', version), ...(commit ? [set('Revision', commit)] : [])].join(' ');
  const commands = [`${MODULE}/cmd/buildkitd`, `${MODULE}/cmd/buildctl`];
  return [go, 'build', '-mod=mod', '-trimpath', '-ldflags', ldflags, '-o', `${outputDir}/`, ...commands];
}

/** The environment that makes a build independent of the user's own Go settings, but not of their proxy. */
export function goBuildEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return {...env, CGO_ENABLED: '0', GOOS: 'linux', GOARCH: 'amd64', GOFLAGS: '', GOWORK: 'off'};
}

/** Finds a version (or commit) and fetches its source. @throws UserError when there is no such version. */
export async function downloadModule(
  go: Go,
  query: string,
  workDir: string,
  signal: AbortSignal | undefined,
): Promise<DownloadedModule> {
  const argv = [go.command, 'mod', 'download', '-json', `${MODULE}@${query}`];
  try {
    const {stdout} = await run(argv, {env: {...go.env, GOFLAGS: '', GOWORK: 'off'}, cwd: workDir, signal});
    return parseDownload(stdout);
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    throw new UserError(`BuildKit ${query} cannot be fetched as a Go module: ${downloadError(error)}`, {
      hint: 'check the version at https://github.com/moby/buildkit/releases, or use --from release',
      input: '--buildkit',
      stage: 'forge',
      cause: error,
    });
  }
}

/** `go mod download -json` says what went wrong in its JSON. */
function downloadError(error: ToolError): string {
  try {
    return (JSON.parse(error.stdout) as {Error?: string}).Error ?? messageOf(error);
  } catch {
    return messageOf(error);
  }
}

export function parseDownload(json: string): DownloadedModule {
  const parsed = JSON.parse(json) as {
    Version?: string;
    Dir?: string;
    Origin?: {Hash?: string};
    Error?: string;
  };
  if (parsed.Error || !parsed.Version || !parsed.Dir) throw new Error(parsed.Error ?? `no module in ${json}`);
  return {version: parsed.Version, dir: parsed.Dir, commit: parsed.Origin?.Hash};
}

/** The oldest Go that a go.mod asks for; `1.13` when it says nothing. Source: go.dev/ref/mod, "go directive". */
export function neededGo(goMod: string): string {
  return /^go\s+(\d+\.\d+(?:\.\d+)?)/m.exec(goMod)?.[1] ?? '1.13';
}

/** Builds both commands into `outputDir`/bin, and puts the release's own units beside them if it has any. */
export async function buildModule(
  go: Go,
  module: DownloadedModule,
  commit: string | undefined,
  outputDir: string,
  workDir: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const goMod = await readFile(join(module.dir, 'go.mod'), 'utf8');
  await writeFile(join(workDir, 'go.mod'), wrapperGoMod(goMod, module.version));
  // A copy of a module's file would be read-only like the original.
  await writeFile(join(workDir, 'go.sum'), await readFile(join(module.dir, 'go.sum')));
  await writeFile(join(workDir, 'tools.go'), WRAPPER_GO);
  const bin = join(outputDir, 'bin');
  await mkdir(bin, {recursive: true});
  await run(goBuildArgs(go.command, bin, module.version, commit), {
    env: goBuildEnv(go.env),
    cwd: workDir,
    signal,
  });
  for (const unit of ['buildkit.service', 'buildkit.socket']) {
    const upstream = join(module.dir, 'examples', 'systemd', 'system', unit);
    const present = await access(upstream).then(
      () => true,
      () => false,
    );
    if (present) await copyFile(upstream, join(outputDir, unit));
  }
}
