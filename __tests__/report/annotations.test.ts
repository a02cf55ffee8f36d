import {describe, expect, test} from '@jest/globals';
import type {BuildWarning} from '../../src/base/trace.ts';
import {annotations} from '../../src/report/annotations.ts';
import {PlayedRunner} from './runner-parser.ts';
import {BUILT, CANCELED, FAILED, INFRA_FAILED, poisoned, RESULTS, TRACE} from './samples.ts';

const lint = (count: number): BuildWarning[] =>
  Array.from({length: count}, (_, index) => ({
    message: `FromAsCasing: number ${index}`,
    file: 'Dockerfile',
    line: index + 1,
  }));

describe('annotations', () => {
  test('a failing line of the Dockerfile, with the reason, the hint and the last lines of the log', () => {
    expect(annotations(FAILED)).toEqual([
      {
        level: 'error',
        title: 'RUN failed on BuildKit v0.20.2',
        file: 'images/Dockerfile',
        startLine: 5,
        endLine: 7,
        message: [
          'the build failed at [build 3/4] RUN echo line one; echo boom >&2; exit 7: process "/bin/sh -c exit 7" did not complete successfully: exit code: 7',
          'Run the command in a container of the stage before it.',
          '',
          'line one',
          'boom',
        ].join('\n'),
      },
    ]);
  });

  test('a lint warning at its line', () => {
    expect(annotations(BUILT)).toEqual([
      {
        level: 'warning',
        title: 'Dockerfile: FromAsCasing',
        file: 'Dockerfile',
        startLine: 1,
        endLine: 1,
        message:
          "FromAsCasing: 'as' and 'FROM' keywords' casing do not match\nhttps://docs.docker.com/go/dockerfile/rule/from-as-casing/",
      },
    ]);
  });

  test.each([
    ['no machine', INFRA_FAILED, 'Not built'],
    ['a cancel', CANCELED, 'Canceled'],
  ])('%s has no place in a file', (_, result, title) => {
    const [first, ...others] = annotations(result);
    expect(first).toMatchObject({level: 'error', title});
    expect(first).not.toHaveProperty('file');
    expect(others).toEqual([]);
  });

  test('the failure comes before the warnings', () => {
    const result = {...FAILED, trace: {...TRACE, steps: [], warnings: lint(3)}};
    expect(annotations(result).map(item => item.level)).toEqual(['error', 'warning', 'warning', 'warning']);
  });

  test.each([
    [10, undefined, 10, 'FromAsCasing: number 9'],
    [11, undefined, 10, '2 more warnings stand in the summary and in the log'],
    [40, undefined, 10, '31 more warnings stand in the summary and in the log'],
    [40, 3, 3, '38 more warnings stand in the summary and in the log'],
    [40, 0, 0, undefined],
  ])('of %i warnings, with room for %p, %i are left', (count, maxWarnings, shown, last) => {
    const result = {...BUILT, trace: {...TRACE, warnings: lint(count)}};
    const found = annotations(result, maxWarnings === undefined ? {} : {maxWarnings});
    expect(found).toHaveLength(shown);
    expect(found.at(-1)?.message).toBe(last);
  });

  test('the same warning of two platforms counts once', () => {
    const warnings = [...lint(1), ...lint(1)];
    expect(annotations({...BUILT, trace: {...TRACE, warnings}})).toHaveLength(1);
  });

  test('file names are resolved, or left out', () => {
    const warnings = [...lint(1), {message: 'elsewhere', file: '/etc/passwd', line: 1}, {message: 'nowhere'}];
    const resolveFile = (file: string) => (file.startsWith('/') ? undefined : `images/${file}`);
    const found = annotations({...BUILT, trace: {...TRACE, warnings}}, {resolveFile});
    expect(found.map(item => item.file)).toEqual(['images/Dockerfile', undefined, undefined]);
  });

  test.each([
    [0, 3, {}],
    [Number.NaN, 3, {}],
    [4, 2, {startLine: 4, endLine: 4}],
    [4, Number.NaN, {startLine: 4, endLine: 4}],
  ])('lines %p to %p', (startLine, endLine, expected) => {
    const outcome = {
      kind: 'build-failed',
      failureKind: 'dockerfile',
      message: 'm',
      location: {file: 'D', startLine, endLine},
    } as const;
    const [{level, title, message, ...rest}] = annotations({...BUILT, outcome}) as [
      ReturnType<typeof annotations>[0],
    ];
    expect(rest).toEqual({file: 'D', ...expected});
  });

  test.each(RESULTS)('%s with hostile text gives short, inert messages', (_, result) => {
    const hostile = `${'::error::x\n##[add-mask]y\r\x1b[31m'.repeat(40)}\u202e`;
    for (const item of annotations(poisoned(result, hostile))) {
      expect(item.message.length).toBeLessThanOrEqual(4096);
      expect(item.title.length).toBeLessThanOrEqual(255);
      expect(item.title).not.toMatch(/[\n\r]/);
      const runner = new PlayedRunner('icu');
      runner.write(`${item.title}\n${item.message}\n${item.file ?? ''}\n`);
      expect(runner.commands).toEqual([]);
    }
  });
});
