import {homedir} from 'node:os';
import {isAbsolute, join, resolve} from 'node:path';
import {parseArgs} from 'node:util';
import {messageOf, UserError} from '../base/errors.ts';
import {isAtLeast, parseVersion, version} from '../base/version.ts';
import {QCOW2_COMPRESSIONS, type Qcow2Compression} from './disk-layout.ts';
import {asTag} from './oci.ts';

/** What `--buildkit` named. */
export type BuildkitRef =
  | {readonly kind: 'version'; readonly version: string}
  | {readonly kind: 'commit'; readonly commit: string}
  | {readonly kind: 'url'; readonly url: string}
  | {readonly kind: 'path'; readonly path: string};

export const FROM_VALUES = ['auto', 'module', 'release'] as const;
export type From = (typeof FROM_VALUES)[number];

export interface ForgeOptions {
  readonly buildkit: BuildkitRef;
  readonly from: From;
  /** What the user says the version is, for sources that do not say it themselves. */
  readonly buildkitVersion: string | undefined;
  readonly commit: string | undefined;
  readonly sha256: string | undefined;
  /** `debian`, an absolute path, or undefined: the release's own runc if it brings one, else Debian's. */
  readonly runc: string | undefined;
  readonly name: string | undefined;
  readonly outputDir: string | undefined;
  readonly cacheDir: string;
  readonly diskBytes: number;
  readonly compression: Qcow2Compression;
  readonly image: boolean;
  readonly json: boolean;
  readonly mirror: string | undefined;
  readonly refresh: boolean;
}

export const FORGE_HELP = `Usage: buildkit-archive forge --buildkit WHAT [options]

Makes a BuildKit archive: a bootable vm.qcow2 and, around it, a container image as an OCI layout.

  --buildkit WHAT         a version (v0.20.2), a commit (with --from module), a release tarball (path or
                          https URL), or a folder with buildkitd and buildctl
  --from HOW              for a version: module (built from its Go module), release (GitHub's tarball),
                          auto (default: module when go is on PATH, else release)
  --buildkit-version V    the version of a tarball or folder that does not say it
  --commit SHA            the commit of the version, where neither table nor module proxy knows it
  --sha256 HEX            expected SHA-256 of the release tarball
  --runc WHICH            debian, or the path of a static runc (default: the release's own, else debian)
  --name NAME             name and image tag (default: buildkit-VERSION)
  --output DIR            where vm.qcow2, oci/ and archive.json go (default: ./NAME)
  --size SIZE             virtual size of the disk, such as 10GiB (default) or 20480MiB
  --compression TYPE      of vm.qcow2: zstd (default; QEMU 5.1 or newer) or zlib
  --no-image              vm.qcow2 only
  --cache DIR             kept parts (default: $BUILDKIT_ARCHIVE_CACHE/forge or
                          \${XDG_CACHE_HOME:-~/.cache}/buildkit-archive/forge)
  --refresh               do not use kept parts; make them anew
  --mirror URL            Debian mirror (default: mmdebstrap's)
  --json                  print the result as JSON
`;

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const SMALLEST_DISK_BYTES = 2 * GIB;
// An MBR counts sectors of 512 bytes with 32 bits.
const LARGEST_DISK_BYTES = 2047 * GIB;
const FIRST_MODULE_RELEASE = version('v0.7.0');

/** @throws UserError naming the option, the bad value and what is allowed. */
export function parseForgeOptions(
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  cwd: string,
): ForgeOptions {
  const values = parseFlags(argv);
  if (!values.buildkit) {
    throw bad('--buildkit', 'is missing', 'say which BuildKit: forge --buildkit v0.20.2');
  }
  const from = oneOf('--from', values.from ?? 'auto', FROM_VALUES);
  const buildkit = buildkitRef(values.buildkit, cwd);
  checkFrom(buildkit, from);
  return {
    buildkit,
    from,
    buildkitVersion: matching(
      '--buildkit-version',
      values['buildkit-version'],
      /^[\w.+-]{1,100}$/,
      'as in v0.20.2',
    ),
    commit: matching('--commit', values.commit, /^[0-9a-f]{7,40}$/, 'a commit is 7 to 40 hex digits'),
    sha256: matching(
      '--sha256',
      values.sha256?.toLowerCase(),
      /^[0-9a-f]{64}$/,
      'a SHA-256 is 64 hex digits',
    ),
    runc: values.runc === undefined || values.runc === 'debian' ? values.runc : resolve(cwd, values.runc),
    name: values.name === undefined ? undefined : tag(values.name),
    outputDir: values.output === undefined ? undefined : resolve(cwd, values.output),
    cacheDir: values.cache ? resolve(cwd, values.cache) : defaultCacheDir(env),
    diskBytes: parseSize(values.size ?? '10GiB'),
    compression: oneOf('--compression', values.compression ?? 'zstd', QCOW2_COMPRESSIONS),
    image: !values['no-image'],
    json: values.json ?? false,
    mirror: matching('--mirror', values.mirror, /^https?:\/\/\S+$/, 'a mirror is an http(s) URL'),
    refresh: values.refresh ?? false,
  };
}

const TEXT = {type: 'string'} as const;
const FLAG = {type: 'boolean'} as const;

function parseFlags(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: false,
      options: {
        ...{buildkit: TEXT, from: TEXT, 'buildkit-version': TEXT, commit: TEXT, sha256: TEXT, runc: TEXT},
        ...{name: TEXT, output: TEXT, size: TEXT, compression: TEXT, cache: TEXT, mirror: TEXT},
        ...{'no-image': FLAG, refresh: FLAG, json: FLAG},
      },
    }).values;
  } catch (error) {
    throw new UserError(`forge: ${messageOf(error)}`, {
      hint: 'see forge --help',
      stage: 'forge',
      cause: error,
    });
  }
}

/** Where the forge keeps its parts: `$BUILDKIT_ARCHIVE_CACHE/forge`, else the user's cache folder. */
export function defaultCacheDir(env: NodeJS.ProcessEnv): string {
  if (env.BUILDKIT_ARCHIVE_CACHE) return resolve(env.BUILDKIT_ARCHIVE_CACHE, 'forge');
  // The XDG Base Directory Specification: a relative path is to be ignored.
  const xdg = env.XDG_CACHE_HOME;
  const base = xdg && isAbsolute(xdg) ? xdg : join(env.HOME ?? homedir(), '.cache');
  return join(base, 'buildkit-archive', 'forge');
}

/** `10GiB`, `10G`, `20480MiB` in bytes: whole MiB, from 2 GiB up to what an MBR can address. */
export function parseSize(text: string): number {
  const match = /^(\d{1,9})\s*(G|GiB|M|MiB)$/.exec(text.trim());
  const sizeBytes = match ? Number(match[1]) * (match[2]?.startsWith('G') ? GIB : MIB) : Number.NaN;
  if (!(sizeBytes >= SMALLEST_DISK_BYTES && sizeBytes <= LARGEST_DISK_BYTES)) {
    throw bad(
      '--size',
      `is ${JSON.stringify(text)}`,
      'give a whole number of GiB or MiB from 2GiB to 2047GiB',
    );
  }
  return sizeBytes;
}

/** What a `--buildkit` value is; only a value that looks like neither version, commit nor URL is a path. */
export function buildkitRef(value: string, cwd: string): BuildkitRef {
  if (/^https?:\/\//.test(value)) {
    if (!value.startsWith('https://')) {
      throw bad(
        '--buildkit',
        `is ${value}`,
        'BuildKit is run as root: download it over https, or give a local path',
      );
    }
    return {kind: 'url', url: value};
  }
  if (/^v?\d+\.\d+\.\d+(-[\w.]+)?$/.test(value))
    return {kind: 'version', version: `v${value.replace(/^v/, '')}`};
  if (/^[0-9a-f]{12,40}$/.test(value)) return {kind: 'commit', commit: value};
  return {kind: 'path', path: resolve(cwd, value)};
}

function checkFrom(ref: BuildkitRef, from: From): void {
  if (ref.kind === 'commit' && from === 'release') {
    throw bad(
      '--from',
      'is release, but --buildkit is a commit',
      'a commit has no release: use --from module',
    );
  }
  if ((ref.kind === 'path' || ref.kind === 'url') && from !== 'auto') {
    throw bad('--from', `is ${from}, but --buildkit is a file`, 'leave --from away; it is for versions');
  }
  if (ref.kind === 'version' && from === 'module' && !hasModule(ref.version)) {
    throw bad('--from', `is module, but ${ref.version} is older than v0.7.0`, NO_MODULE_HINT);
  }
}

const NO_MODULE_HINT =
  'its requirements are no longer on the module proxy: use --from release, or give a tarball or folder to --buildkit';

/** Whether a release can be built from its Go module: older ones require versions that no proxy has. */
export function hasModule(release: string): boolean {
  const parsed = parseVersion(release);
  return parsed === undefined || isAtLeast(parsed, FIRST_MODULE_RELEASE);
}

function tag(name: string): string {
  const ok = asTag(name);
  if (!ok)
    throw bad(
      '--name',
      `is ${JSON.stringify(name)}`,
      'a name has up to 128 letters, digits, "_", "." and "-"',
    );
  return ok;
}

function oneOf<T extends string>(option: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find(item => item === value);
  if (found === undefined) throw bad(option, `is ${JSON.stringify(value)}`, `allowed: ${allowed.join(', ')}`);
  return found;
}

function matching(
  option: string,
  value: string | undefined,
  pattern: RegExp,
  hint: string,
): string | undefined {
  if (value !== undefined && !pattern.test(value)) throw bad(option, `is ${JSON.stringify(value)}`, hint);
  return value;
}

function bad(option: string, what: string, hint: string): UserError {
  return new UserError(`${option} ${what}`, {hint, input: option, stage: 'forge'});
}
