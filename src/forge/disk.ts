import {open, readFile, stat, symlink, truncate, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {UserError} from '../base/errors.ts';
import {UNIT_FOLDER, unknownSocketGroup, wantedBy} from '../base/units.ts';
import {kept, recipeKey, withTempDir} from './cache.ts';
import {
  bootArea,
  debugfsArgs,
  e2fsckArgs,
  grubMkimageArgs,
  mke2fsArgs,
  partitionOf,
  type Qcow2Compression,
  qemuImgConvertArgs,
} from './disk-layout.ts';
import {debugfsComplaints, debugfsScript, type Injection} from './inject.ts';
import {makeRootTar, unpackRootTar} from './rootfs.ts';
import {run} from './run.ts';
import type {BuildKit} from './source/binaries.ts';
import {earlyFiles, SYSTEM_PACKAGES, systemFiles, systemHooks, UNREAD_PATHS} from './system.ts';
import {GRUB_BOOT_IMAGE} from './tools.ts';

export interface DiskRequest {
  readonly env: NodeJS.ProcessEnv;
  readonly cacheDir: string;
  readonly signal: AbortSignal | undefined;
  readonly diskBytes: number;
  readonly mirror: string | undefined;
  log(line: string): void;
}

// Raise it when the way of making the base disk changes beyond what the key covers anyway.
const BASE_RECIPE = 1;
const BASE_DISK = 'disk.raw';

/** The disk with everything but BuildKit, kept as a sparse raw file. Gives its path. */
export async function baseDisk(request: DiskRequest): Promise<string> {
  const content = [SYSTEM_PACKAGES, UNREAD_PATHS, earlyFiles(), systemFiles(), systemHooks()];
  const shape = [mke2fsArgs('', '', request.diskBytes), grubMkimageArgs('')];
  const key = recipeKey([BASE_RECIPE, content, shape, request.mirror]);
  const make = async (dir: string): Promise<void> => {
    request.log('making the base system (Debian packages; once)');
    await withTempDir(request.cacheDir, 'rootfs-', async work => {
      const tar = join(work, 'root.tar');
      await makeRootTar({
        ...request,
        workDir: work,
        output: tar,
        variant: 'minbase',
        packages: SYSTEM_PACKAGES,
        excludedPaths: UNREAD_PATHS,
        earlyFiles: earlyFiles(),
        files: systemFiles(),
        hooks: systemHooks(),
      });
      await writeBaseDisk(request, tar, work, join(dir, BASE_DISK));
    });
  };
  const dir = await kept(request.cacheDir, `base-${key}`, make, () =>
    request.log('using the kept base system'),
  );
  return join(dir, BASE_DISK);
}

async function writeBaseDisk(request: DiskRequest, tar: string, work: string, disk: string): Promise<void> {
  const {env, signal, diskBytes} = request;
  const rootDir = join(work, 'root');
  const prefix = await unpackRootTar(tar, rootDir, work, request);
  await writeFile(disk, '');
  await truncate(disk, diskBytes);
  await run([...prefix, ...mke2fsArgs(disk, rootDir, diskBytes)], {env, signal});
  const core = join(work, 'core.img');
  await run(grubMkimageArgs(core), {env, signal});
  await writeAt(disk, bootArea(await readFile(GRUB_BOOT_IMAGE), await readFile(core), diskBytes));
  await run(e2fsckArgs(disk), {env, signal});
}

/** Overwrites the beginning of a file. */
async function writeAt(path: string, bytes: Buffer): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.write(bytes, 0, bytes.length, 0);
  } finally {
    await file.close();
  }
}

export interface ArchiveDisk {
  readonly buildkit: BuildKit;
  readonly hostname: string;
  /** A path, `debian`, or undefined for the release's own if it brings one. */
  readonly runc: string | undefined;
  readonly compression: Qcow2Compression;
  readonly output: string;
}

/** Copies the base disk, puts BuildKit in, and compresses it to `output`. */
export async function archiveDisk(base: string, wanted: ArchiveDisk, request: DiskRequest): Promise<void> {
  const {env, signal} = request;
  const injections = injectionsFor(wanted);
  await withTempDir(request.cacheDir, 'disk-', async work => {
    const disk = join(work, BASE_DISK);
    await run(['cp', '--sparse=always', '--reflink=auto', base, disk], {env, signal});
    const localised = await localise(injections, work);
    await writeFile(join(work, 'script'), debugfsScript(localised, new Set(['/etc/hostname'])));
    const {stderr} = await run(debugfsArgs(BASE_DISK, 'script'), {cwd: work, env, signal});
    const complaints = debugfsComplaints(stderr);
    if (complaints.length > 0) throw new Error(`debugfs could not fill the disk: ${complaints.join('; ')}`);
    await checkSizes(localised, work, request);
    await run(e2fsckArgs(BASE_DISK), {cwd: work, env, signal});
    request.log('compressing the disk');
    await run(qemuImgConvertArgs(disk, wanted.output, wanted.compression), {env, signal});
  });
}

/** All that an archive has and the base has not. Texts are given as `text:` sources, see `localise`. */
export function injectionsFor(wanted: ArchiveDisk): InjectionWithText[] {
  const {units, binaries} = wanted.buildkit;
  const group = unknownSocketGroup(units.socket);
  if (group)
    throw new UserError(`buildkit.socket wants the group ${group}, which the VM does not have`, {
      stage: 'forge',
    });
  const own =
    wanted.runc === undefined ? binaries : binaries.filter(binary => binary.name !== 'buildkit-runc');
  const file = (source: string, target: string): Injection => ({kind: 'file', source, target, mode: 0o755});
  return [
    {kind: 'text', text: `${wanted.hostname}\n`, target: '/etc/hostname'},
    ...own.map(binary => file(binary.path, `/usr/local/bin/${binary.name}`)),
    ...(wanted.runc && wanted.runc !== 'debian' ? [file(wanted.runc, '/usr/local/bin/runc')] : []),
    ...unitInjections('buildkit.service', units.service),
    ...(units.socket === undefined ? [] : unitInjections('buildkit.socket', units.socket)),
  ];
}

export type InjectionWithText =
  | Injection
  | {readonly kind: 'text'; readonly text: string; readonly target: string};

/** A unit and what `systemctl enable` would make for it. */
function unitInjections(name: string, text: string): InjectionWithText[] {
  const target = `${UNIT_FOLDER}/${name}`;
  const links = wantedBy(text).map(by => ({
    kind: 'link' as const,
    target: `/etc/systemd/system/${by}.wants/${name}`,
    to: target,
  }));
  return [{kind: 'text', text, target}, ...links];
}

/** Gives each source a plain name in `work`, which is debugfs' working folder: debugfs splits at blanks. */
async function localise(injections: readonly InjectionWithText[], work: string): Promise<Injection[]> {
  const local: Injection[] = [];
  for (const [i, item] of injections.entries()) {
    if (item.kind === 'link') {
      local.push(item);
      continue;
    }
    const source = `source-${i}`;
    if (item.kind === 'text') await writeFile(join(work, source), item.text);
    else await symlink(item.source, join(work, source));
    const mode = item.kind === 'text' ? 0o644 : item.mode;
    local.push({kind: 'file', source, target: item.target, mode});
  }
  return local;
}

/** debugfs stops a file short when the disk is full and says little; so look at what is there. */
async function checkSizes(
  injections: readonly Injection[],
  work: string,
  request: DiskRequest,
): Promise<void> {
  for (const item of injections) {
    if (item.kind !== 'file') continue;
    const {size} = await stat(join(work, item.source));
    const argv = ['debugfs', '-R', `stat ${item.target}`, partitionOf(BASE_DISK)];
    const {stdout} = await run(argv, {cwd: work, env: request.env, signal: request.signal});
    const inside = Number(/\bSize: (\d+)/.exec(stdout)?.[1] ?? Number.NaN);
    if (inside === size) continue;
    throw new UserError(`${item.target} does not fit into the disk (${inside} of ${size} bytes)`, {
      hint: 'give the disk more room with --size',
      input: '--size',
      stage: 'forge',
    });
  }
}
