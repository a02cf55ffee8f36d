import {describe, expect, test} from '@jest/globals';
import type {BuildTrace} from '../../src/base/trace.ts';
import {stripErrorPrefixes} from '../../src/progress/failure.ts';
import {goUnquote} from '../../src/progress/go-quote.ts';
import {parseExitCode, parseStepName} from '../../src/progress/names.ts';
import {createProgressReader, mergeTrace} from '../../src/progress/reader.ts';
import {Timeline} from '../../src/progress/timeline.ts';
import {logTexts, read} from './helpers.ts';

describe('names of steps', () => {
  test.each([
    ['[2/5] RUN x', {position: {index: 2, total: 5}}],
    ['[build  2/12] RUN x', {stage: 'build', position: {index: 2, total: 12}}],
    ['[ 2/12] RUN x', {position: {index: 2, total: 12}}],
    ['[stage-0 1/3] FROM a/b:c', {stage: 'stage-0', position: {index: 1, total: 3}}],
    ['[linux/arm64 1/3] RUN x', {platform: 'linux/arm64', position: {index: 1, total: 3}}],
    [
      '[linux/amd64->arm64 build 1/3] RUN x',
      {stage: 'build', platform: 'linux/amd64->arm64', position: {index: 1, total: 3}},
    ],
    [
      '[linux/arm/v7 build 1/3] RUN x',
      {stage: 'build', platform: 'linux/arm/v7', position: {index: 1, total: 3}},
    ],
    ['[internal] load build context', {stage: 'internal'}],
    ['[linux/amd64 internal] load metadata for x', {stage: 'internal', platform: 'linux/amd64'}],
    ['exporting to image', {}],
    ['[auth] library/x:pull token for registry-1.docker.io', {}],
    ['docker-image://docker.io/docker/dockerfile:1', {}],
  ])('%s', (name, parts) => {
    expect(parseStepName(name)).toEqual(parts);
  });
});

describe('exit codes', () => {
  test.each([
    ['executor failed running [/bin/sh -c exit 7]: exit code: 7', 7],
    ['executor failed running [/bin/sh -c x]: runc did not terminate sucessfully', undefined],
    ['process "/bin/sh -c echo : exit code: 3" did not complete successfully: exit code: 137', 137],
    ['process "/bin/sh -c x" did not complete successfully: exit code: 137: context canceled', 137],
    ['process "/bin/sh -c x" did not complete successfully: cannot allocate memory', undefined],
    ['failed to fetch: exit code: 5', undefined],
  ])('%s', (error, code) => {
    expect(parseExitCode(error)).toBe(code);
  });
});

describe('final errors without what tells the release', () => {
  test.each([
    ['failed to solve: rpc error: code = Unknown desc = x', 'x'],
    [
      'failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: failed to build LLB: x',
      'x',
    ],
    [
      'failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: failed to solve with frontend gateway.v0: x',
      'x',
    ],
    ['failed to solve: rpc error: code = Unknown desc = failed to create LLB definition: x', 'x'],
    ['failed to solve: Canceled: context canceled', 'context canceled'],
    ['failed to solve: rpc error: code = Canceled desc = context canceled', 'context canceled'],
    ['failed to receive status: rpc error: code = Unavailable desc = EOF', 'Unavailable: EOF'],
    ['failed to solve: Unavailable: EOF', 'Unavailable: EOF'],
    ['listing workers for Build: failed to list workers: Unavailable: x', 'Unavailable: x'],
    [
      'failed to solve: failed to compute cache key: "/x": not found',
      'failed to compute cache key: "/x": not found',
    ],
    ['could not find nodir: stat nodir', 'could not find nodir: stat nodir'],
    // v0.31.0 and v0.31.1, on a slow machine.
    [
      'failed to solve: process "x" did not complete\ncontext deadline exceeded',
      'process "x" did not complete',
    ],
    ['context deadline exceeded', 'context deadline exceeded'],
    [
      'failed to solve: failed to run Build function: dockerfile parse error on line 1: x',
      'dockerfile parse error on line 1: x',
    ],
  ])('%s', (error, expected) => {
    expect(stripErrorPrefixes(error)).toBe(expected);
  });
});

test.each([
  ['"a\\"b\\\\c\\t\\n"', 'a"b\\c\t\n'],
  ['"\\u4e2d\\U0001f680\\x41\\xff"', '中🚀A\uFFFD'],
  ['"%!d(MISSING)"', '%!d(MISSING)'],
  ['no literal', undefined],
  ['"', undefined],
])('Go literal %s', (literal, text) => {
  expect(goUnquote(literal)).toBe(text);
});

test('timestamps of both kinds are on one line of time', () => {
  const timeline = new Timeline();
  const first = timeline.parse('2026-11-22T00:18:11.431638474Z') ?? 0;
  const second = timeline.parse('2026-11-22 00:18:11.44 +0000 UTC') ?? 0;
  timeline.noteStart(first);
  expect(timeline.sinceFirst(second)).toBe(0.008362);
  expect(timeline.sinceFirst(timeline.parse('2026-11-22T01:18:11.431638474+01:00') ?? -1)).toBe(0);
  for (const none of ['0001-01-01T00:00:00Z', 'x', '', null, 5, '2026-99-99T00:00:00Z']) {
    expect(timeline.parse(none)).toBeUndefined();
  }
});

describe('vertexes', () => {
  const at = (seconds: number) => `2026-01-01T00:00:0${seconds}Z`;
  const build = (...vertexes: object[]): BuildTrace =>
    read(
      'trace',
      vertexes
        .map(vertex => `${JSON.stringify({vertexes: [{digest: 'd', name: 'n', ...vertex}]})}\n`)
        .join(''),
    );

  test.each([
    ['one that never starts is not shown', [{}], undefined],
    ['running', [{started: at(1)}], {state: 'running'}],
    ['done', [{started: at(1), completed: at(3)}], {state: 'done', seconds: 2}],
    [
      'cached',
      [{started: at(1), completed: at(1), cached: true}],
      {state: 'cached', cached: true, seconds: 0},
    ],
    ['failed', [{started: at(1), completed: at(2), error: 'x'}], {state: 'failed', error: 'x'}],
    ['canceled', [{started: at(1), completed: at(2), error: 'x: context canceled'}], {state: 'canceled'}],
    [
      'announced again without a start',
      [{started: at(1), completed: at(2)}, {}],
      {state: 'done', seconds: 1},
    ],
    [
      'twice',
      [
        {started: at(1), completed: at(2)},
        {started: at(4), completed: at(6)},
      ],
      {state: 'done', seconds: 3},
    ],
    ['started again', [{started: at(1), completed: at(2)}, {started: at(4)}], {state: 'running', seconds: 1}],
    [
      'overlapping',
      [
        {started: at(1), completed: at(5)},
        {started: at(2), completed: at(6)},
      ],
      {state: 'done', seconds: 5},
    ],
  ])('%s', (_, vertexes, expected) => {
    const [step] = build(...vertexes).steps;
    if (expected === undefined) expect(step).toBeUndefined();
    else expect(step).toMatchObject(expected);
  });

  test('a group is one step, cached when all of it is', () => {
    const progressGroup = {id: 'g', name: '[1/1] COPY --link a b'};
    const trace = read(
      'trace',
      [
        {
          digest: 'a',
          name: 'x',
          progressGroup: {...progressGroup, weak: true},
          started: at(1),
          completed: at(2),
          cached: true,
        },
        {digest: 'b', name: 'y', progressGroup, started: at(3), completed: at(4)},
      ]
        .map(vertex => `${JSON.stringify({vertexes: [vertex]})}\n`)
        .join(''),
    );
    expect(trace.steps).toHaveLength(1);
    expect(trace.steps[0]).toMatchObject({
      id: 'g',
      name: progressGroup.name,
      state: 'done',
      cached: false,
      seconds: 2,
    });
  });

  test('times count from the first start, whenever that is told', () => {
    const trace = read(
      'trace',
      `{"vertexes":[{"digest":"b","name":"b","started":"${at(5)}"}]}\n{"vertexes":[{"digest":"a","name":"a","started":"${at(2)}","completed":"${at(3)}"}]}\n`,
    );
    expect(trace.steps.map(step => [step.name, step.intervals[0]?.startedSeconds])).toEqual([
      ['a', 0],
      ['b', 3],
    ]);
  });
});

test('warnings of both spellings', () => {
  const short = Buffer.from('Rule: text (line 4)').toString('base64');
  const lower = `{"vertexes":[{"digest":"d","name":"n","started":"2026-01-01T00:00:01Z"}],"warnings":[{"vertex":"d","level":1,"short":"${short}","url":"https://u.example","sourceInfo":{"filename":"Dockerfile"},"range":[{"start":{"line":4},"end":{"line":4}}]}]}`;
  const upper = `{"Vertexes":[{"Digest":"d","Name":"n","Started":"2026-01-01T00:00:01Z"}],"Warnings":[{"Vertex":"d","Level":1,"Short":"${short}","URL":"https://u.example","SourceInfo":{"filename":"Dockerfile"},"Range":[{"start":{"line":4},"end":{"line":4}}]}]}`;
  const expected = [
    {step: 'd', message: 'Rule: text (line 4)', file: 'Dockerfile', line: 4, url: 'https://u.example'},
  ];
  expect(read('trace', lower).warnings).toEqual(expected);
  expect(read('trace', upper).warnings).toEqual(expected);
});

describe('merging', () => {
  const nothing: BuildTrace = {steps: [], warnings: []};
  test('a form that says nothing changes nothing', () => {
    const plain = read(
      'plain',
      '#1 [1/1] RUN x\n#1 WARN: Rule: text (line 4)\n#1 ERROR: bad\n\nerror: bad\n',
    );
    expect(mergeTrace(nothing, plain)).toEqual(plain);
    expect(mergeTrace(plain, nothing)).toEqual(plain);
  });
  test('a warning of a step that the other form calls otherwise loses it', () => {
    const exact = read(
      'trace',
      '{"vertexes":[{"digest":"d","name":"n","started":"2026-01-01T00:00:01Z"}]}\n',
    );
    const plain = read('plain', '#1 n\n#1 WARN: text\n');
    expect(mergeTrace(exact, plain).warnings).toEqual([{message: 'text'}]);
  });
});

describe('limits', () => {
  test('head and tail of a log are kept', () => {
    const lines = Array.from({length: 1000}, (_, at) => `#1 0.1 line ${at}\n`).join('');
    const [step] = read('plain', `#1 x\n${lines}`, {headLines: 3, tailLines: 2}).steps;
    expect(step && logTexts(step)).toEqual([
      'line 0',
      'line 1',
      'line 2',
      '… 995 lines left out …',
      'line 998',
      'line 999',
    ]);
  });

  test('steps, statuses and warnings are bounded', () => {
    const blocks = Array.from(
      {length: 30},
      (_, at) => `#${at + 1} s${at}\n#${at + 1} 0.1 x\n#${at + 1} DONE 0.1s\n\n`,
    );
    const statuses = Array.from({length: 30}, (_, at) => `#1 status ${at}x done\n#1 WARN: w${at}\n`);
    const text = `#1 s0\n${statuses.join('')}#1 DONE 0.1s\n\n${blocks.slice(1).join('')}`;
    const trace = read('plain', text, {steps: 10, statusesPerStep: 7, warnings: 5});
    expect([trace.steps.length, trace.steps[0]?.statuses.length, trace.warnings.length]).toEqual([10, 7, 5]);
  });

  test('a line of 10 MB is cut in a plain log, and read in a trace', () => {
    const long = 'y'.repeat(10_000_000);
    const [plain] = read('plain', `#1 x\n#1 0.1 ${long}\n#1 DONE 0.1s\n`).steps;
    expect(plain?.state).toBe('done');
    expect(plain && logTexts(plain)).toEqual([`${'y'.repeat(4096)}…`]);
    const data = Buffer.from(long).toString('base64');
    const log = {vertex: 'd', stream: 1, data, timestamp: '2026-01-01T00:00:02Z'};
    const [exact] = read(
      'trace',
      `${JSON.stringify({vertexes: [{digest: 'd', name: 'n', started: '2026-01-01T00:00:01Z'}], logs: [log]})}\n`,
    ).steps;
    expect(exact && logTexts(exact)).toEqual([`${'y'.repeat(4096)}…`]);
  });

  test('a JSON object over the limit is passed over', () => {
    const vertex = (name: string) =>
      `{"vertexes":[{"digest":"${name}","name":"${name}","started":"2026-01-01T00:00:01Z"}]}\n`;
    const trace = read('trace', vertex('a') + vertex('b'.repeat(100_000)) + vertex('c'), {jsonBytes: 65536});
    expect(trace.steps.map(step => step.name)).toEqual(['a', 'c']);
  });

  test('a trace that was given out does not change', () => {
    const reader = createProgressReader({form: 'plain'});
    reader.write('#1 x\n#1 0.1 one\n');
    const before = reader.trace();
    const copy = structuredClone(before);
    reader.write('#1 0.2 two\n#1 DONE 0.1s\n');
    expect(before).toEqual(copy);
    expect(reader.trace().steps[0]?.state).toBe('done');
  });
});
