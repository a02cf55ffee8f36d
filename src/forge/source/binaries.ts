import {open, readdir} from 'node:fs/promises';
import {join} from 'node:path';
import {elfProblem, isBuildkitBinary, REQUIRED_BINARIES} from '../../base/derive.ts';
import {messageOf, UserError} from '../../base/errors.ts';
import type {Units} from '../../base/units.ts';
import {isFile} from '../cache.ts';
import {run} from '../run.ts';

/** A BuildKit ready to be put into a disk. */
export interface BuildKit {
  /** `v0.20.2`, or what a fork calls itself. */
  readonly version: string;
  readonly commit: string | undefined;
  /** Where it came from, for people: a module, a URL, a path. */
  readonly source: string;
  /** Executables for /usr/local/bin. */
  readonly binaries: readonly Binary[];
  readonly units: Units;
}

export interface Binary {
  readonly name: string;
  readonly path: string;
}

const VERSION_TIMEOUT_MS = 20_000;

/** The BuildKit executables in `dir`, checked to be Linux on amd64. @throws UserError naming what is wrong. */
export async function binariesIn(dir: string, asked: string): Promise<Binary[]> {
  const names = (await readdir(dir)).filter(isBuildkitBinary).sort();
  const missing = REQUIRED_BINARIES.filter(name => !names.includes(name));
  if (missing.length > 0) {
    throw new UserError(`${asked} holds no ${missing.join(' and no ')}`, {
      hint: 'give a folder with buildkitd and buildctl (or bin/ with both), or a BuildKit release tarball',
      input: '--buildkit',
      stage: 'forge',
    });
  }
  const binaries = names.map(name => ({name, path: join(dir, name)}));
  for (const binary of binaries) await checkExecutable(binary.path);
  return binaries;
}

/** @throws UserError unless the file is an ELF executable for x86-64. */
export async function checkExecutable(path: string, input = '--buildkit'): Promise<void> {
  if (!(await isFile(path))) {
    throw new UserError(`${input} ${path} is no file`, {
      hint: 'give the path of an executable',
      input,
      stage: 'forge',
    });
  }
  const file = await open(path, 'r');
  try {
    const head = Buffer.alloc(20);
    await file.read(head, 0, head.length, 0);
    const problem = elfProblem(head);
    if (problem) {
      throw new UserError(`${path} ${problem}`, {
        hint: 'archives are virtual machines of amd64: give binaries built with GOOS=linux GOARCH=amd64',
        input,
        stage: 'forge',
      });
    }
  } finally {
    await file.close();
  }
}

/** What `buildkitd --version` says: `buildkitd github.com/moby/buildkit v0.20.2 97437fdd…`. */
export function parseVersionLine(line: string): {version?: string; commit?: string} {
  const words = line.trim().split(/\s+/);
  const [, , version, commit] = words;
  return {
    ...(version && !version.startsWith('0.0.0') ? {version} : {}),
    ...(commit && /^[0-9a-f]{7,40}/.test(commit) ? {commit: commit.replace(/[^0-9a-f].*$/, '')} : {}),
  };
}

/** Asks a BuildKit daemon its version; empty when it cannot run here. */
export async function askVersion(
  binaries: readonly Binary[],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
  log: (line: string) => void,
): Promise<{version?: string; commit?: string}> {
  const daemon = binaries.find(binary => binary.name === 'buildkitd');
  if (!daemon) return {};
  const deadline = AbortSignal.timeout(VERSION_TIMEOUT_MS);
  try {
    const any = signal ? AbortSignal.any([signal, deadline]) : deadline;
    return parseVersionLine((await run([daemon.path, '--version'], {env, signal: any})).stdout);
  } catch (error) {
    if (signal?.aborted) throw error;
    log(`buildkitd does not say its version here: ${messageOf(error).split('\n')[0]}`);
    return {};
  }
}
