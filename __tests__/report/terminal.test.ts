import {describe, expect, test} from '@jest/globals';
import {terminalReport} from '../../src/report/terminal.ts';
import {counted, formatBytes, formatSeconds, truncate} from '../../src/report/text.ts';
import {displayWidth, toColumns} from '../../src/report/width.ts';
import {PlayedRunner} from './runner-parser.ts';
import {BUILT, CANCELED, FAILED, INFRA_FAILED, manySteps, poisoned, RESULTS} from './samples.ts';

describe('terminalReport', () => {
  test('of a failing build', () => {
    const text = terminalReport(FAILED, {width: 80});
    expect(text).toContain(
      '✓ 2 [build 2/9] RUN make part-2                                           cached\n',
    );
    expect(text).toContain(
      '✗ 3 [build 3/4] RUN echo line one; echo boom >&2; exit 7                   1.0 s\n',
    );
    expect(text).toContain('Dockerfile:5\n   4 │ RUN echo about to fail\n   5 │ RUN echo line one; \\\n');
    expect(text).toContain('Last lines of the step\n  │ line one\n  │ boom\n');
    expect(text).toMatch(
      /\n✗ The build failed at \[build 3\/4\] .* exit code: 7\n {2}what to do: Run the command/,
    );
  });

  test('of a build: versions, timings, outputs, verdict last', () => {
    const text = terminalReport(BUILT);
    expect(text).toContain(
      'runc      1.1.5+ds1 (1.1.5+ds1-1+deb12u1, spec 1.0.2-dev, Go 1.19.8, libseccomp 2.5.4)\n',
    );
    expect(text).toContain('Boot            41.3 s ━━');
    expect(text).toContain('local → out (120.6 KiB)\n');
    expect(text.endsWith("! 1 warning from the Dockerfile's lint\n✓ Built in 12.3 s\n")).toBe(true);
  });

  test.each([
    [FAILED, 'failure', '✓ The build failed at'],
    [BUILT, 'failure', '✗ Built in 12.3 s, but `expect: failure`'],
    [CANCELED, 'success', '– Canceled while building: SIGINT'],
    [INFRA_FAILED, 'any', '✗ Failed while booting the machine: no SSH banner'],
  ] as const)('the verdict is held against what was expected', (result, expectation, start) => {
    expect(terminalReport(result, {expect: expectation})).toContain(`\n${start}`);
  });

  test('colours only when asked for', () => {
    for (const [, result] of RESULTS) {
      expect(terminalReport(result)).not.toContain('\x1b');
      expect(terminalReport(result, {colours: true}).replace(/\x1b\[\d+m/g, '')).toBe(terminalReport(result));
    }
    expect(terminalReport(FAILED, {colours: true})).toContain('\x1b[31m✗ 3 \x1b[0m');
  });

  test('steps, versions, logs and timings keep to the width', () => {
    for (const width of [40, 63, 120]) {
      const report = terminalReport(poisoned(manySteps(30), `日本語 ${'long '.repeat(60)}`), {width});
      const lines = report
        .split('\n')
        .filter(line => !/^[!✓✗] (?!.\d|\d)/.test(line) && !line.startsWith('digest'));
      for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(width);
    }
  });

  test('too many steps are cut, and said to be', () => {
    const text = terminalReport(manySteps(100), {maxSteps: 10});
    expect(text.match(/^✓ +\d/gm)).toHaveLength(10);
    expect(text).toContain('90 short steps left out');
  });

  test.each(RESULTS)('%s with hostile text: no escape gets through, no line is a command', (_, result) => {
    const hostile = 'x\x1b[2J\x1b]0;owned\x07\r::error::y\n##[add-mask]z\x1b[8m\u202e';
    const text = terminalReport(poisoned(result, hostile));
    expect(text).not.toMatch(/[\0-\x08\x0b-\x1f\x7f-\x9f\u202e]/);
    const runner = new PlayedRunner('icu');
    runner.write(text);
    expect(runner.commands).toEqual([]);
  });
});

describe('text', () => {
  test.each([
    [undefined, ''],
    [0, '0 s'],
    [0.0421, '42 ms'],
    [0.0996, '0.1 s'],
    [12.345, '12.3 s'],
    [99.94, '99.9 s'],
    [99.96, '1 min 40 s'],
    [119.6, '2 min 00 s'],
    [3599.6, '1 h 00 min'],
    [7500, '2 h 05 min'],
  ])('%p seconds are %p', (seconds, expected) => {
    expect(formatSeconds(seconds)).toBe(expected);
  });

  test.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [1_048_575, '1.0 MiB'],
    [5e12, '4.5 TiB'],
  ])('%p bytes are %p', (sizeBytes, expected) => {
    expect(formatBytes(sizeBytes)).toBe(expected);
  });

  test('counts and cuts', () => {
    expect([counted(1, 'step'), counted(0, 'step')]).toEqual(['1 step', '0 steps']);
    expect(truncate('ab👍cd', 4)).toBe('ab…');
    expect(truncate('abcd', 4)).toBe('abcd');
  });

  test.each([
    ['abc', 3],
    ['日本', 4],
    ['e\u0301', 1],
    ['👍', 2],
    ['', 0],
  ])('%j takes %i columns', (text, columns) => {
    expect(displayWidth(text)).toBe(columns);
  });

  test('text is filled or cut to columns', () => {
    expect(toColumns('ab', 4)).toBe('ab  ');
    expect(toColumns('日本語', 4)).toBe('日… ');
    expect(toColumns('abcdef', 4)).toBe('abc…');
  });
});
