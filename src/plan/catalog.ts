import {UserError} from '../base/errors.ts';
import type {ImageReference} from '../base/image-reference.ts';
import {compareVersions, parseVersion, version} from '../base/version.ts';
import {CATALOG, type CatalogEntry} from './catalog-data.ts';
import {referenceOf, type Source} from './catalog-sources.ts';
import {ctrError} from './reference.ts';

export {CATALOG, type CatalogEntry} from './catalog-data.ts';

/** An archive that was asked for by its version. */
export interface ResolvedVersion {
  readonly entry: CatalogEntry;
  /** Such as `v0.1.0`, when one was asked for. */
  readonly revision: string | undefined;
  /** Where it is published, in the order in which to try. */
  readonly references: readonly ImageReference[];
}

export interface ResolveOptions {
  readonly sources: readonly Source[];
  readonly catalog?: readonly CatalogEntry[];
  /** Let `latest`, `oldest` and `0.21` stand for release candidates too. */
  readonly prereleases?: boolean;
  readonly input?: string;
}

/**
 * The archive that a text names: `v0.20.2`, `0.20.2`, `0.20` (its newest patch), `0` , `latest`, `oldest`, `v0.12.4-debug`, each with an optional
 * revision (`v0.20.2_v0.1.0`). Pre-releases and `-debug` archives are only taken when named in full.
 * @throws UserError for an unknown version or revision, with the nearest ones and the whole list.
 */
export function resolveVersion(text: string, options: ResolveOptions): ResolvedVersion {
  const {sources, catalog = CATALOG, prereleases = false, input = 'buildkit-version'} = options;
  const wanted = text.trim();
  if (/^ctr_/.test(wanted)) throw ctrError(`${input}: ${wanted}`, wanted.slice('ctr_'.length), input);
  const [base = '', revisionText, ...rest] = wanted.replace(/^buildkit-(?=v?\d)/, '').split('_');
  if (rest.length > 0) throw unknown(text, base, catalog, input);
  const entry = findEntry(base, catalog, prereleases);
  if (!entry) throw unknown(text, base, catalog, input);
  const revision = revisionText === undefined ? undefined : findRevision(revisionText, entry, text, input);
  return {entry, revision, references: sources.map(source => referenceOf(source, entry, revision))};
}

/** All archives, oldest first; a `-debug` one stands behind its plain one. */
export function sortedEntries(catalog: readonly CatalogEntry[] = CATALOG): readonly CatalogEntry[] {
  return [...catalog].sort(
    (a, b) =>
      compareVersions(version(a.buildkit), version(b.buildkit)) ||
      a.name.length - b.name.length ||
      (a.name < b.name ? -1 : 1),
  );
}

function findEntry(
  base: string,
  catalog: readonly CatalogEntry[],
  prereleases: boolean,
): CatalogEntry | undefined {
  const named = catalog.find(({name}) => name === base || name === `v${base}`);
  if (named) return named;
  // What stands for many: plain archives only, those of release candidates when they are asked for.
  const plain = sortedEntries(catalog).filter(
    entry => entry.name === entry.buildkit && (prereleases || version(entry.buildkit).prerelease === ''),
  );
  if (base === 'latest') return plain.at(-1);
  if (base === 'oldest') return plain[0];
  const partial = /^v?(\d+)(?:\.(\d+))?$/.exec(base);
  if (!partial) return undefined;
  return plain
    .filter(({buildkit}) => {
      const {major, minor} = version(buildkit);
      return major === Number(partial[1]) && (partial[2] === undefined || minor === Number(partial[2]));
    })
    .at(-1);
}

function findRevision(revision: string, entry: CatalogEntry, text: string, input: string): string {
  const found = entry.revisions.find(known => known === revision || known === `v${revision}`);
  if (found !== undefined) return found;
  throw new UserError(
    `${input}: ${JSON.stringify(text)} names a revision that the archive ${entry.name} does not have; its revisions: ${entry.revisions.join(', ')}`,
    {
      input,
      stage: 'inputs',
      hint: `write ${entry.name} for the newest, or ${entry.name}_${entry.revisions[0]}`,
    },
  );
}

function unknown(text: string, base: string, catalog: readonly CatalogEntry[], input: string): UserError {
  const all = sortedEntries(catalog).map(({name}) => name);
  const near = nearest(base, catalog);
  const candidates = near.length === 0 ? '' : `; the nearest: ${near.join(', ')}`;
  return new UserError(
    `${input}: there is no published archive for ${JSON.stringify(text)}${candidates}; all: ${all.join(', ')}`,
    {input, stage: 'inputs', hint: hintFor(base, near, catalog)},
  );
}

function hintFor(base: string, near: readonly string[], catalog: readonly CatalogEntry[]): string {
  const trailingZero = `v${base.replace(/^v/, '')}0`;
  if (/^v?\d+\.\d+$/.test(base) && findEntry(trailingZero, catalog, true)) {
    return `YAML reads ${trailingZero.slice(1)} as the number ${base}: write it in quotes, "${trailingZero.slice(1)}"`;
  }
  const candidates = catalog.filter(({buildkit, name}) => {
    const {major, minor, prerelease} = version(buildkit);
    return prerelease !== '' && `${major}.${minor}` === base.replace(/^v/, '') && name === buildkit;
  });
  if (candidates.length > 0) {
    return `of ${base} there are only pre-releases; name one: ${candidates.map(({name}) => name).join(', ')}`;
  }
  const first = near[0] === undefined ? 'take one from the list' : `write ${near[0]}`;
  return `${first}, or name an image or a disk of your own with "archive"`;
}

/** The three archives nearest by number, finals first; the newer of two equally near. */
function nearest(base: string, catalog: readonly CatalogEntry[]): readonly string[] {
  const numbers = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?/.exec(base);
  if (!numbers) return [];
  const wanted = position(Number(numbers[1]), Number(numbers[2] ?? 0), Number(numbers[3] ?? 0));
  const distance = ({name, buildkit}: CatalogEntry): readonly number[] => {
    const {major, minor, patch, prerelease} = version(buildkit);
    const at = position(major, minor, patch);
    return [
      Math.abs(at - wanted),
      at >= wanted ? 0 : 1,
      prerelease === '' ? 0 : 1,
      name === buildkit ? 0 : 1,
    ];
  };
  return catalog
    .map(({name, ...rest}) => ({name, at: distance({name, ...rest})}))
    .sort((a, b) => a.at.map((x, i) => x - (b.at[i] ?? 0)).find(d => d !== 0) ?? 0)
    .slice(0, 3)
    .map(({name}) => name);
}

/** One number for a release, so that a step of the minor outweighs any of the patch. */
function position(major: number, minor: number, patch: number): number {
  return (major * 1000 + minor) * 1000 + patch;
}

/** True when the text could be a version that `resolveVersion` reads, known or not; for telling it from an image's name. */
export function looksLikeVersion(text: string): boolean {
  const base = text.trim().split('_')[0] ?? '';
  return /^(?:latest|oldest|v?\d+(?:\.\d+)?)$/.test(base) || parseVersion(base) !== undefined;
}
