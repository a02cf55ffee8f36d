import {formatVersion, type Version} from '../../base/version.ts';
import type {FeatureUse} from '../dockerfile/features.ts';
import {DOCKERFILE_FEATURES, LABS_ONLY_FEATURES} from '../versions/dockerfile-features.ts';
import {featureFirst} from '../versions/table.ts';
import type {Facts, Rule, Verdict} from './facts.ts';

const TOKEN_CHARS = 60;

/** How an error of the frontend names what it does not know. */
const UNKNOWN_FLAG = /unknown flag: (?:--)?([\w-]+)/i;
const UNKNOWN_INSTRUCTION = /unknown instruction: (\S+)/i;
const UNKNOWN_KEY = /unexpected key '([\w-]+)' in/;
/** `instruction 'ADD --checksum=<CHECKSUM>' requires the labs channel` of v0.11. */
const LABS_FLAG = /instruction '[A-Z]+ --([\w-]+)\S*' requires the labs channel/;
const LABS = /requires the labs channel|only supported in Dockerfile frontend \S*labs/;

/** Features that a kind of error points to, whatever the words of the release. */
const BY_ERROR: readonly {readonly pattern: RegExp; readonly feature: RegExp}[] = [
  {pattern: /ARG requires exactly one argument/, feature: /^arg-multi$/},
  {
    pattern: /missing ':' in substitution|unsupported modifier \(.*\) in substitution/,
    feature: /^var-expand-/,
  },
  {pattern: /invalid chmod parameter|chmod .*octal/, feature: /^copy-chmod-symbolic$/},
  {pattern: LABS, feature: /^(?:add-checksum|add-git|run-device)$/},
];

/**
 * A feature of the Dockerfile that the release's frontend does not know. The uses in the Dockerfile are held against
 * the version table; without a Dockerfile the error's own words must do.
 */
export const unsupportedFeature: Rule = facts => {
  const use = usedFeature(facts);
  if (use) return verdict(use, facts);
  if (facts.dockerfile) return undefined;
  const guess = guessFromError(facts);
  return guess && verdict(guess, facts);
};

function usedFeature(facts: Facts): FeatureUse | undefined {
  const {errors, line, uses} = facts;
  const lacking = uses.filter(use => lacks(use, facts));
  const here = lacking.filter(
    use => !line || (use.startLine <= line.endLine && line.startLine <= use.endLine),
  );
  const flag = UNKNOWN_FLAG.exec(errors)?.[1];
  if (flag !== undefined) return newest(here.filter(use => tokenFlag(use) === flag));
  if (UNKNOWN_INSTRUCTION.test(errors)) return newest(here.filter(use => use.feature.endsWith('-heredoc')));
  const key = UNKNOWN_KEY.exec(errors)?.[1];
  if (key !== undefined) return newest(lacking.filter(use => use.feature.endsWith(`-${key}`)));
  for (const {pattern, feature} of BY_ERROR) {
    if (pattern.test(errors)) return newest(lacking.filter(use => feature.test(use.feature)));
  }
  const parseError = /parse error/i.test(errors);
  return parseError ? newest(here.filter(use => isRefused(use, facts))) : undefined;
}

function isRefused(use: FeatureUse, {findings}: Facts): boolean {
  return findings.some(one => one.severity === 'error' && one.feature === use.feature);
}

/** True when the release is too old for the use; with no release known, when there is one that is. */
function lacks(use: FeatureUse, facts: Facts): boolean {
  const first = firstRelease(use.feature);
  if (first === undefined) return LABS_ONLY_FEATURES.some(({id}) => id === use.feature);
  // What an external frontend knows does not hang on the release.
  return facts.version && facts.frontend === undefined ? facts.before(formatVersion(first)) : first.minor > 3;
}

function firstRelease(feature: string): Version | undefined {
  return DOCKERFILE_FEATURES.find(({id}) => id === feature)?.first;
}

function tokenFlag({token}: FeatureUse): string | undefined {
  return /^--([\w-]+)/.exec(token)?.[1];
}

/** Of several on one line the one that needs the newest release, so that the answer is enough. */
function newest(uses: readonly FeatureUse[]): FeatureUse | undefined {
  const rank = ({feature}: FeatureUse): number => {
    const first = firstRelease(feature);
    return first ? first.minor * 100 + first.patch : Number.POSITIVE_INFINITY;
  };
  return uses.toSorted((a, b) => rank(b) - rank(a) || a.startLine - b.startLine)[0];
}

/** Without the Dockerfile: by the flag, the mount's key, or the excerpt that stands in the log. */
function guessFromError(facts: Facts): FeatureUse | undefined {
  const {errors} = facts;
  const heredoc = UNKNOWN_INSTRUCTION.test(errors) ? heredocAbove(facts) : undefined;
  if (heredoc) return lacks(heredoc, facts) ? heredoc : undefined;
  const flag = (UNKNOWN_FLAG.exec(errors) ?? LABS_FLAG.exec(errors))?.[1];
  const key = UNKNOWN_KEY.exec(errors)?.[1];
  const ids = [...DOCKERFILE_FEATURES, ...LABS_ONLY_FEATURES].map(({id}) => id);
  const guesses = ids.filter(id =>
    flag === undefined
      ? key !== undefined && id.startsWith('run-mount-') && id.endsWith(`-${key}`)
      : id.split('-').slice(1).join('-').startsWith(flag),
  );
  const token = flag === undefined ? `${key}=` : `--${flag}`;
  return guesses.map(feature => guessed(feature, token)).find(use => lacks(use, facts));
}

function guessed(feature: string, token: string): FeatureUse {
  const instruction = feature.split('-')[0]?.toUpperCase() ?? '';
  return {feature, instruction, token, startLine: 0, endLine: 0};
}

/** A here-document's first line is the instruction that an old parser does not know. */
function heredocAbove({trace: {excerpt}, line}: Facts): FeatureUse | undefined {
  const above = excerpt?.lines.filter(({number}) => number < (line?.startLine ?? 0)) ?? [];
  for (const {text, number} of above) {
    const [, word = '', token] = /^\s*(RUN|COPY|ADD)\b.*?(<<-?\s*["']?\w+)/i.exec(text) ?? [];
    if (token === undefined) continue;
    const feature = word.toUpperCase() === 'RUN' ? 'run-heredoc' : 'copy-heredoc';
    return {...guessed(feature, token), startLine: number, endLine: line?.endLine ?? number};
  }
  return undefined;
}

function verdict(use: FeatureUse, {version: release, line, frontend}: Facts): Verdict {
  const first = firstRelease(use.feature);
  const name = [...DOCKERFILE_FEATURES, ...LABS_ONLY_FEATURES].find(({id}) => id === use.feature)?.name;
  const who = release ? `BuildKit ${formatVersion(release)}` : 'This BuildKit';
  const summary = `${frontend ?? who} does not know ${name} (${cut(use.token)})`;
  const lines = use.startLine === 0 ? line : {startLine: use.startLine, endLine: use.endLine};
  const syntax = `"# syntax=docker/dockerfile:1${first ? '' : '-labs'}" as the first line, which needs a network`;
  if (frontend !== undefined) {
    const hint =
      'The frontend image of the "# syntax=" line is too old: name a newer one, as docker/dockerfile:1.';
    return {kind: 'unsupported-feature', summary, hint, ...(lines ? {lines} : {})};
  }
  return {
    kind: 'unsupported-feature',
    summary,
    hint: first ? `Use BuildKit ${formatVersion(first)} or later, or add ${syntax}.` : `Add ${syntax}.`,
    ...(first ? {worksFrom: formatVersion(first)} : {}),
    ...(lines ? {lines} : {}),
  };
}

function cut(token: string): string {
  return token.length > TOKEN_CHARS ? `${token.slice(0, TOKEN_CHARS)}…` : token;
}

interface Limit {
  readonly pattern: RegExp;
  readonly what: string;
  /** Id in the version table. */
  readonly entry: string;
  readonly hint: string;
}

/** Things outside the Dockerfile that old releases refuse, with the words they use for it. */
const LIMITS: readonly Limit[] = [
  {
    pattern: /runtime execution on platform \S+ not supported/,
    what: 'RUN for a foreign platform',
    entry: 'frontend-option platform of an emulator',
    hint: 'Build for one platform, the native one.',
  },
  {
    pattern: /output \S+ is not supported by tar exporter/,
    what: 'the tar exporter with a file as its destination',
    entry: 'exporter tar',
    hint: 'Use type=local and pack the folder.',
  },
  {
    pattern: /unsupported request frontend\.lint/,
    what: 'a lint report (requestid=frontend.lint)',
    entry: 'frontend-option requestid=frontend.lint',
    hint: 'Leave the request away.',
  },
  {
    pattern: /only single Exports can be specified/,
    what: 'several outputs of one build',
    entry: 'build --output several',
    hint: 'Ask for one output.',
  },
  {
    pattern: /cannot copy from stage .* needs to be defined before current stage/,
    what: 'ONBUILD COPY --from=STAGE',
    entry: 'dockerfile onbuild-copy-from',
    hint: 'Write the COPY into the stage itself.',
  },
];

/**
 * v0.5.0 to v0.16.0 give what `ONBUILD COPY --from=` names no content when the trigger is carried out, so its files are
 * not found; v0.17.0 resolves it (`initOnBuildTriggers`).
 */
export const onbuildCopy: Rule = facts => {
  const {located, version: release, errors} = facts;
  const copy = located?.onbuild?.trigger;
  const first = formatVersion(featureFirst('dockerfile onbuild-copy-from'));
  const isOld = facts.before(first) && !facts.before('v0.5.0');
  const isFrom = copy?.flags.some(({name}) => name === 'from');
  if (!release || !isOld || !isFrom || !/no such file or directory|not found/.test(errors)) return undefined;
  return {
    kind: 'unsupported-feature',
    summary: `BuildKit ${formatVersion(release)} cannot do ONBUILD COPY --from=STAGE`,
    hint: `Write the COPY into the stage itself. Or use BuildKit ${first} or later.`,
    worksFrom: first,
  };
};

/** An exporter, platform or request that the release cannot serve. */
export const unsupportedRequest: Rule = facts => {
  const limit = LIMITS.find(({pattern}) => pattern.test(facts.errors));
  if (!limit) return undefined;
  const first = formatVersion(featureFirst(limit.entry));
  if (facts.version && !facts.before(first)) return undefined;
  const who = facts.version ? `BuildKit ${formatVersion(facts.version)}` : 'This BuildKit';
  return {
    kind: 'unsupported-feature',
    summary: `${who} cannot do ${limit.what}`,
    hint: `${limit.hint} Or use BuildKit ${first} or later.`,
    worksFrom: first,
  };
};
