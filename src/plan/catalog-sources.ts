import {UserError} from '../base/errors.ts';
import {formatReference, type ImageReference} from '../base/image-reference.ts';
import type {CatalogEntry} from './catalog-data.ts';
import {parseReference, splitScheme} from './reference.ts';

/**
 * One place that publishes archives, told by how the names of its images begin:
 * `ghcr.io/ctrsploit/` + `buildkit-v0.20.2:v0.2.0` (a repository for each archive, a tag for each revision; `latest` is the newest) or
 * `docker.io/ssst0n3/docker_archive:` + `buildkit-v0.20.2_v0.2.0` (one repository; without the revision it is the newest).
 */
export interface Source {
  /** Ends in `/` or `:`, as above; without a scheme. */
  readonly prefix: string;
  readonly form: 'repositories' | 'tags';
  /** `http://` when that was asked for; else empty. */
  readonly scheme: string;
}

/** Where the archives are published. The second has the first releases. */
export const DEFAULT_REGISTRIES: readonly string[] = [
  'ghcr.io/ctrsploit/',
  'docker.io/ssst0n3/docker_archive:',
];

/** What a repository with all archives is called by its publishers. */
const SHARED_REPOSITORY = /(?:^|\/)docker_archive$/;

/**
 * Parses the items of `registries`: a name that ends in `/` has a repository for each archive, one that ends in `:` a tag for each. Without such
 * an end, a repository called `docker_archive` has tags and all else has repositories.
 * @throws UserError for an item that begins no image's name.
 */
export function parseSources(items: readonly string[], input = 'registries'): readonly Source[] {
  return items.map(item => parseSource(item, input));
}

function parseSource(item: string, input: string): Source {
  const {scheme, rest} = splitScheme(item.trim());
  const base = rest.replace(/[/:]$/, '');
  const form = /[/:]$/.test(rest)
    ? rest.endsWith(':')
      ? 'tags'
      : 'repositories'
    : SHARED_REPOSITORY.test(base)
      ? 'tags'
      : 'repositories';
  const source: Source = {
    prefix: `${base}${form === 'tags' ? ':' : '/'}`,
    form,
    scheme: scheme === undefined ? '' : `${scheme}://`,
  };
  try {
    const probe = referenceIn(source, 'v0.0.0', undefined, input);
    if (base === '') throw new Error('it names no registry');
    return {...source, prefix: prefixOf(probe, form)};
  } catch (cause) {
    throw new UserError(`${input}: ${JSON.stringify(item)} is not the beginning of an image's name`, {
      input,
      stage: 'inputs',
      cause,
      hint: `write one such as ${DEFAULT_REGISTRIES.join(' or ')}: "/" at the end for a repository of each archive, ":" for a tag of each`,
    });
  }
}

/** The beginning with docker's defaults filled in: it is what digests in the catalogue are kept under. */
function prefixOf(probe: ImageReference, form: Source['form']): string {
  const name = formatReference(probe);
  return name.slice(0, name.lastIndexOf(form === 'tags' ? ':' : '/') + 1);
}

/** The image of one archive in a source. @param name Such as `v0.12.4-debug`. @param revision Undefined for the newest. */
export function referenceIn(
  source: Source,
  name: string,
  revision: string | undefined,
  input = 'registries',
): ImageReference {
  const rest =
    source.form === 'tags'
      ? `buildkit-${name}${revision === undefined ? '' : `_${revision}`}`
      : `buildkit-${name}:${revision ?? 'latest'}`;
  return parseReference(`${source.scheme}${source.prefix}${rest}`, input);
}

/**
 * The image to take for an archive. The newest revision is taken by its digest where the catalogue has one, so that the same release of this
 * project takes the same bytes; else by the tag that moves with it.
 */
export function referenceOf(
  source: Source,
  entry: CatalogEntry,
  revision: string | undefined,
): ImageReference {
  const newest = entry.revisions.at(-1);
  const pinned = revision ?? newest;
  const digest = pinned === undefined ? undefined : entry.digests?.[pinned]?.[source.prefix];
  if (digest === undefined) return referenceIn(source, entry.name, revision);
  return {...referenceIn(source, entry.name, pinned), digest};
}
