import type {DerivePlan} from '../base/derive.ts';
import {UserError} from '../base/errors.ts';
import {resolvePath} from '../base/path.ts';
import {formatVersion, parseVersion} from '../base/version.ts';
import {resolveVersion} from './catalog.ts';
import {DEFAULT_REGISTRIES, parseSources} from './catalog-sources.ts';
import {derivePlan, nearestArchives, releasePlan} from './derive.ts';
import type {Inputs} from './inputs.ts';
import type {Place, Plan} from './plan.ts';
import {explainCtrImage, parseReference} from './reference.ts';
import {namedRelease} from './releases.ts';

/** An image's name begins with a host (`ghcr.io`, `localhost:5000`), a scheme, or carries a digest; all else is a path. */
const IMAGE = /^(?:[a-z]+:\/\/|[^/.][^/]*[.:][^/]*\/|localhost\/)|@sha(?:256|512):/;

/** The archive, and the BuildKit that is put into it when it is not to stay as it is. @throws UserError when the inputs name none. */
export function archiveAndDerive(inputs: Inputs, place: Place): Pick<Plan, 'archive' | 'derive'> {
  const derive = derivePlan(inputs, place.workspaceDir);
  return inputs.archive === ''
    ? publishedArchive(inputs, place, derive)
    : {archive: ownArchive(inputs, place), ...(derive && {derive})};
}

function publishedArchive(
  inputs: Inputs,
  {storeDir}: Place,
  derive: DerivePlan | undefined,
): Pick<Plan, 'archive' | 'derive'> {
  const asked = inputs['buildkit-version'];
  if (asked === '') {
    throw new UserError('no archive is named: both archive and buildkit-version are empty', {
      input: 'archive',
      stage: 'inputs',
      hint: 'set buildkit-version, such as v0.20.2, or archive to an image, a qcow2 disk, an OCI image layout or a "docker save" tar',
    });
  }
  const sources = parseSources(sourcesOf(inputs));
  try {
    const {entry, references} = resolveVersion(asked, {sources});
    const archive = {reference: asked, images: references, expectedBuildkit: entry.buildkit, storeDir};
    return {archive, ...(derive && {derive})};
  } catch (error) {
    const release = namedRelease(asked);
    if (!release) throw error;
    if (inputs.derive === 'never') throw neverDerived(asked, error);
    const {base, images} = nearestArchives(release.version, sources);
    const expectedBuildkit = formatVersion(release.version);
    return {
      archive: {reference: base, images, expectedBuildkit, storeDir},
      derive: derive ?? releasePlan(inputs, release),
    };
  }
}

function neverDerived(asked: string, error: unknown): unknown {
  if (!(error instanceof UserError)) return error;
  return new UserError(error.message, {
    input: 'buildkit-version',
    stage: 'inputs',
    hint: `derive: auto puts ${asked} into the nearest archive; or name one of the list`,
  });
}

function ownArchive(inputs: Inputs, place: Place): Plan['archive'] {
  const {archive, 'buildkit-version': asked} = inputs;
  if (asked !== '' && !parseVersion(asked)) {
    throw new UserError(
      `buildkit-version: ${JSON.stringify(asked)} is not a version; beside archive it is what the archive should hold, such as v0.20.2`,
      {
        input: 'buildkit-version',
        stage: 'inputs',
        hint: 'leave it out to take whatever BuildKit the archive holds',
      },
    );
  }
  const image = IMAGE.test(archive) ? parseReference(archive, 'archive') : undefined;
  const ctr = image && explainCtrImage(image, 'archive');
  if (ctr) throw ctr;
  return {
    reference: archive,
    ...(!/^[a-z]+:\/\//.test(archive) && {path: resolvePath(place.workspaceDir, archive)}),
    images: image ? [image] : [],
    ...(asked !== '' && {expectedBuildkit: asked}),
    storeDir: place.storeDir,
  };
}

function sourcesOf(inputs: Inputs): readonly string[] {
  return inputs.registries.length > 0 ? inputs.registries : DEFAULT_REGISTRIES;
}
