import {describe, expect, test} from '@jest/globals';
import type {Expectation, JobResult} from '../../src/base/result.ts';
import {printResult, verdict} from '../../src/report/result.ts';
import {utf8Bytes} from '../../src/report/text.ts';
import {BUILT, CANCELED, FAILED, INFRA_FAILED, manySteps, step, TRACE} from './samples.ts';

const failedBy = (failureKind: 'canceled' | 'infra' | 'daemon'): JobResult => ({
  ...BUILT,
  outcome: {kind: 'build-failed', failureKind, message: 'gone'},
});

describe('verdict', () => {
  test.each<[string, JobResult, Expectation, boolean, RegExp]>([
    ['built', BUILT, 'success', true, /^built in 12\.3 s$/],
    ['built', BUILT, 'any', true, /^built/],
    ['built', BUILT, 'failure', false, /`expect: failure` asks for a build that fails$/],
    [
      'failed',
      FAILED,
      'success',
      false,
      /^the build failed at \[build 3\/4\] RUN .*: process .* exit code: 7$/,
    ],
    ['failed', FAILED, 'failure', true, /\(as expected\)$/],
    ['failed', FAILED, 'any', true, /\(allowed by `expect: any`\)$/],
    ['daemon gone', failedBy('daemon'), 'failure', true, /^the build failed: gone/],
    ['no machine', INFRA_FAILED, 'success', false, /^failed while booting the machine: no SSH banner/],
    ['no machine', INFRA_FAILED, 'failure', false, /^failed while booting/],
    ['no machine', INFRA_FAILED, 'any', false, /^failed while booting/],
    ['canceled', CANCELED, 'failure', false, /^canceled while building: SIGINT$/],
    ['canceled', CANCELED, 'any', false, /^canceled/],
    ['build canceled', failedBy('canceled'), 'failure', false, /gone/],
    ['build without an answer', failedBy('infra'), 'any', false, /gone/],
  ])('%s, expect %#', (_, result, expectation, ok, message) => {
    const found = verdict(result, expectation);
    expect(found.ok).toBe(ok);
    expect(found.message).toMatch(message);
    expect(found.message).not.toContain('\n');
  });

  test('a hostile message is one inert line', () => {
    const outcome = {
      kind: 'build-failed',
      failureKind: 'daemon',
      message: 'x\n::set-output name=a::b\r##[error]c',
    } as const;
    expect(verdict({...BUILT, outcome}, 'success').message).toBe(
      'the build failed: x : :set-output name=a::b ## [error]c',
    );
  });
});

describe('printResult', () => {
  test('gives back what went in', () => {
    for (const result of [BUILT, FAILED, INFRA_FAILED, CANCELED]) {
      expect(JSON.parse(printResult(result))).toEqual(JSON.parse(JSON.stringify(result)));
    }
  });

  test('does not depend on the order in which keys were set', () => {
    const turned = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(turned);
      if (typeof value !== 'object' || value === null) return value;
      return Object.fromEntries(
        Object.entries(value)
          .reverse()
          .map(([key, item]) => [key, turned(item)]),
      );
    };
    expect(printResult(turned(FAILED) as JobResult)).toBe(printResult(FAILED));
    expect(printResult(FAILED)).toMatch(/^\{\n {2}"schema": 1,\n {2}"outcome": \{/);
    expect(printResult(FAILED).endsWith('}\n')).toBe(true);
  });

  test('keeps odd keys of the metadata, drops numbers that measure nothing', () => {
    const metadata = JSON.parse('{"__proto__": {"a": 1}, "constructor": 2}') as Record<string, unknown>;
    const timings = {bootSeconds: Number.NaN, totalSeconds: 1};
    const printed = JSON.parse(printResult({...BUILT, metadata, timings})) as JobResult;
    expect(JSON.stringify(printed.metadata)).toBe('{"__proto__":{"a":1},"constructor":2}');
    expect(printed.timings).toEqual({totalSeconds: 1});
    const statuses = [{id: 'sha256:x', seconds: -944.9, done: true}];
    const trace = {...TRACE, steps: [step(1, {statuses})]};
    const again = JSON.parse(printResult({...BUILT, trace})) as JobResult;
    expect(again.trace?.steps[0]?.statuses).toEqual([{id: 'sha256:x', done: true}]);
  });

  test('a long log gives way to the failing step, then all else to the limit', () => {
    const tail = Array.from({length: 400}, (_, index) => ({
      stream: 'stdout' as const,
      text: `line ${index} ${'é'.repeat(80)}`,
    }));
    const logs = {head: [], tail, omittedLines: 5};
    const steps = [step(1, {logs}), step(2, {logs, state: 'failed'})];
    const long = {...FAILED, trace: {...TRACE, steps}};
    const first = JSON.parse(printResult(long, {maxBytes: 130_000})) as JobResult;
    expect(first.trace?.steps[0]?.logs).toEqual({head: [], tail: [], omittedLines: 405});
    expect(first.trace?.steps[1]?.logs).toEqual(logs);
    for (const maxBytes of [130_000, 30_000, 10_000, 3000]) {
      expect(utf8Bytes(printResult(long, {maxBytes}))).toBeLessThanOrEqual(maxBytes);
    }
    const second = JSON.parse(printResult(long, {maxBytes: 20_000})) as JobResult;
    expect(second.trace?.steps[1]?.logs.omittedLines).toBe(385);
    expect(second.trace?.steps[1]?.logs.tail.at(-1)).toEqual(tail.at(-1));
  });

  test('4 MiB at most when nothing else is said', () => {
    expect(utf8Bytes(printResult(manySteps(20_000)))).toBeLessThanOrEqual(4 * 1024 * 1024);
    const message = 'ü'.repeat(5_000_000);
    const loud = {...INFRA_FAILED, outcome: {kind: 'canceled', stage: 'vm', message} as const};
    expect(utf8Bytes(printResult(loud))).toBeLessThan(10_000);
  });
});
