import {DamagedError, messageOf, UserError} from '../../base/errors.ts';
import {formatReference, type ImageReference} from '../../base/image-reference.ts';
import type {RegistryPorts} from './client.ts';
import {damaged, RegistryError} from './errors.ts';
import {type PullOptions, type RegistryImage, resolveRegistryImage} from './image.ts';

export interface SourcesOptions extends PullOptions {
  /** One line, when a source fails and the next is tried. */
  readonly warn: (message: string) => void;
}

/**
 * Lends the first image of `references` that can be had to `use`, which takes out of it what it needs. A source that fails, at once or in the middle,
 * is left for the next. A tag that moves while its image is read is looked up once more. Each time `use` begins anew.
 * @throws what the only source, or all of them, failed with; errors of `use` that are no registry's pass through.
 */
export async function withRegistryImage<T>(
  ports: RegistryPorts,
  references: readonly ImageReference[],
  options: SourcesOptions,
  use: (image: RegistryImage) => Promise<T>,
): Promise<T> {
  const failures: RegistryError[] = [];
  for (const [i, reference] of references.entries()) {
    try {
      return await withOne(ports, reference, options, use);
    } catch (error) {
      const failure = asSourceError(error, reference);
      if (!failure) throw error;
      failures.push(failure);
      const next = references[i + 1];
      if (next) options.warn(`${failure.message}; trying ${formatReference(next)}`);
    }
  }
  const [first] = failures;
  if (first && failures.length === 1) throw first;
  throw new UserError(`no registry gives the archive: ${failures.map(messageOf).join('; ')}`, {
    input: 'registries',
    stage: 'archive',
    hint: first?.hint ?? 'name at least one source with "registries"',
    cause: first,
  });
}

/** An error that concerns one source only, so that another may serve; undefined for all others. */
function asSourceError(error: unknown, reference: ImageReference): RegistryError | undefined {
  if (error instanceof RegistryError) return error;
  return error instanceof DamagedError ? damaged(reference, error.message, error) : undefined;
}

async function withOne<T>(
  ports: RegistryPorts,
  reference: ImageReference,
  options: SourcesOptions,
  use: (image: RegistryImage) => Promise<T>,
): Promise<T> {
  const found = await resolveRegistryImage(ports, reference, options);
  try {
    return await use(found);
  } catch (error) {
    if (!(error instanceof RegistryError) || !error.blobGone || reference.digest !== undefined) throw error;
    // The tag was pushed anew and what it named before is gone.
    const again = await resolveRegistryImage(ports, reference, options);
    if (again.digest === found.digest) throw error;
    options.warn(
      `${formatReference(reference)} moved from ${found.digest} to ${again.digest} while it was read`,
    );
    return use(again);
  }
}
