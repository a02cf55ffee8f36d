import {nearest} from '../../base/nearest.ts';
import type {Facts, Rule, Verdict} from './facts.ts';

const FILE_FAULTS = new RegExp(
  [
    'parse error (?:on )?line',
    'the Dockerfile cannot be empty',
    'file with no instructions',
    'no build stage in current context',
    'unknown instruction',
    'failed to parse stage name',
    'base name .* should not be blank',
    'failed to process ',
    'circular dependency detected',
    'unterminated heredoc',
    'variable expansion is not supported',
    "doesn't support variable expansion",
    'unexpected key ',
    'unsupported mount type',
    'invalid (?:chmod|chown|checksum|reference format|escape token)',
    "source can't be (?:a URL|a git ref)",
    'parser directive can be used',
    'invalid from flag value',
  ].join('|'),
  'i',
);

/** Says of a name that it is none, and not of one in the Dockerfile. */
const OUTPUT_STEP = /^(?:exporting|pushing|importing) /;

export const dockerfileFault: Rule = facts => {
  const {errors, step} = facts;
  if (!FILE_FAULTS.test(errors) || OUTPUT_STEP.test(step?.name ?? '')) return undefined;
  return refusal(facts);
};

/** The step that hands the Dockerfile to the frontend. */
const READS_FILE =
  /^\[internal\] load (?:remote )?build (?:definition|context)|^\[internal\] load git source/;
/** What the frontend passes on rather than says itself. */
const NOT_OF_THE_FILE =
  /^[A-Z][A-Za-z]+: |\bg?rpc\b|frontend|no such (?:file|host)|failed to (?:do|read|resolve|solve)/;

/**
 * The frontend has read the file and the build ended before any step failed: then the file is at fault, in whatever words.
 * Up to v0.8.3 many a refusal (`ENV must have two arguments`) names no line.
 */
export const frontendRefusal: Rule = facts => {
  const {step, trace, errors} = facts;
  const isRead = trace.steps.some(({name, state}) => READS_FILE.test(name) && state !== 'running');
  const worked = trace.steps.some(({name}) => OUTPUT_STEP.test(name));
  if (step || !isRead || worked || errors === '' || NOT_OF_THE_FILE.test(errors)) return undefined;
  return refusal(facts);
};

function refusal(facts: Facts): Verdict {
  const {errors, trace, dockerfile} = facts;
  const message = (trace.error ?? errors).replace(/^dockerfile parse error (?:on )?line \d+: /i, '').trim();
  const flag = /unknown flag: (?:--)?([\w-]+)/i.exec(message)?.[1];
  const empty = /cannot be empty|no instructions/.test(message);
  const unknown = /unknown instruction: (\S+)/i.exec(message)?.[1];
  const problem = dockerfile?.problems[0];
  const hints = [
    empty && 'Write at least one FROM line, or name another file.',
    meant(message, unknown),
    flag !== undefined && flagHint(flag, facts),
    unknown !== undefined && instructionHint(unknown, facts),
    problem && `Line ${problem.startLine}: ${problem.message}.`,
    CAUSES.find(({pattern}) => pattern.test(message))?.hint,
  ];
  return {
    kind: 'dockerfile',
    summary: `The Dockerfile cannot be built: ${message}`,
    hint: hints.find(text => typeof text === 'string') ?? 'Mend the line.',
  };
}

/** From v0.9.0 on the frontend says what was meant, without the dashes of a flag up to v0.16.0. */
function meant(message: string, unknown: string | undefined): string | undefined {
  const said = /\(did you mean (\S+?)\?\)/.exec(message)?.[1];
  const near = said ?? (unknown === undefined ? undefined : nearest(unknown, INSTRUCTIONS));
  if (near === undefined) return undefined;
  if (unknown !== undefined) return `Did you mean ${near.toUpperCase()}?`;
  return `Did you mean ${/unknown flag/i.test(message) ? '--' : ''}${near.replace(/^--/, '')}?`;
}

function flagHint(flag: string, {line, dockerfile}: Facts): string {
  const here = dockerfile?.instructions.find(one => one.startLine === line?.startLine);
  const known = FLAGS[(here?.trigger ?? here)?.keyword ?? ''] ?? [];
  const near = nearest(flag, known);
  if (near !== undefined) return `Did you mean --${near}?`;
  return `No release's frontend knows --${flag} here; check its spelling.`;
}

/** A word that is no instruction: the rest of the line before, or a command without its RUN. */
function instructionHint(word: string, {line, dockerfile}: Facts): string {
  const before = dockerfile?.instructions.findLast(one => one.endLine < (line?.startLine ?? 0));
  if (before && /(?:&&|\|\|?|;|,)\s*$/.test(before.text)) {
    return `Line ${before.endLine} goes on in line ${line?.startLine}: end it with a backslash.`;
  }
  return `${word} is no instruction of a Dockerfile. A command has "RUN" before it; a line that goes on ends with a backslash.`;
}

const CAUSES: readonly {readonly pattern: RegExp; readonly hint: string}[] = [
  {
    pattern: /no build stage in current context/,
    hint: 'Only ARG may stand before the first FROM.',
  },
  {
    pattern: /base name .* should not be blank/,
    hint: 'The variable has no value: give its ARG a default before the first FROM, or hand it in as a build argument.',
  },
  {
    pattern: /repository name \S*\s?must be lowercase/,
    hint: 'Image names are in lower case.',
  },
  {
    pattern: /invalid stage index/,
    hint: 'Stages count from 0, and COPY --from can only name one before its own.',
  },
  {
    pattern: /circular dependency/,
    hint: 'A stage cannot take files from itself, or from one that is made of it.',
  },
];

const INSTRUCTIONS = (
  'ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER ' +
  'VOLUME WORKDIR'
).split(' ');

const FLAGS: Readonly<Record<string, readonly string[]>> = {
  ADD: ['chown', 'chmod', 'link', 'checksum', 'keep-git-dir', 'unpack', 'exclude'],
  COPY: ['from', 'chown', 'chmod', 'link', 'parents', 'exclude'],
  FROM: ['platform'],
  HEALTHCHECK: ['interval', 'timeout', 'start-period', 'start-interval', 'retries'],
  RUN: ['mount', 'network', 'security', 'device'],
};
