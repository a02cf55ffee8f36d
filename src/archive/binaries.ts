import {
  type Binaries,
  type BinariesSource,
  elfProblem,
  isBuildkitBinary,
  REQUIRED_BINARIES,
} from '../base/derive.ts';
import {UserError} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import type {Files, Images} from '../base/ports.ts';
import type {StoreKey} from '../base/store.ts';
import type {Links} from '../base/tree.ts';
import {type DownloadOptions, downloaded, downloadSmall} from './download.ts';
import type {RegistryPorts} from './registry/client.ts';
import {DEFAULT_POLICY} from './registry/policy.ts';
import type {Store} from './store.ts';

export interface BinariesPorts extends RegistryPorts {
  readonly files: Files & Links;
  readonly images: Images;
  readonly emit: Emit;
}

/** `HEX  NAME`, as sha256sum writes it. */
const CHECKSUM_LIMIT_BYTES = 4096;

/** What the executables are, as text for keys: for a release its URL, whose file never changes; for a path the bytes that lie there. */
export async function identifyBinaries(
  ports: BinariesPorts,
  source: BinariesSource,
  signal: AbortSignal,
): Promise<string> {
  if (source.kind === 'release') return [source.url, ...(source.sha256 ? [source.sha256] : [])].join(' ');
  const kind = await ports.files.kind(source.path);
  if (kind === 'file') return `sha256:${await checkedDigest(ports, source, signal)}`;
  const {dir, names} = await binariesInFolder(ports.files, source);
  const digests = [];
  for (const name of names) digests.push(`${name} ${await sha256Of(ports, `${dir}/${name}`, signal)}`);
  return digests.join('\n');
}

/**
 * Makes BuildKit's executables available as files: those of a folder where they lie, those of a tarball unpacked in the store.
 * @throws UserError when they cannot be had, are damaged, or are none; CanceledError.
 */
export async function obtainBinaries(
  ports: BinariesPorts,
  store: Store,
  source: BinariesSource,
  signal: AbortSignal,
): Promise<Binaries> {
  if (source.kind === 'path' && (await ports.files.kind(source.path)) !== 'file') {
    return binariesInFolder(ports.files, source);
  }
  const hash = ports.registry.createHash('sha256');
  hash.update(Buffer.from(await identifyBinaries(ports, source, signal)));
  const key: StoreKey = {kind: 'binaries', digest: `sha256:${hash.hex()}`};
  const label = labelOf(source);
  const make = async (dest: string): Promise<undefined> => {
    await unpack(ports, source, dest, signal);
    // What is none is not kept.
    await found(ports.files, dest, label, source, {isForeign: true});
  };
  const {path} = await store.getOrMake(key, make, {signal, label});
  return found(ports.files, path, label, source, {isForeign: true});
}

function labelOf(source: BinariesSource): string {
  return source.kind === 'release' ? source.url : source.path;
}

/** Unpacks a tarball, verified where its checksum is known, into a new folder: there complete or not at all. */
async function unpack(
  ports: BinariesPorts,
  source: BinariesSource,
  dest: string,
  signal: AbortSignal,
): Promise<void> {
  const sha256 =
    source.sha256 ?? (source.kind === 'release' ? await publishedSha256(ports, source, signal) : undefined);
  const digest = sha256 === undefined ? {} : {digest: `sha256:${sha256}`};
  const open = async () =>
    source.kind === 'path'
      ? ports.files.openRead(source.path)
      : ports.registry.toStream(closed =>
          downloaded(ports, source.url, {
            ...downloadOptions(source, AbortSignal.any([signal, closed])),
            onProgress: sayProgress(ports.emit, source),
          }),
        );
  try {
    // A tarball is read as a layer is: bounded in its growth, nothing of it written outside of its folder.
    await ports.images.unpack([{open, ...digest, diffId: ''}], dest, {skip: '', signal});
  } catch (error) {
    throw error instanceof UserError && error.input === 'archive' ? asSourceError(error, source) : error;
  }
}

/** The checksum that lies beside the tarball (`<URL>.sha256`); a mirror may have one. */
async function publishedSha256(
  ports: BinariesPorts,
  source: Extract<BinariesSource, {kind: 'release'}>,
  signal: AbortSignal,
): Promise<string | undefined> {
  const url = `${source.url}.sha256`;
  const options = downloadOptions(source, signal);
  const text = (await downloadSmall(ports, url, CHECKSUM_LIMIT_BYTES, options))?.toString('latin1').trim();
  if (text === undefined) {
    const message = `no checksum of ${source.url} is known (${url} does not exist); release-sha256 pins one`;
    ports.emit({kind: 'notice', message});
    return undefined;
  }
  const digest = /^([0-9a-fA-F]{64})(?:\s|$)/.exec(text)?.[1];
  if (digest !== undefined) return digest.toLowerCase();
  throw new UserError(`${url} does not begin with a SHA-256: ${JSON.stringify(text.slice(0, 80))}`, {
    input: 'release-mirror',
    stage: 'archive',
    hint: 'mend or remove the file, or name another release-mirror',
  });
}

function downloadOptions({version}: {readonly version: string}, signal: AbortSignal): DownloadOptions {
  return {
    policy: DEFAULT_POLICY,
    signal,
    hint: `is there a release ${version} with a tarball for linux/amd64? release-mirror names another place, buildkit-binaries a file of your own`,
  };
}

function sayProgress(emit: Emit, {version}: {readonly version: string}) {
  return (receivedBytes: number, totalBytes: number | undefined): void => {
    const of = totalBytes === undefined ? '' : ` of ${(totalBytes / 1e6).toFixed(1)}`;
    const text = `downloading BuildKit ${version}: ${(receivedBytes / 1e6).toFixed(1)}${of} MB`;
    emit({kind: 'progress', stage: 'archive', text});
  };
}

/** The folder itself, or its `bin`, as a release's tarball and BuildKit's own `make binaries` have it. */
async function binariesInFolder(
  files: Files & Links,
  source: Extract<BinariesSource, {kind: 'path'}>,
): Promise<Binaries> {
  if ((await files.kind(source.path)) !== 'directory') {
    throw new UserError(`buildkit-binaries: there is no file or folder ${source.path}`, {
      input: 'buildkit-binaries',
      stage: 'archive',
      hint: HINT,
    });
  }
  if (source.sha256 !== undefined) {
    throw new UserError('release-sha256 is for a tarball, and buildkit-binaries is a folder', {
      input: 'release-sha256',
      stage: 'archive',
      hint: 'leave out release-sha256',
    });
  }
  return found(files, source.path, source.path, source, {isForeign: false});
}

const HINT =
  'name a folder with buildkitd and buildctl (or bin/ with both), or a tarball in the form of a BuildKit release';

/** @throws UserError when what lies in `dir` is no BuildKit for linux/amd64. */
async function found(
  files: Files & Links,
  dir: string,
  label: string,
  source: BinariesSource,
  options: {readonly isForeign: boolean},
): Promise<Binaries> {
  // A link in a tarball could lead to any file of this machine, and from there into the VM.
  const isLink = async (path: string): Promise<boolean> =>
    options.isForeign && (await files.readLink(path)) !== undefined;
  for (const folder of [`${dir}/bin`, dir]) {
    if ((await files.kind(folder)) !== 'directory' || (await isLink(folder))) continue;
    const names = (await files.list(folder)).filter(isBuildkitBinary).sort();
    if (!REQUIRED_BINARIES.every(name => names.includes(name))) continue;
    for (const name of names) {
      const path = `${folder}/${name}`;
      if (await isLink(path)) throw asSourceError(new Error(`${name} is a symbolic link`), source);
      const problem = elfProblem(await files.readRange(path, 0, ELF_HEAD_BYTES));
      if (problem !== undefined) throw asSourceError(new Error(`${name} ${problem}`), source);
    }
    return {dir: folder, names, source: label};
  }
  throw asSourceError(new Error(`it holds no ${REQUIRED_BINARIES.join(' and ')}`), source);
}

const ELF_HEAD_BYTES = 20;

/** What is wrong with a tarball or folder, by the input that names it. */
function asSourceError(error: Error, source: BinariesSource): UserError {
  const [input, hint] =
    source.kind === 'path'
      ? (['buildkit-binaries', HINT] as const)
      : ([
          'release-mirror',
          'name another release-mirror, or a file of your own with buildkit-binaries',
        ] as const);
  return new UserError(`${input}: ${labelOf(source)}: ${error.message}`, {
    input,
    stage: 'archive',
    hint,
    cause: error,
  });
}

async function checkedDigest(
  ports: BinariesPorts,
  source: Extract<BinariesSource, {kind: 'path'}>,
  signal: AbortSignal,
): Promise<string> {
  const digest = await sha256Of(ports, source.path, signal);
  if (source.sha256 === undefined || source.sha256 === digest) return digest;
  throw new UserError(`${source.path} has the SHA-256 ${digest}, not ${source.sha256}`, {
    input: 'release-sha256',
    stage: 'archive',
    hint: 'get the tarball again, or correct release-sha256',
  });
}

async function sha256Of(
  {files, registry}: BinariesPorts,
  path: string,
  signal: AbortSignal,
): Promise<string> {
  const hash = registry.createHash('sha256');
  for await (const chunk of files.openRead(path)) {
    signal.throwIfAborted();
    hash.update(chunk as Buffer);
  }
  return hash.hex();
}
