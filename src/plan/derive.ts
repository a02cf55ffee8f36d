import type {BinariesSource, DerivePlan} from '../base/derive.ts';
import {UserError} from '../base/errors.ts';
import type {ImageReference} from '../base/image-reference.ts';
import {resolvePath} from '../base/path.ts';
import {formatVersion, parseVersion, type Version, version} from '../base/version.ts';
import {CATALOG, type CatalogEntry} from './catalog.ts';
import {referenceOf, type Source} from './catalog-sources.ts';
import type {Inputs} from './inputs.ts';
import {type NamedRelease, namedRelease} from './releases.ts';

/** Where GitHub keeps a release's files: `<mirror>/<version>/<file>`. */
export const RELEASE_PAGE = 'https://github.com/moby/buildkit/releases/download';

/** Archives that are tried one after the other, nearest first: a registry of one's own need not have all. */
const MAX_BASES = 4;

type DeriveInputs = Pick<
  Inputs,
  | 'archive'
  | 'buildkit-version'
  | 'derive'
  | 'runc-version'
  | 'release-mirror'
  | 'release-sha256'
  | 'buildkit-binaries'
>;

/** The base of a release that nobody archived. */
export interface DerivedArchive {
  /** For people. */
  readonly base: string;
  readonly images: readonly ImageReference[];
}

/**
 * The archives whose kernel and systemd are nearest to a release, by number; finals only.
 * @param sources where they are published.
 */
export function nearestArchives(
  wanted: Version,
  sources: readonly Source[],
  catalog: readonly CatalogEntry[] = CATALOG,
): DerivedArchive {
  const distance = ({buildkit}: CatalogEntry): number => {
    const {minor, patch} = version(buildkit);
    return Math.abs((minor - wanted.minor) * 1000 + (patch - wanted.patch));
  };
  const bases = catalog
    // One whose own README says that it holds another BuildKit than its name would be a surprise twice.
    .filter(({name, buildkit, reports}) => name === buildkit && !reports && !version(buildkit).prerelease)
    .sort((a, b) => distance(a) - distance(b))
    .slice(0, MAX_BASES);
  return {
    base: bases[0]?.name ?? '',
    images: bases.flatMap(entry => sources.map(source => referenceOf(source, entry, undefined))),
  };
}

/** A release in the place of the archive's own BuildKit. */
export function releasePlan(inputs: DeriveInputs, {version: wanted, isListed}: NamedRelease): DerivePlan {
  const name = formatVersion(wanted);
  const mirror = (inputs['release-mirror'] || RELEASE_PAGE).replace(/\/+$/, '');
  return {
    source: {
      kind: 'release',
      version: name,
      url: `${mirror}/${name}/buildkit-${name}.linux-amd64.tar.gz`,
      ...sha256(inputs),
    },
    runc: inputs['runc-version'],
    isUnlisted: !isListed,
  };
}

/**
 * What is put into an archive that the inputs name, or into a published one.
 * @returns undefined when it stays as it is.
 * @throws UserError when inputs do not go together.
 */
export function derivePlan(inputs: DeriveInputs, workspaceDir: string): DerivePlan | undefined {
  const {archive, derive, 'buildkit-binaries': binaries, 'buildkit-version': asked} = inputs;
  if (binaries !== '') {
    if (derive === 'never') throw contradiction('buildkit-binaries');
    const source: BinariesSource = {
      kind: 'path',
      path: resolvePath(workspaceDir, binaries),
      ...sha256(inputs),
    };
    return {source, runc: inputs['runc-version'], isUnlisted: false};
  }
  const isWanted = derive === 'always' || inputs['release-mirror'] !== '' || inputs['release-sha256'] !== '';
  if (archive === '' || derive === 'never' || !isWanted || asked === '') return undefined;
  const release = parseVersion(asked)?.commitsAfterTag === 0 ? namedRelease(asked) : undefined;
  if (!release) return undefined;
  return {...releasePlan(inputs, release), unlessVersion: formatVersion(release.version), isUnlisted: false};
}

function sha256({'release-sha256': digest}: DeriveInputs): {readonly sha256?: string} {
  return digest === '' ? {} : {sha256: digest};
}

function contradiction(input: string): UserError {
  return new UserError(`derive: "never" and ${input} contradict each other`, {
    input: 'derive',
    stage: 'inputs',
    hint: `leave out ${input} to build with the archive's own BuildKit, or leave out derive`,
  });
}
