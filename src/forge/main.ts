import {mkdir, readdir, stat, statfs, writeFile} from 'node:fs/promises';
import {join, resolve} from 'node:path';
import {messageOf, UserError} from '../base/errors.ts';
import {cancelOnSignals} from '../host/signals.ts';
import {isDirectory, isFile, sweep, withTempDir} from './cache.ts';
import {archiveDisk, baseDisk, type DiskRequest} from './disk.ts';
import {replace, writeImage} from './image.ts';
import {asTag} from './oci.ts';
import {FORGE_HELP, type ForgeOptions, parseForgeOptions} from './options.ts';
import {withoutRoot} from './rootfs.ts';
import {type BuildKit, checkExecutable} from './source/binaries.ts';
import {resolveBuildkit} from './source/resolve.ts';
import {checkTools, toolEnv} from './tools.ts';

export {FORGE_HELP} from './options.ts';

/** What a forge made. Written to `archive.json` beside the archive, and printed with `--json`. */
export interface ForgeResult {
  readonly schema: 1;
  readonly name: string;
  readonly archiveDir: string;
  readonly qcow2Path: string;
  readonly qcow2Bytes: number;
  readonly ociLayoutPath?: string;
  /** How `archive:` and skopeo name it: `oci:DIR:TAG`, or the disk's path when there is no image. */
  readonly reference: string;
  readonly buildkit: {readonly version: string; readonly commit?: string; readonly source: string};
  readonly seconds: number;
}

export interface ForgeIo {
  /** Progress, a line at a time. */
  log(line: string): void;
  /** The result: JSON with `--json`, else a few lines. Left out: nothing is printed. */
  out?(text: string): void;
  readonly env: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
}

/**
 * Makes a BuildKit archive as `argv` says.
 * @throws UserError on bad options, missing tools or sources; CanceledError on abort, SIGINT or SIGTERM.
 */
export async function forge(argv: readonly string[], io: ForgeIo): Promise<ForgeResult> {
  if (argv.includes('--help')) throw new UserError(FORGE_HELP, {stage: 'forge'});
  const options = parseForgeOptions(argv, io.env, process.cwd());
  const cancel = io.signal ? undefined : cancelOnSignals();
  try {
    const result = await make(options, io, io.signal ?? cancel?.signal);
    io.out?.(options.json ? `${JSON.stringify(result)}\n` : describeResult(result));
    return result;
  } finally {
    cancel?.dispose();
  }
}

async function make(
  options: ForgeOptions,
  io: ForgeIo,
  signal: AbortSignal | undefined,
): Promise<ForgeResult> {
  const startedMs = Date.now();
  const log = (line: string): void => io.log(`[${((Date.now() - startedMs) / 1000).toFixed(1)}s] ${line}`);
  const env = toolEnv(io.env);
  await checkTools(env, !withoutRoot());
  if (options.runc && options.runc !== 'debian') await checkExecutable(options.runc, '--runc');
  await makeFolder(options.cacheDir, '--cache');
  await sweep(options.cacheDir, startedMs);
  const inDir = async (cacheDir: string): Promise<ForgeResult> => {
    const {mirror, diskBytes} = options;
    const request: DiskRequest = {env, cacheDir, signal, diskBytes, mirror, log};
    await checkSpace(cacheDir, 4);
    const buildkit = await resolveBuildkit({env, cacheDir, signal, log, options});
    const made = await assemble(options, buildkit, request);
    const result = {...made, seconds: (Date.now() - startedMs) / 1000};
    await writeFile(join(result.archiveDir, 'archive.json'), `${JSON.stringify(result, null, 2)}\n`);
    return result;
  };
  if (options.refresh) return await withTempDir(options.cacheDir, 'refresh-', inDir);
  return await inDir(options.cacheDir);
}

/** Disk and image, made beside their places and moved there when both are whole. */
async function assemble(
  options: ForgeOptions,
  buildkit: BuildKit,
  request: DiskRequest,
): Promise<Omit<ForgeResult, 'seconds'>> {
  const name = options.name ?? defaultName(buildkit.version);
  const archiveDir = options.outputDir ?? resolve(name);
  await makeFolder(archiveDir, '--output');
  await refuseForeign(archiveDir);
  const base = await baseDisk(request);
  return await withTempDir(archiveDir, '.making-', async work => {
    const qcow2 = join(work, 'vm.qcow2');
    const {runc, compression} = options;
    request.log(`putting BuildKit ${buildkit.version} into the disk`);
    const wanted = {buildkit, hostname: hostnameOf(name), runc, compression, output: qcow2};
    await archiveDisk(base, wanted, request);
    const layoutDir = join(work, 'oci');
    if (options.image) {
      request.log('writing the image');
      await writeImage({...request, qcow2, layoutDir, tag: name, labels: labelsOf(name, buildkit)});
    }
    const qcow2Path = join(archiveDir, 'vm.qcow2');
    const ociLayoutPath = join(archiveDir, 'oci');
    await replace(qcow2, qcow2Path);
    if (options.image) await replace(layoutDir, ociLayoutPath);
    const {version, commit, source} = buildkit;
    return {
      schema: 1,
      name,
      archiveDir,
      qcow2Path,
      qcow2Bytes: (await stat(qcow2Path)).size,
      ...(options.image ? {ociLayoutPath} : {}),
      reference: options.image ? `oci:${ociLayoutPath}:${name}` : qcow2Path,
      buildkit: {version, ...(commit ? {commit} : {}), source},
    };
  });
}

/** `buildkit-v0.20.2`; what a tag cannot hold (a fork's `+`) becomes a dash. */
export function defaultName(version: string): string {
  const name = `buildkit-${version.replace(/[^\w.-]/g, '-')}`;
  return asTag(name) ?? 'buildkit';
}

/** A host name from an archive's name: letters, digits and dashes, at most 63 (RFC 1123). */
export function hostnameOf(name: string): string {
  const label = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 63);
  return label.replace(/^-+|-+$/g, '') || 'buildkit';
}

/** Keys of the OCI Image Format Specification's annotations. */
export function labelsOf(name: string, buildkit: BuildKit): Record<string, string> {
  const key = 'org.opencontainers.image';
  return {
    [`${key}.title`]: name,
    [`${key}.description`]: `A virtual machine with BuildKit ${buildkit.version}`,
    [`${key}.version`]: buildkit.version,
    ...(buildkit.commit ? {[`${key}.revision`]: buildkit.commit} : {}),
  };
}

function describeResult(result: ForgeResult): string {
  const {buildkit} = result;
  const mib = Math.round(result.qcow2Bytes / 1024 / 1024);
  return [
    `BuildKit  ${buildkit.version} ${buildkit.commit ?? '(commit unknown)'}, from ${buildkit.source}`,
    `disk      ${result.qcow2Path} (${mib} MiB)`,
    ...(result.ociLayoutPath ? [`image     ${result.reference}`] : []),
    `time      ${result.seconds.toFixed(1)} s`,
    '',
  ].join('\n');
}

const OWN_FILES = /^(vm\.qcow2|oci|archive\.json|READY|\.making-.*)$/;

/** A forge replaces what an earlier one left, and touches no other folder's files. */
async function refuseForeign(dir: string): Promise<void> {
  const foreign = (await readdir(dir)).filter(name => !OWN_FILES.test(name));
  const looksOwn = (await isFile(join(dir, 'vm.qcow2'))) || (await isDirectory(join(dir, 'oci')));
  if (foreign.length === 0 || looksOwn) return;
  throw new UserError(`--output ${dir} holds other things (${foreign.slice(0, 3).join(', ')})`, {
    hint: 'name an empty or new folder',
    input: '--output',
    stage: 'forge',
  });
}

async function makeFolder(dir: string, input: string): Promise<void> {
  try {
    await mkdir(dir, {recursive: true});
  } catch (error) {
    throw new UserError(`${input} ${dir} cannot be made: ${messageOf(error)}`, {
      hint: `name a folder you may write to with ${input}`,
      input,
      stage: 'forge',
      cause: error,
    });
  }
}

/** @throws UserError when the file system of `dir` has less than `neededGib` free. */
async function checkSpace(dir: string, neededGib: number): Promise<void> {
  const {bavail, bsize} = await statfs(dir);
  const freeGib = (bavail * bsize) / 1024 ** 3;
  if (freeGib >= neededGib) return;
  throw new UserError(`${dir} has ${freeGib.toFixed(1)} GiB free; a forge needs about ${neededGib}`, {
    hint: 'free some space, or name another place with --cache',
    input: '--cache',
    stage: 'forge',
  });
}

/** An abort signal for a caller that has none: the first SIGINT or SIGTERM ends the forge and its tools. */
