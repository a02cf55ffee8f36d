import type {FailureKind} from '../../base/result.ts';
import {type BuildTrace, keptLines, type Step} from '../../base/trace.ts';
import {isAtLeast, type Version, version} from '../../base/version.ts';
import {type FeatureUse, featuresUsed} from '../dockerfile/features.ts';
import {excerptLines, type Located, locateStep} from '../dockerfile/locate.ts';
import {readDockerfile} from '../dockerfile/read.ts';
import type {Dockerfile, LineRange} from '../dockerfile/types.ts';
import {type Finding, preflight} from '../preflight.ts';

/** What is known of the machine that the build ran on; nothing of it is needed. */
export interface MachineEvidence {
  /** `uname -r`. */
  readonly kernel?: string;
  readonly runc?: string;
  /** The kernel killed a process for memory while the build ran. */
  readonly oomSeen?: boolean;
  /** The file system of the build is full. */
  readonly diskFull?: boolean;
  /** Who ended the build before it was done. */
  readonly stopped?: 'timeout' | 'canceled';
}

export interface DiagnoseInput {
  readonly trace: BuildTrace;
  /** buildctl's exit status; undefined when it is not known. */
  readonly exitCode?: number;
  /** The Dockerfile's text. */
  readonly dockerfile?: string;
  readonly dockerfileName?: string;
  readonly version?: Version;
  readonly target?: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  readonly machine?: MachineEvidence;
  /** From `preflight`; worked out here when left away. */
  readonly preflight?: readonly Finding[];
  /** Files of the build context before `.dockerignore`, relative, with `/`: for hints on a missing file. */
  readonly contextFiles?: readonly string[];
}

/** What the rules read: everything worked out once. */
export interface Facts {
  readonly trace: BuildTrace;
  readonly version: Version | undefined;
  readonly machine: MachineEvidence;
  readonly dockerfile: Dockerfile | undefined;
  readonly dockerfileName: string;
  readonly contextFiles: readonly string[];
  /** The external frontend that read the Dockerfile in place of the built-in one. */
  readonly frontend: string | undefined;
  readonly findings: readonly Finding[];
  readonly uses: readonly FeatureUse[];
  /** The step that made the build fail. */
  readonly step: Step | undefined;
  /** Where `step` stands. */
  readonly located: Located | undefined;
  /** The final error and the step's, one a line. */
  readonly errors: string;
  /** The last lines that `step` printed. */
  readonly log: string;
  /** Line that the error names (`parse error on line 3`), or the excerpt marks. */
  readonly line: LineRange | undefined;
  /** True when `step` ran a command of the Dockerfile. */
  readonly isRun: boolean;
  /** True when the version is known and older. */
  before(release: string): boolean;
}

/** What a rule answers. Lines and step come from the facts unless it gives its own. */
export interface Verdict {
  readonly kind: FailureKind;
  readonly summary: string;
  readonly hint: string;
  readonly worksFrom?: string;
  readonly lines?: LineRange;
}

export type Rule = (facts: Facts) => Verdict | undefined;

const LOG_LINES = 40;
const NAME_CHARS = 120;
/** Patterns run over this text, and a log can hold lines of megabytes. */
const LINE_CHARS = 2000;
const ERROR_CHARS = 20_000;
const PARSE_LINE = /parse error (?:on )?line (\d+)/i;

export function collectFacts(input: DiagnoseInput): Facts {
  const {trace, version: release, buildArgs = {}} = input;
  const dockerfile =
    input.dockerfile === undefined
      ? undefined
      : readDockerfile(input.dockerfile, {buildArgs, ...(release ? {version: release} : {})});
  const step = failedStep(trace);
  const context = {
    ...(release ? {version: release} : {}),
    ...(input.target === undefined ? {} : {target: input.target}),
    ...(trace.excerpt ? {excerpt: trace.excerpt} : {}),
  };
  const located = step && dockerfile && locateStep(step, dockerfile, context);
  const findings =
    input.preflight ??
    (input.dockerfile !== undefined && release ? preflight(input.dockerfile, release, {buildArgs}) : []);
  return {
    trace,
    version: release,
    machine: input.machine ?? {},
    dockerfile,
    dockerfileName: input.dockerfileName ?? 'Dockerfile',
    contextFiles: input.contextFiles ?? [],
    frontend: buildArgs.BUILDKIT_SYNTAX ?? dockerfile?.syntax?.value,
    findings,
    uses: dockerfile ? featuresUsed(dockerfile) : [],
    step,
    located,
    errors: [trace.error, step?.error].flatMap(text => text?.slice(0, ERROR_CHARS) ?? []).join('\n'),
    log: step ? lastLines(step) : '',
    line: errorLine(trace, dockerfile, step),
    isRun: /(?:^|\] )(?:ONBUILD )?RUN /.test(step?.name ?? ''),
    before: name => release !== undefined && !isAtLeast(release, version(name)),
  };
}

/**
 * The step that ended the build: the first failed one whose error is in the final error, else the last failed one; an
 * import of a cache that is not found fails without ending the build. When the daemon is lost, the step that runs.
 */
export function failedStep({steps, error = ''}: BuildTrace): Step | undefined {
  const failed = steps.filter(({state}) => state === 'failed');
  const named = failed.find(step => step.error && error.includes(step.error));
  const ending = failed.filter(({name}) => !/^importing cache manifest/.test(name));
  const open = steps.filter(({state}) => state === 'running' || state === 'canceled');
  const unfinished = open.filter(({name}) => !/^\[internal\]/.test(name)).at(-1);
  const cut = /context canceled|^Unavailable|^DeadlineExceeded|context deadline exceeded/.test(error);
  if (named) return named;
  if (cut) return unfinished ?? open.at(-1);
  // An error before any step's work (a parse error) ends the build while nothing failed.
  return error === '' || ending.length > 0 ? ending.at(-1) : undefined;
}

function lastLines({logs}: Step): string {
  return keptLines(logs)
    .slice(-LOG_LINES)
    .map(({text}) => text.slice(0, LINE_CHARS))
    .join('\n');
}

/** A step's name, short enough for a sentence. */
export function shortName({name}: Step): string {
  // Its header is in the part of the log that is missing.
  const line = name === '' ? 'a step' : name.replace(/\s+/g, ' ');
  return line.length > NAME_CHARS ? `${line.slice(0, NAME_CHARS)}…` : line;
}

function errorLine(
  trace: BuildTrace,
  dockerfile: Dockerfile | undefined,
  step: Step | undefined,
): LineRange | undefined {
  const named = PARSE_LINE.exec(trace.error ?? '')?.[1];
  if (trace.excerpt) return excerptLines(trace.excerpt);
  if (named === undefined) return step || !dockerfile ? undefined : quotedLine(trace.error ?? '', dockerfile);
  const line = Number(named);
  const own = dockerfile?.instructions.find(one => one.startLine === line);
  return {startLine: line, endLine: own?.endLine ?? line};
}

/**
 * The only instruction that holds what a frontend's error names, where neither line nor excerpt is printed: something
 * quoted, a variable, a keyword, or the last word.
 */
function quotedLine(error: string, {instructions}: Dockerfile): LineRange | undefined {
  const expansion = /variable expansion is not supported for --from/.test(error) ? [/--from=\S*\$/] : [];
  const index = /invalid stage index (\d+)/.exec(error)?.[1];
  const circular = /circular dependency detected on stage: (\S+)/.exec(error)?.[1];
  const stage = [index, circular].flatMap(name =>
    name === undefined ? [] : new RegExp(`from=${escaped(name)}(?!\\w)`),
  );
  for (const pattern of [...expansion, ...stage, ...wordsOf(error).map(wholeWord)]) {
    const [first, ...rest] = instructions.filter(one => pattern.test(one.text));
    if (first && rest.length === 0) return {startLine: first.startLine, endLine: first.endLine};
  }
  return undefined;
}

function wordsOf(error: string): string[] {
  const quoted = [...error.matchAll(/"((?:[^"\\]|\\.)+)"/g)].map(([, text = '']) =>
    text.replace(/\\(.)/g, '$1'),
  );
  const variable = /\((\$[^)]+)\)/.exec(error)?.[1] ?? [];
  const keyword = /^[A-Z]{3,}(?= )/.exec(error)?.[0] ?? [];
  const last = /: (\S+)$/.exec(error)?.[1] ?? [];
  return [quoted, variable, keyword, last].flat().filter(word => word.length > 1);
}

function wholeWord(text: string): RegExp {
  return new RegExp(`(?<!\\w)${escaped(text)}(?!\\w)`);
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}
