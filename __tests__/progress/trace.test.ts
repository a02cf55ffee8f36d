import {describe, expect, test} from '@jest/globals';
import {createProgressReader, mergeTrace} from '../../src/progress/reader.ts';
import {read, recording} from './helpers.ts';

describe('trace of a failing RUN', () => {
  const cases = [
    {version: 'v0.3.0', exitCode: 7},
    {version: 'v0.7.0', exitCode: undefined},
    {version: 'v0.12.4', exitCode: 7},
    {version: 'v0.20.2', exitCode: 7},
  ];
  test.each(cases)('$version', ({version, exitCode}) => {
    const trace = read('trace', recording(`${version}/trace-run-fail/trace.json`));
    const failed = trace.steps.filter(step => step.state === 'failed');
    expect(failed.map(step => step.name)).toEqual(['[4/5] RUN echo line one;     echo boom >&2;     exit 7']);
    const [step] = failed;
    expect(step?.exitCode).toBe(exitCode);
    expect(step?.position).toEqual({index: 4, total: 5});
    expect(step?.intervals).toHaveLength(1);
    expect(step?.seconds).toBeGreaterThan(0);
    const lines = step?.logs.head ?? [];
    expect(lines.find(line => line.text === 'line one')?.stream).toBe('stdout');
    expect(lines.find(line => line.text === 'boom')?.stream).toBe('stderr');
    expect(lines.every(line => (line.atSeconds ?? -1) >= 0)).toBe(true);
    expect(trace.steps.map(it => it.name)).not.toContain('[5/5] RUN echo never reached');
    expect(trace.steps.filter(it => it.position !== undefined).map(it => it.position?.index)).toEqual([
      1, 2, 3, 4,
    ]);
    expect(trace.error).toBeUndefined();
  });

  test('the error and the excerpt come from stderr', () => {
    const exact = read('trace', recording('v0.20.2/trace-run-fail/trace.json'));
    const tail = read('tail', recording('v0.20.2/trace-run-fail/stderr.txt'));
    const merged = mergeTrace(exact, tail);
    expect(merged.steps).toEqual(exact.steps);
    expect(merged.excerpt?.line).toBe(5);
    expect(merged.excerpt?.lines.filter(line => line.marked).map(line => line.number)).toEqual([5, 6, 7]);
    expect(merged.error).toBe(
      'process "/bin/sh -c echo line one;     echo boom >&2;     exit 7" did not complete successfully: exit code: 7',
    );
  });
});

test.each(['v0.13.0', 'v0.20.2'])('rawjson of %s, and the text behind it', version => {
  const trace = read('rawjson', recording(`${version}/run-fail/rawjson.txt`));
  expect(trace.steps.map(step => step.state)).toEqual([
    ...Array.from({length: trace.steps.length - 1}, () => 'done'),
    'failed',
  ]);
  expect(trace.steps.at(-1)?.exitCode).toBe(7);
  expect(trace.excerpt?.file).toBe('Dockerfile');
  expect(trace.error).toMatch(/^process .*exit code: 7$/);
});

test('parts of a log line are joined for each stream', () => {
  const reader = createProgressReader({form: 'trace'});
  const vertex = 'sha256:0';
  const log = (stream: number, data: string) =>
    `${JSON.stringify({logs: [{vertex, stream, data: Buffer.from(data, 'latin1').toString('base64'), timestamp: '2026-01-01T00:00:01Z'}]})}\n`;
  reader.write(
    `{"vertexes":[{"digest":"${vertex}","name":"[1/1] RUN x","started":"2026-01-01T00:00:00Z"}]}\n`,
  );
  reader.write(log(1, 'caf\xc3') + log(2, 'err') + log(1, '\xa9\n') + log(2, 'or'));
  expect(reader.trace().steps[0]?.logs.head).toEqual([
    {stream: 'stdout', atSeconds: 1, text: 'café'},
    {stream: 'stderr', atSeconds: 1, text: 'error'},
  ]);
});
