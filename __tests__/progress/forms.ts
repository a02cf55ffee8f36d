import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import type {BuildTrace, Step} from '../../src/base/trace.ts';
import {mergeTrace} from '../../src/progress/reader.ts';
import {logTexts, read, readPlain} from './helpers.ts';

/** A fact that two forms of a build do not share, and why; `applies` limits it to those that lack it. */
interface Gap {
  readonly reason: string;
  readonly applies: (pair: Pair) => boolean;
  readonly level: (step: Facts, pair: Pair) => Facts;
}

interface Pair {
  readonly version: string;
  readonly scenario: string;
  /** One build wrote both: `--trace`. Else the build ran again for the other form, most with `--no-cache`. */
  readonly sameRun: boolean;
  readonly exact: BuildTrace;
  readonly plain: BuildTrace;
}

interface Facts {
  readonly name: string;
  readonly stage: string | undefined;
  readonly platform: string | undefined;
  readonly position: string;
  readonly state: string;
  readonly error: string;
  readonly exitCode: number | undefined;
  readonly statuses: readonly string[];
  readonly log: readonly string[] | undefined;
}

const gaps: readonly Gap[] = [
  {
    reason: 'v0.5.0-v0.7.2: headers are cut at 72 bytes, and only the error block has whole names',
    applies: ({version}) => /^v0\.[5-7]\./.test(version),
    level: facts => ({...facts, name: facts.name.replace(/\.\.\.$/, '').slice(0, 70)}),
  },
  {
    reason: 'the plain log glues an unfinished line of one stream to the next line of the other one',
    applies: () => true,
    level: facts => ({...facts, log: facts.log && [[...facts.log.join('')].sort().join('')]}),
  },
  {
    reason: 'the second run had --no-cache, so what was cached in the first is done in it, with its log',
    applies: ({sameRun, scenario}) => !sameRun && scenario !== 'cached',
    level: facts => ({...facts, state: facts.state === 'cached' ? 'done' : facts.state, log: undefined}),
  },
  {
    reason: 'in two runs, random ids of refs differ, and so do digests of what has a time of creation in it',
    applies: ({sameRun}) => !sameRun,
    level: facts => ({
      ...facts,
      error: withoutRefs(facts.error),
      statuses: facts.statuses.map(status => status.replace(/sha256:[0-9a-f]{64}/, 'sha256:…')).sort(),
    }),
  },
  {
    reason: 'in two failing runs, another step may or may not have ended before it was canceled',
    applies: ({sameRun, exact}) => !sameRun && exact.error !== undefined,
    level: facts => ({...facts, state: facts.state === 'canceled' ? 'done' : facts.state}),
  },
  {
    reason: 'a step that several platforms share has the name that the last of them gave it',
    applies: ({sameRun, scenario}) => !sameRun && scenario === 'multi-platform',
    level: facts => ({...facts, name: facts.name.replace(/^\[\S+\/\S+ /, '['), platform: undefined}),
  },
];

/** Reads both forms of a scenario; undefined when it has one form only. */
export function readPair(root: string, path: string): Pair | undefined {
  const [version = '', scenario = ''] = path.split('/');
  const folder = join(root, path);
  const plain = readPlain(folder);
  const traceFile = join(folder, 'trace.json');
  const rawFile = join(folder, 'rawjson.txt');
  if (existsSync(traceFile)) {
    const tail = read('tail', readFileSync(join(folder, 'stderr.txt')));
    const exact = mergeTrace(read('trace', readFileSync(traceFile)), tail);
    return {version, scenario, sameRun: true, exact, plain};
  }
  if (!existsSync(rawFile)) return undefined;
  return {version, scenario, sameRun: false, exact: read('rawjson', readFileSync(rawFile)), plain};
}

/** What both forms say, with the same gaps in both; equal when the forms agree. */
export function comparable(pair: Pair): {readonly exact: unknown; readonly plain: unknown} {
  const level = (trace: BuildTrace): unknown => ({
    steps: trace.steps.map(step => levelled(factsOf(step), pair)).sort(byName),
    warnings: trace.warnings.map(({message, line}) => ({message, line})),
    excerpt: trace.excerpt,
    error: pair.sameRun ? trace.error : withoutRefs(trace.error ?? ''),
  });
  return {exact: level(pair.exact), plain: level(pair.plain)};
}

function levelled(facts: Facts, pair: Pair): Facts {
  return gaps.filter(gap => gap.applies(pair)).reduce<Facts>((rest, gap) => gap.level(rest, pair), facts);
}

function factsOf(step: Step): Facts {
  const {name, stage, platform, position, state, error = '', exitCode, statuses} = step;
  return {
    name,
    stage,
    platform,
    position: `${position?.index}/${position?.total}`,
    state,
    error,
    exitCode,
    statuses: statuses.map(status => `${status.id} ${status.done}`).sort(),
    log: logTexts(step),
  };
}

function byName(a: Facts, b: Facts): number {
  return JSON.stringify(a) < JSON.stringify(b) ? -1 : 1;
}

function withoutRefs(error: string): string {
  return error
    .replace(/\b[0-9a-z]{25}::[0-9a-z]{25}\b/g, 'REF')
    .replace(/buildkit-mount\d+/g, 'buildkit-mount');
}
