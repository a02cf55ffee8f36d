import {readFileSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';
import {Ajv2020} from 'ajv/dist/2020.js';
import {STAGES} from '../../src/base/errors.ts';
import {FAILURE_KINDS, type JobResult, type MachineFacts, type Outcome} from '../../src/base/result.ts';
import type {LogLine, StepState, StepStatus} from '../../src/base/trace.ts';
import {printResult} from '../../src/report/result.ts';
import {manySteps, poisoned, RESULTS} from './samples.ts';

interface Schema {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: unknown;
  readonly items?: Schema;
  readonly oneOf?: readonly Schema[];
  readonly enum?: readonly string[];
  readonly type?: string;
}

const schema = JSON.parse(
  readFileSync(new URL('../../schema/job-result.schema.json', import.meta.url), 'utf8'),
) as Schema;
const validate = new Ajv2020({strict: true, allErrors: true}).compile(schema);

function errorsOf(value: unknown): unknown[] {
  return validate(JSON.parse(JSON.stringify(value))) ? [] : [...(validate.errors ?? [])];
}

/** All keys, none of them optional: the compiler holds these samples against the types. */
type Complete<T> = T extends readonly (infer Item)[]
  ? readonly Complete<Item>[]
  : T extends object
    ? {readonly [Key in keyof T]-?: Complete<Exclude<T[Key], undefined>>}
    : T;

const LOG_LINE: Complete<LogLine> = {stream: 'stdout', atSeconds: 0.5, text: 'x'};
const STATUS: Complete<StepStatus> = {id: 's', current: 1, total: 2, unit: 'bytes', seconds: 0.1, done: true};

const OUTCOMES: readonly Complete<Outcome>[] = [
  {kind: 'built'},
  {
    kind: 'build-failed',
    failureKind: 'run-failed',
    step: '[1/1] RUN x',
    stepId: '#1',
    exitCode: 1,
    message: 'm',
    location: {file: 'Dockerfile', startLine: 1, endLine: 2},
    hint: 'h',
  },
  {kind: 'infra-failed', stage: 'vm', message: 'm', hint: 'h', internal: true},
  {kind: 'canceled', stage: 'build', message: 'm'},
];

const COMPLETE: Complete<Omit<JobResult, 'outcome'>> = {
  schema: 1,
  buildkitHost: 'unix:///tmp/b.sock',
  archive: {reference: 'r', requestedBuildkit: 'v0.20.2'},
  versions: {
    buildkit: {version: 'v', commit: 'c', package: 'p'},
    buildctl: {version: 'v', commit: 'c'},
    runc: {version: 'v', commit: 'c', spec: 's', go: 'g', libseccomp: 'l'},
    kernel: 'k',
    os: 'o',
    architecture: 'a',
    systemd: {version: '252', state: 'degraded', failedUnits: ['x.service']},
    workers: [{id: 'w', platforms: ['linux/amd64'], labels: {a: 'b'}, snapshotter: 'overlayfs'}],
    derived: {archive: 'v0.21.1', archiveBuildkit: 'v0.21.1', source: 's', runc: 'bundled'},
  },
  machine: {
    launcher: 'docker',
    launcherReason: 'r',
    debugPort: 2345,
    accelerator: 'kvm',
    acceleratorReason: 'r',
    line: 'fast',
    start: {kind: 'cold', reason: 'r', snapshot: {method: 'shared-memory', sizeBytes: 1}},
    qemuVersion: '7',
    cpus: 2,
    memoryMib: 2048,
  },
  trace: {
    steps: [
      {
        id: '#1',
        name: 'n',
        stage: 'build',
        platform: 'linux/arm64',
        position: {index: 1, total: 2},
        state: 'failed',
        cached: false,
        intervals: [{startedSeconds: 0, completedSeconds: 1}],
        seconds: 1,
        error: 'e',
        exitCode: 1,
        logs: {head: [LOG_LINE], tail: [LOG_LINE], omittedLines: 3},
        statuses: [STATUS],
      },
    ],
    warnings: [{step: '#1', message: 'm', file: 'Dockerfile', line: 1, url: 'u'}],
    excerpt: {file: 'Dockerfile', line: 1, lines: [{number: 1, text: 'FROM x', marked: true}]},
    error: 'e',
  },
  metadata: {any: {thing: [1, null, 'x']}},
  imageId: 'sha256:x',
  digest: 'sha256:y',
  outputs: [{type: 'local', path: 'out', bytes: 1}],
  warnings: ['w'],
  timings: {
    archiveSeconds: 1,
    bootSeconds: 1,
    inspectSeconds: 1,
    contextSeconds: 1,
    contextBytes: 1,
    contextFiles: 1,
    buildSeconds: 1,
    outputsSeconds: 1,
    cleanupSeconds: 1,
    totalSeconds: 1,
  },
};

/** As little as the types allow: the compiler misses what is required and is not here. */
const MINIMAL: readonly JobResult[] = [
  {kind: 'built'} as const,
  {kind: 'build-failed', failureKind: 'daemon', message: 'm'} as const,
  {kind: 'infra-failed', stage: 'vm', message: 'm', internal: false} as const,
  {kind: 'canceled', stage: 'plan', message: 'm'} as const,
].map(outcome => ({
  schema: 1,
  archive: {reference: 'r'},
  outcome,
  outputs: [{type: 'tar', path: 'p'}],
  warnings: [],
  timings: {totalSeconds: 0},
  versions: {
    buildkit: {version: 'v'},
    buildctl: {version: 'v'},
    runc: {version: 'v'},
    kernel: 'k',
    os: 'o',
    architecture: 'a',
    systemd: {state: 's', failedUnits: []},
    workers: [{id: 'w', platforms: [], labels: {}}],
  },
  machine: {accelerator: 'tcg', qemuVersion: '7', cpus: 1, memoryMib: 1},
  trace: {
    steps: [
      {
        id: '#1',
        name: 'n',
        state: 'running',
        cached: false,
        intervals: [{startedSeconds: 0}],
        logs: {head: [{stream: 'unknown', text: 't'}], tail: [], omittedLines: 0},
        statuses: [{id: 's', done: false}],
      },
    ],
    warnings: [{message: 'm'}],
    excerpt: {file: 'f', line: 1, lines: [{number: 1, text: 't', marked: false}]},
  },
}));
const OPTIONAL_HERE = new Set(['/versions', '/machine', '/trace', '/trace/excerpt', '/versions/runc']);

describe('the schema and the types agree', () => {
  test('results with all keys and with only the required ones validate', () => {
    for (const outcome of OUTCOMES) expect(errorsOf({...COMPLETE, outcome})).toEqual([]);
    for (const result of MINIMAL) expect(errorsOf(result)).toEqual([]);
  });

  test('the schema names no key that the types do not have', () => {
    const described = new Map<string, Set<string>>();
    collectSchema(schema, '', described);
    const typed = new Map<string, Set<string>>();
    for (const outcome of OUTCOMES) collectValue({...COMPLETE, outcome}, '', typed);
    for (const open of ['/metadata', '/metadata/any', '/versions/workers/labels']) typed.delete(open);
    expect([...described].map(([path, keys]) => [path, [...keys].sort()]).sort()).toEqual(
      [...typed].map(([path, keys]) => [path, [...keys].sort()]).sort(),
    );
  });

  test('every key that the types require is required', () => {
    const removed: string[] = [];
    for (const result of MINIMAL) {
      for (const [path, without] of removals(result)) {
        if (OPTIONAL_HERE.has(path)) continue;
        removed.push(path);
        expect({path, valid: errorsOf(without).length === 0}).toEqual({path, valid: false});
      }
    }
    expect(removed.length).toBeGreaterThan(100);
  });

  test('names are the same sets', () => {
    const states: Record<StepState, true> = {
      done: true,
      cached: true,
      failed: true,
      canceled: true,
      running: true,
    };
    const accelerators: Record<MachineFacts['accelerator'], true> = {kvm: true, tcg: true};
    const streams: Record<LogLine['stream'], true> = {stdout: true, stderr: true, unknown: true};
    const defs = schema.$defs ?? {};
    expect(defs.stage?.enum).toEqual(STAGES);
    expect(defs.failureKind?.enum).toEqual(FAILURE_KINDS);
    expect(defs.step?.properties?.state?.enum).toEqual(Object.keys(states));
    expect(defs.machine?.properties?.accelerator?.enum).toEqual(Object.keys(accelerators));
    expect(defs.logLine?.properties?.stream?.enum).toEqual(Object.keys(streams));
  });
});

describe('what validates', () => {
  test.each(RESULTS)('%s, as it is printed, whole and cut', (_, result) => {
    for (const maxBytes of [1e9, 4000, 500]) {
      expect(errorsOf(JSON.parse(printResult(result, {maxBytes})))).toEqual([]);
      expect(errorsOf(JSON.parse(printResult(poisoned(result, '\u{1f4a3}\0\u2028"\\'), {maxBytes})))).toEqual(
        [],
      );
    }
    expect(errorsOf(JSON.parse(printResult(manySteps(400), {maxBytes: 60_000})))).toEqual([]);
  });

  const built = RESULTS[0]?.[1];
  test.each<[string, unknown]>([
    ['another format', {...built, schema: 2}],
    ['an unknown key', {...built, surprise: true}],
    ['an unknown key in a step', {...built, trace: {steps: [{colour: 'red'}], warnings: []}}],
    ['an outcome of no kind', {...built, outcome: {kind: 'exploded'}}],
    ['an outcome of two kinds', {...built, outcome: {kind: 'built', message: 'x'}}],
    ['a failure of no kind', {...built, outcome: {kind: 'build-failed', failureKind: 'mood', message: 'x'}}],
    ['a stage that is none', {...built, outcome: {kind: 'canceled', stage: 'lunch', message: 'x'}}],
    ['time that runs back', {...built, timings: {totalSeconds: -1}}],
    ['half a CPU', {...built, machine: {accelerator: 'kvm', qemuVersion: '7', cpus: 0.5, memoryMib: 1}}],
    [
      'a label that is no text',
      {...built, versions: {...built?.versions, workers: [{id: 'w', platforms: [], labels: {a: 1}}]}},
    ],
    ['nothing', null],
    ['a list', []],
  ])('%s does not', (_, value) => {
    expect(errorsOf(value)).not.toEqual([]);
  });

  test('every object of the schema is closed, or is a map', () => {
    const open: string[] = [];
    const walk = (node: Schema, path: string): void => {
      if (node.type === 'object' && node.additionalProperties !== false) open.push(path);
      for (const part of ['properties', '$defs'] as const) {
        for (const [key, child] of Object.entries(node[part] ?? {})) walk(child, `${path}/${key}`);
      }
      if (node.items) walk(node.items, `${path}/items`);
    };
    walk(schema, '');
    expect(open).toEqual(['/metadata', '/worker/labels']);
  });
});

function collectSchema(node: Schema, path: string, found: Map<string, Set<string>>): void {
  if (node.$ref !== undefined) {
    const target = schema.$defs?.[node.$ref.replace('#/$defs/', '')];
    if (!target) throw new Error(`no such definition: ${node.$ref}`);
    collectSchema(target, path, found);
  }
  for (const one of node.oneOf ?? []) collectSchema(one, path, found);
  if (node.items) collectSchema(node.items, path, found);
  for (const [key, child] of Object.entries(node.properties ?? {})) {
    found.set(path, (found.get(path) ?? new Set()).add(key));
    collectSchema(child, `${path}/${key}`, found);
  }
}

function collectValue(value: unknown, path: string, found: Map<string, Set<string>>): void {
  if (Array.isArray(value)) for (const item of value) collectValue(item, path, found);
  else if (typeof value === 'object' && value !== null) {
    for (const [key, child] of Object.entries(value)) {
      found.set(path, (found.get(path) ?? new Set()).add(key));
      collectValue(child, `${path}/${key}`, found);
    }
  }
}

/** `value` without one key, for each key at any depth. */
function removals(value: unknown, path = ''): [path: string, without: unknown][] {
  if (Array.isArray(value)) {
    return value.flatMap((item, index) =>
      removals(item, path).map(([at, changed]): [string, unknown] => [at, value.with(index, changed)]),
    );
  }
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, child]): [string, unknown][] => {
    const {[key]: _, ...without} = value as Record<string, unknown>;
    const deeper = removals(child, `${path}/${key}`).map(([at, changed]): [string, unknown] => [
      at,
      {...value, [key]: changed},
    ]);
    return [[`${path}/${key}`, without], ...deeper];
  });
}
