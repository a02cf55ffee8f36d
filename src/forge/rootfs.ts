import {createWriteStream} from 'node:fs';
import {mkdir} from 'node:fs/promises';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import {UserError} from '../base/errors.ts';
import {run, ToolError} from './run.ts';
import {aptTransportOptions, type MmdebstrapRequest, mmdebstrapArgs} from './system.ts';
import {type TarEntry, tarStream} from './tar.ts';
import {findTool} from './tools.ts';

export interface RootTarRequest {
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal | undefined;
  readonly workDir: string;
  readonly output: string;
  readonly variant: MmdebstrapRequest['variant'];
  readonly packages: readonly string[];
  readonly excludedPaths: readonly string[];
  /** There before the packages are configured, and after. */
  readonly earlyFiles: readonly TarEntry[];
  readonly files: readonly TarEntry[];
  readonly hooks: readonly string[];
  readonly mirror: string | undefined;
}

/** Makes a root file system from Debian packages as a tar file. @throws UserError with mmdebstrap's last words. */
export async function makeRootTar(request: RootTarRequest): Promise<void> {
  const early = await tarIn(request.earlyFiles, join(request.workDir, 'early.tar'));
  const late = await tarIn(request.files, join(request.workDir, 'late.tar'));
  const argv = mmdebstrapArgs({
    ...request,
    essentialHooks: early,
    customizeHooks: [...late, ...request.hooks],
    aptOptions: await hostAptOptions(request),
  });
  try {
    await run(argv, {env: request.env, signal: request.signal});
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    throw new UserError(`the Debian packages could not be put together: ${lastLines(error.stderrTail)}`, {
      hint: withoutRoot()
        ? 'run the forge with sudo, or allow user namespaces: apt-get install uidmap, and lines for your user in /etc/subuid and /etc/subgid'
        : 'check that apt-get update works on this machine, or name a mirror with --mirror',
      stage: 'forge',
      cause: error,
    });
  }
}

/**
 * Unpacks a root file system with its owners. Gives the words to put before a command that is to see them: none
 * for root, fakeroot with its notes for anybody else.
 */
export async function unpackRootTar(
  tar: string,
  rootDir: string,
  workDir: string,
  tool: {env: NodeJS.ProcessEnv; signal: AbortSignal | undefined},
): Promise<string[]> {
  await mkdir(rootDir);
  // Device nodes are the kernel's work (devtmpfs); making them needs rights that containers lack.
  const unpack = ['tar', '-C', rootDir, '--numeric-owner', '--exclude=./dev/*', '-xpf', tar];
  if (!withoutRoot()) {
    await run(unpack, tool);
    return [];
  }
  const notes = join(workDir, 'fakeroot.notes');
  await run(['fakeroot', '-s', notes, '--', ...unpack], tool);
  return ['fakeroot', '-i', notes, '--'];
}

export function withoutRoot(): boolean {
  return process.getuid?.() !== 0;
}

/** An mmdebstrap hook that unpacks `entries` into the system. */
async function tarIn(entries: readonly TarEntry[], file: string): Promise<string[]> {
  if (entries.length === 0) return [];
  await pipeline(Readable.from(tarStream(entries)), createWriteStream(file));
  return [`tar-in ${quoted(file)} /`];
}

/** mmdebstrap splits its special hooks like a shell. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

async function hostAptOptions(request: RootTarRequest): Promise<string[]> {
  if (!(await findTool('apt-config', request.env))) return [];
  const {stdout} = await run(['apt-config', 'dump'], {env: request.env, signal: request.signal});
  return aptTransportOptions(stdout);
}

function lastLines(text: string): string {
  return text.trim().split('\n').slice(-6).join('\n  ');
}
