/** Whether a release that nobody archived is put into the nearest archive. `always`: also into an archive of the user's own that holds another one. */
export const DERIVE_MODES = ['auto', 'always', 'never'] as const;
export type DeriveMode = (typeof DERIVE_MODES)[number];

/** Which runc a derived BuildKit runs: the one of its own release, or the one that the archive holds. */
export const RUNC_CHOICES = ['bundled', 'archive'] as const;
export type RuncChoice = (typeof RUNC_CHOICES)[number];

/** Where BuildKit's executables come from. */
export type BinariesSource =
  | {
      readonly kind: 'release';
      readonly version: string;
      /** Of the release's tarball for linux/amd64. */
      readonly url: string;
      /** Of the tarball, in hexadecimal, when the user knows it. */
      readonly sha256?: string;
    }
  /** A folder, or a tarball in the form of a release's. */
  | {readonly kind: 'path'; readonly path: string; readonly sha256?: string};

/** A BuildKit that takes the place of the archive's own in its machine. */
export interface DerivePlan {
  readonly source: BinariesSource;
  readonly runc: RuncChoice;
  /** Only where the machine holds another version than this. */
  readonly unlessVersion?: string;
  /** Nobody here knows whether there is such a release, so it is looked for before anything else is fetched. */
  readonly isUnlisted: boolean;
}

/** What a machine is a mixture of. */
export interface DerivedFacts {
  /** The archive whose kernel and systemd these are, as it is named. */
  readonly archive: string;
  /** The BuildKit that the archive itself holds. */
  readonly archiveBuildkit: string;
  /** Where the BuildKit came from: a URL or a path. */
  readonly source: string;
  readonly runc: RuncChoice;
}

/** BuildKit's executables on this machine. */
export interface Binaries {
  readonly dir: string;
  readonly names: readonly string[];
  /** For people: a URL or a path. */
  readonly source: string;
}

export const REQUIRED_BINARIES: readonly string[] = ['buildkitd', 'buildctl'];
/** The runc that a release brings; buildkitd takes it before `runc` (cmd/buildkitd, `getOCIExecutor`; before v0.7.0 the same by PATH). */
export const BUNDLED_RUNC = 'buildkit-runc';

/** Whether a file of this name is one of BuildKit's: the daemon, the client and their helpers (`buildkit-*`). */
export function isBuildkitBinary(name: string): boolean {
  return REQUIRED_BINARIES.includes(name) || /^buildkit-[a-z0-9][a-z0-9_.-]{0,60}$/.test(name);
}

/** What keeps a file that begins with `head` from running on linux/amd64. Source: ELF-64 header, e_machine 62. */
export function elfProblem(head: Buffer): string | undefined {
  if (head.length < 20 || head.readUInt32BE(0) !== 0x7f454c46) return 'is no Linux executable';
  if (head[4] !== 2) return 'is a 32-bit executable';
  const machine = head.readUInt16LE(18);
  return machine === 62
    ? undefined
    : `is an executable for another processor (ELF machine ${machine}, not 62)`;
}
