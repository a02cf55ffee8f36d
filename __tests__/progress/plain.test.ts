import {describe, expect, test} from '@jest/globals';
import type {BuildTrace} from '../../src/base/trace.ts';
import {logTexts, outline, read, recording, stepNamed} from './helpers.ts';

const head = '#1 [1/1] RUN x\n';

describe('log text that looks like BuildKit', () => {
  const lines = [
    '#1 DONE 0.1s',
    '#2 [2/2] RUN evil',
    '#1 ERROR: no',
    '#1 ...',
    'error: failed to solve: no',
    '------',
    'ERROR: not a real error',
    '#0 building with "default"',
    '0.5 seconds',
    '{"vertexes":[]}',
    '',
    '2024-01-01T00:00:00.0000000Z x',
    '\u001b[31mred\u001b[0m',
    'Dockerfile:3',
    '--------------------',
  ];
  const log = lines.map((line, at) => `#1 0.1${at.toString().padStart(2, '0')} ${line}\n`).join('');

  test.each([
    ['done', `${head}${log}#1 DONE 0.4s\n`],
    ['done', `${head}${log.replaceAll(/^#1 /gm, '#0 ')}#1 DONE 0.4s\n`],
    ['running', `${head}${log}`],
  ])('stays log text: %s', (state, text) => {
    const trace = read('auto', text);
    expect(trace.steps).toHaveLength(1);
    expect(trace.steps[0]?.state).toBe(state);
    expect(trace.steps[0] && logTexts(trace.steps[0])).toEqual(lines);
    expect(trace.error).toBeUndefined();
    expect(trace.excerpt).toBeUndefined();
  });

  test('never fools the JSON readers, not even with what fools a plain log', () => {
    const data = Buffer.from('x#1 DONE 0.1s\n\n#1 [1/1] RUN other\nerror: failed to solve: no\n').toString(
      'base64',
    );
    const line = JSON.stringify({
      vertexes: [{digest: 'sha256:1', name: '[1/1] RUN x', started: '2026-01-01T00:00:00Z'}],
      logs: [{vertex: 'sha256:1', stream: 1, data, timestamp: '2026-01-01T00:00:00.5Z'}],
    });
    for (const form of ['trace', 'rawjson', 'auto'] as const) {
      const trace = read(form, `${line}\n`);
      expect(outline(trace)).toEqual(['running [1/1] RUN x log=4']);
    }
  });
});

describe('a log without a newline at its end (up to v0.10.6)', () => {
  test.each([
    ['the end of the step is glued to it', '#1 0.1 tail#1 DONE 0.1s\n', ['tail'], 'done'],
    ['and a blank line follows', '#1 0.1 tail#1 DONE 0.1s\n\n#2 next\n', ['tail'], 'done'],
    ['cached', '#1 0.1 tail#1 CACHED\n', ['tail'], 'cached'],
    [
      'unless the step goes on',
      '#1 0.1 tail#1 DONE 0.1s\n#1 0.2 more\n#1 DONE 0.3s\n',
      ['tail#1 DONE 0.1s', 'more'],
      'done',
    ],
    [
      'unless it is followed by the real end',
      '#1 0.1 #1 DONE 0.1s\n#1 ERROR: bad\n',
      ['#1 DONE 0.1s'],
      'failed',
    ],
    ['of another step it is text', '#1 0.1 tail#2 DONE 0.1s\n', ['tail#2 DONE 0.1s'], 'running'],
  ])('%s', (_, text, log, state) => {
    const [step] = read('plain', head + text).steps;
    expect(step?.state).toBe(state);
    expect(step && logTexts(step)).toEqual(log);
  });
});

test('v0.3.0: an unfinished line is glued to an event, and printed again', () => {
  const trace = read('plain', recording('v0.3.0/long-output/stdout.txt'));
  expect(logTexts(stepNamed(trace, '[5/8]'))).toEqual([
    '\rslow   0%\rslow  25%\rslow  50%\rslow  75%\rslow 100%',
  ]);
  expect(logTexts(stepNamed(trace, '[6/8]'))).toEqual([
    'non-ascii: 中文 日本語 äöü 🚀 ✓',
    'partial utf8: 中 end',
  ]);
  expect(logTexts(stepNamed(trace, '[8/8]'))).toEqual([
    '\u001b[31mred\u001b[0m plain\ttab',
    '',
    '',
    'after blank lines',
    'invalid: \uFFFD\uFFFD bytes',
    '#7 DONE 0.0s',
    'ERROR: not a real error',
  ]);
  expect(stepNamed(trace, '[3/8]').logs.omittedLines).toBeGreaterThan(0);
  expect(trace.steps.every(step => step.state === 'done' || step.state === 'cached')).toBe(true);
});

test.each(['v0.5.0', 'v0.10.0'])('special output of %s', version => {
  const trace = read('plain', recording(`${version}/long-output/stderr.txt`));
  expect(logTexts(stepNamed(trace, '[3/8]'))).toHaveLength(400);
  expect(logTexts(stepNamed(trace, '[6/8]')).at(-1)).toBe('partial utf8: 中 end');
  const [long, last] = logTexts(stepNamed(trace, '[7/8]'));
  expect(long).toBe(`${'x'.repeat(4096)}…`);
  expect(last).toBe('no newline at the end');
  expect(logTexts(stepNamed(trace, '[8/8]')).slice(-3)).toEqual([
    'invalid: \uFFFD\uFFFD bytes',
    '#7 DONE 0.0s',
    'ERROR: not a real error',
  ]);
});

describe('a daemon that goes away in the middle of a log line', () => {
  const error =
    'error: failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF';
  test('has its error glued to it', () => {
    const trace = read('plain', `${head}#1 0.1 one\n#1 0.2 50%${error}\n`);
    expect(outline(trace)).toEqual([
      'running [1/1] RUN x log=2',
      'error Unavailable: error reading from server: EOF',
    ]);
    expect(trace.steps[0] && logTexts(trace.steps[0])).toEqual(['one', '50%']);
  });
  test.each([
    ['a step that ends', `${head}#1 0.2 ${error}\n#1 DONE 0.3s\n`],
    ['a step that is left', `${head}#1 0.2 ${error}\n#1 ...\n`],
  ])('but the log of %s may say so, too', (_, text) => {
    expect(read('plain', text).error).toBeUndefined();
  });
});

test('the log limit of the daemon shows as a line (v0.8.0 on)', () => {
  const trace = read('plain', recording('v0.9.0/log-clipped/stderr.txt'));
  expect(logTexts(stepNamed(trace, '[3/3]')).at(-1)).toBe('[output clipped, log limit 4.8828125KiB reached]');
});

test('a digest under the header is the id (v0.8.x; v0.5.0-v0.7.2 with PROGRESS_NO_TRUNC=1)', () => {
  const trace = read('plain', recording('v0.5.0/long-name/stderr-PROGRESS_NO_TRUNC-1.txt'));
  expect(trace.steps.map(step => step.id.slice(0, 10))).toEqual([
    'sha256:d9c',
    'sha256:480',
    'sha256:152',
    'sha256:ac3',
    'sha256:b6c',
    'sha256:c9f',
  ]);
  expect(trace.steps.flatMap(step => step.statuses).map(status => status.id)).toEqual([
    'transferring dockerfile:',
    'transferring context:',
    'transferring context:',
  ]);
});

// No recording is of v0.8; this is put together from progressui/{printer,display}.go of v0.8.3.
test('v0.8.x: whole names, digests, seconds with three decimals, an excerpt, and an error block without logs', () => {
  const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;
  const name = `[build 2/2] RUN ${'long '.repeat(20)}; exit 7`;
  const error = `executor failed running [/bin/sh -c ${'long '.repeat(20)}; exit 7]: exit code: 7`;
  const text = `#2 [internal] load .dockerignore
#2 sha256:${'ab'.repeat(32)}
#2 transferring context: 2B done
#2 DONE 0.0s

#5 ${name}
#5 ${digest}
#5 0.066 boom
#5 12.34 later
#5 ...

#6 [other 1/1] RUN sleep 60
#6 sha256:${'cd'.repeat(32)}
#6 CANCELED

#5 ${name}
#5 ${digest}
#5 ERROR: ${error}
------
 > ${name}:
------
Dockerfile:3
--------------------
   1 |     FROM x AS build
   2 |     COPY a b
   3 | >>> RUN long
   4 |     FROM scratch
--------------------
error: failed to solve: rpc error: code = Unknown desc = ${error}
`;
  const trace = read('auto', text);
  expect(outline(trace)).toEqual([
    'done [internal] load .dockerignore statuses=1',
    `failed ${name} exit=7 log=2`,
    'canceled [other 1/1] RUN sleep 60',
    'excerpt Dockerfile:3',
    `error ${error}`,
  ]);
  const step = stepNamed(trace, 'long');
  expect(step).toMatchObject({id: digest, stage: 'build', position: {index: 2, total: 2}});
  expect(step.logs.head.map(line => line.atSeconds)).toEqual([0.066, 12.34]);
});

test('blocks that are left and come back', () => {
  const text = `#1 [a 1/1] RUN a
#1 0.100 one
#1 0.200 two and
#1 ...

#2 [b 1/1] RUN b
#2 0.1 x
#2 DONE 0.2s

#1 [a 1/1] RUN a
#1 0.200 two and a half
#1 1.000 three
#1 DONE 1.1s
`;
  const trace = read('plain', text);
  expect(outline(trace)).toEqual(['done [a 1/1] RUN a log=3', 'done [b 1/1] RUN b log=1']);
  expect(logTexts(stepNamed(trace, 'RUN a'))).toEqual(['one', 'two and a half', 'three']);
  expect(stepNamed(trace, 'RUN a').seconds).toBe(1.1);
});

test('the error block gives a failed step its whole name (v0.5.0-v0.7.2)', () => {
  const name = `[1/1] RUN ${'long '.repeat(20)}end`;
  const text = `#1 ${name.slice(0, 72)}...\n#1 ERROR: bad\n------\n > ${name}:\n------\nerror: failed to solve: bad\n`;
  expect(outline(read('plain', text))).toEqual([`failed ${name}`, 'error bad']);
});

test('the error block repeats log lines, which count once', () => {
  const text = `${head}#1 0.1 boom\n#1 ERROR: bad\n------\n > [1/1] RUN x:\n#1 0.1 boom\n#0 0.1 boom\n0.1 boom\n------\nerror: bad\n`;
  expect(outline(read('plain', text))).toEqual(['failed [1/1] RUN x log=1', 'error bad']);
});

describe('statuses', () => {
  test.each([
    ['transferring context: 1.23kB 0.1s done', {current: 1230, unit: 'bytes', seconds: 0.1, done: true}],
    ['transferring context: 44B', {current: 44, unit: 'bytes', done: false}],
    [
      'sha256:aa 1.05MB / 2.10MB 3.2s',
      {current: 1050000, total: 2100000, unit: 'bytes', seconds: 3.2, done: false},
    ],
    ['exporting layers done', {done: true}],
    ['writing 12 files 0.4s', {seconds: 0.4, done: false}],
  ])('%s', (line, expected) => {
    const [step] = read('plain', `${head}#1 ${line}\n`).steps;
    const [status] = step?.statuses ?? [];
    expect(status).toEqual({id: status?.id, ...expected});
    expect(line.startsWith(status?.id ?? '?')).toBe(true);
  });
});

describe('logs that others have been at', () => {
  const text = `${head}#1 0.1 one\n#1 DONE 0.2s\n\n#2 [2/2] RUN y\n#2 ERROR: bad\n------\n > [2/2] RUN y:\n------\nDockerfile:2\n--------------------\n   1 |     FROM x\n   2 | >>> RUN y\n--------------------\nerror: failed to solve: bad\n`;
  const expected = read('plain', text);

  test.each([
    ['CRLF', text.replaceAll('\n', '\r\n')],
    ['GitHub Actions', text.replaceAll(/(?<=^|\n)(?!$)/g, '2024-01-01T00:00:00.0000000Z ')],
    ['gh run view --log', text.replaceAll(/(?<=^|\n)(?!$)/g, 'job\tstep\t2024-01-01T00:00:00.0000000Z ')],
    ['colours', text.replaceAll(/^(.+)$/gm, '\u001b[36m$1\u001b[0m')],
    ['no final newline', text.slice(0, -1)],
    ['docker buildx', text.replace('error: failed to solve', 'ERROR: failed to build: failed to solve')],
    ['noise before', `Run it\nerror: noise\n------\n{\n  "a": 1\n}\n${text}`],
    ['noise behind', `${text}error: another program\n`],
    [
      'another build before',
      `#0 building with "x"\n\n#1 [internal] booting\n#1 DONE 2.0s\n\n#0 building\n\n${text}`,
    ],
  ])('%s', (_, changed) => {
    expect(read('auto', changed)).toEqual(expected);
    expect(expected.excerpt?.lines).toHaveLength(2);
  });

  test('a log whose empty lines were dropped has the same steps', () => {
    expect(outline(read('auto', text.replaceAll('\n\n', '\n')))).toEqual(outline(expected));
  });

  test('a runner that cuts lines at carriage returns', () => {
    const bar = `${head}#1 0.1 \r\n 10%\n\n 20%\n#1 0.2 next\n#1 DONE 0.3s\n`;
    expect(outline(read('auto', bar))).toEqual(['done [1/1] RUN x log=2']);
  });

  test.each(['v0.20.2/run-fail-tty/terminal.txt'])(
    'of the display of a terminal only the end is a log: %s',
    path => {
      const trace = read('auto', recording(path));
      expect(outline(trace).slice(0, 1)).toEqual([
        'failed [4/5] RUN echo line one;     echo boom >&2;     exit 7 log=2',
      ]);
      expect(trace.steps.length).toBe(1);
    },
  );
});

describe('a log whose beginning is missing', () => {
  const lines = recording('v0.20.2/trace-run-fail/stderr.txt').toString().split('\n');
  const from = (pattern: RegExp): BuildTrace =>
    read('auto', lines.slice(lines.findIndex(line => pattern.test(line))).join('\n'));
  const name = '[4/5] RUN echo line one;     echo boom >&2;     exit 7';
  const whole = read('auto', lines.join('\n'));

  test.each([
    ['in the log of the failed step', /^#7 \d+\.\d+ (?:line one|boom)/],
    ['in its error', /^#7 ERROR: /],
    ['in the block that names it', /^------$/],
  ])('%s', (_where, pattern) => {
    const {steps, error, excerpt} = from(pattern);
    expect(steps.map(step => [step.state, step.name, step.position])).toEqual([
      ['failed', name, {index: 4, total: 5}],
    ]);
    expect({error, excerpt}).toEqual({error: whole.error, excerpt: whole.excerpt});
  });

  test('of v0.3.0, among the facts of a step', () => {
    const log = recording('v0.3.0/trace-run-fail/stdout.txt').toString();
    const last = log.lastIndexOf('\n#', log.lastIndexOf(' digest: '));
    expect(outline(read('auto', log.slice(last + 1)))).toEqual(outline(read('auto', log)).slice(-1));
  });

  test('within a step that goes on: it has no name, unless its header comes again', () => {
    expect(outline(read('plain', '#7 0.1 x\n#7 DONE 0.2s\n\n#8 [2/2] RUN y\n#8 DONE 0.1s\n'))).toEqual([
      'done  log=1',
      'done [2/2] RUN y',
    ]);
    const again =
      '#7 0.1 x\n#7 ...\n\n#8 [2/2] RUN y\n#8 DONE 0.1s\n\n#7 [1/2] RUN z\n#7 0.2 w\n#7 DONE 0.2s\n';
    expect(outline(read('plain', again))).toEqual(['done [1/2] RUN z log=2', 'done [2/2] RUN y']);
  });
});
test('an error of several lines', () => {
  const error = 'executor failed running [/bin/sh -c set -e\nfalse\n]: exit code: 1';
  const text = `${head}#1 ERROR: ${error}\n------\n > [1/1] RUN x:\n------\nerror: failed to solve: rpc error: code = Unknown desc = ${error}\n`;
  const trace = read('plain', text);
  expect(trace.steps[0]).toMatchObject({state: 'failed', error, exitCode: 1});
  expect(trace.error).toBe(error);
});
