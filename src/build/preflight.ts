import {formatVersion, isAtLeast, type Version} from '../base/version.ts';
import {type FeatureUse, featuresUsed} from './dockerfile/features.ts';
import {readDockerfile} from './dockerfile/read.ts';
import type {Directive, Dockerfile, LineRange} from './dockerfile/types.ts';
import {
  DOCKERFILE_FEATURES,
  type DockerfileFeature,
  LABS_ONLY_FEATURES,
} from './versions/dockerfile-features.ts';
import {entryOf, knows} from './versions/table.ts';

export type Severity = 'error' | 'warning' | 'info';

/** Something in a Dockerfile that the chosen release's built-in frontend cannot do, or does in another way. */
export interface Finding extends LineRange {
  /** Id in `DOCKERFILE_FEATURES`, or `syntax-directive`. */
  readonly feature: string;
  readonly instruction: string;
  /** First release that can, as `v0.10.0`; absent when none can without an external frontend. */
  readonly first?: string;
  readonly message: string;
  /** `error`: the build will fail; `warning`: it is ignored; `info`: works, with a condition. */
  readonly severity: Severity;
}

export interface PreflightOptions {
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** A `NAME.dockerignore` lies beside the Dockerfile. */
  readonly hasSpecificDockerignore?: boolean;
  /** The build sets `override-copy-image`. */
  readonly overrideCopyImage?: string;
  /** For messages. */
  readonly dockerfileName?: string;
}

/**
 * What the built-in frontend of `release` cannot do of what a Dockerfile asks for, in the order of the lines.
 * A frontend of its own (`# syntax=`, the build argument `BUILDKIT_SYNTAX`) gives one `info` and nothing else.
 */
export function preflight(
  text: string,
  release: Version,
  options: PreflightOptions = {},
): readonly Finding[] {
  const dockerfile = readDockerfile(text, {buildArgs: options.buildArgs ?? {}, version: release});
  const frontend = ownFrontend(dockerfile, release, options.buildArgs ?? {});
  if (frontend) return [frontend];
  const uses = [...featuresUsed(dockerfile), ...ignoreFile(options)];
  // It holds for all of them: said once.
  const helper = uses.find(({feature}) => feature === 'copy-offline');
  const told = uses.filter(use => use.feature !== 'copy-offline' || use === helper);
  return told.flatMap(use => finding(use, release, options) ?? []).sort((a, b) => a.startLine - b.startLine);
}

/** The external frontend that builds this file in place of the built-in one. */
function ownFrontend(
  {syntax, directives}: Dockerfile,
  release: Version,
  buildArgs: Readonly<Record<string, string>>,
): Finding | undefined {
  const argument = entryOf('frontend-option build-arg:BUILDKIT_SYNTAX');
  const given = knows(release, argument) ? buildArgs.BUILDKIT_SYNTAX : undefined;
  const image = given ?? (syntax && understood(syntax, directives, release) ? syntax.value : undefined);
  if (image === undefined || image === '') return undefined;
  return {
    feature: 'syntax-directive',
    instruction: '#',
    startLine: syntax?.startLine ?? 1,
    endLine: syntax?.endLine ?? 1,
    message: `${image} is pulled and builds this file in place of the frontend of BuildKit ${formatVersion(release)}: what the file may use depends on that image, and the build needs a network`,
    severity: 'info',
  };
}

function understood(syntax: Directive, directives: readonly Directive[], release: Version): boolean {
  const plain = directives.some(one => one.name === 'syntax');
  return syntax.value !== '' && (plain || knows(release, entryOf('dockerfile syntax-other-forms')));
}

function ignoreFile({hasSpecificDockerignore, dockerfileName}: PreflightOptions): FeatureUse[] {
  if (!hasSpecificDockerignore) return [];
  const token = `${dockerfileName ?? 'Dockerfile'}.dockerignore`;
  return [{feature: 'specific-dockerignore', instruction: '#', token, startLine: 1, endLine: 1}];
}

function finding(use: FeatureUse, release: Version, options: PreflightOptions): Finding | undefined {
  const {feature, instruction, startLine, endLine} = use;
  const at = {feature, instruction, startLine, endLine};
  const known = DOCKERFILE_FEATURES.find(({id}) => id === feature);
  if (!known) {
    const labs = LABS_ONLY_FEATURES.find(({id}) => id === feature);
    const message = `${labs?.name}: no release's built-in frontend knows it; add "# syntax=docker/dockerfile:1-labs" as the first line`;
    return labs && {...at, message, severity: 'error'};
  }
  const dropped = known.last && !isAtLeast(known.last, release);
  if (isAtLeast(release, known.first) && !dropped) return undefined;
  if (feature === 'copy-offline' && options.overrideCopyImage) return undefined;
  const first = formatVersion(known.first);
  const remark = known.remarks === '' ? '' : ` (${known.remarks})`;
  return {
    ...at,
    first,
    message: `${known.name} works from BuildKit ${first}, this is ${formatVersion(release)}${remark}`,
    severity: severityOf(use, known, release),
  };
}

function severityOf(
  {feature, deferred}: FeatureUse,
  {ignored}: DockerfileFeature,
  release: Version,
): Severity {
  if (feature === 'copy-offline' || feature === 'check-directive') return 'info';
  // BuildKit stores what ONBUILD holds without a look at it; only heredocs change where it ends.
  if (deferred && !feature.endsWith('-heredoc')) return 'warning';
  return ignored && isAtLeast(release, ignored.from) && !isAtLeast(release, ignored.before)
    ? 'warning'
    : 'error';
}
