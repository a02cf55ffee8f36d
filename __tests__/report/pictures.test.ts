import {describe, expect, test} from '@jest/globals';
import type {Step} from '../../src/base/trace.ts';
import {gantt} from '../../src/report/gantt.ts';
import {timelineSvg} from '../../src/report/svg.ts';
import {tickSeconds, timelineOf} from '../../src/report/timeline.ts';
import {randomSource} from './random.ts';
import {manySteps, step, TRACE} from './samples.ts';

const trace = (...steps: Step[]) => ({steps, warnings: []});

describe('timelineOf', () => {
  test('bars by group, from first start to last end; open ones to the end', () => {
    const timeline = timelineOf(
      trace(
        step(1, {
          stage: 'a',
          intervals: [
            {startedSeconds: 2, completedSeconds: 3},
            {startedSeconds: 0, completedSeconds: 1},
          ],
        }),
        step(2, {stage: 'b', platform: 'linux/arm64', state: 'running', intervals: [{startedSeconds: 1}]}),
        step(3, {stage: 'a', intervals: []}),
        step(4, {stage: 'a', cached: true, intervals: [{startedSeconds: 5, completedSeconds: 9}]}),
      ),
      10,
    );
    expect(timeline).toMatchObject({
      totalSeconds: 9,
      leftOut: 0,
      bars: [
        {number: 1, group: 'a', startSeconds: 0, endSeconds: 3},
        {number: 4, group: 'a', state: 'cached', startSeconds: 5, endSeconds: 9},
        {number: 2, group: 'b linux/arm64', state: 'running', startSeconds: 1, endSeconds: 9},
      ],
    });
  });

  test('with too many, the failed one and the longest stay', () => {
    const steps = manySteps(30).trace?.steps ?? [];
    const failed = step(31, {state: 'failed', intervals: [{startedSeconds: 0, completedSeconds: 0}]});
    const timeline = timelineOf(trace(...steps, failed), 5);
    expect(timeline?.leftOut).toBe(26);
    expect(timeline?.bars.map(bar => bar.number)).toContain(31);
  });

  test('undefined without clocks, also without a trace', () => {
    expect(timelineOf(undefined, 5)).toBeUndefined();
    expect(timelineOf(trace(step(1, {intervals: []})), 5)).toBeUndefined();
    expect(gantt(trace())).toBeUndefined();
    expect(timelineSvg(trace(), 't')).toBeUndefined();
  });

  test.each([
    [0, 0.01],
    [0.05, 0.01],
    [3, 0.5],
    [10, 1],
    [47, 5],
    [600, 60],
    [601, 300],
    [1e9, 86_400],
  ])('%p seconds get a tick every %p', (total, every) => {
    expect(tickSeconds(total, 10)).toBe(every);
  });
});

describe('gantt', () => {
  test('of a small build', () => {
    expect(gantt(TRACE)).toBe(
      [
        'gantt',
        '  dateFormat x',
        '  axisFormat %s.%L s',
        '  tickInterval 500millisecond',
        '  todayMarker off',
        '  section internal',
        '  1 [internal] load build definition from Dockerfile :s1, 0, 1000ms',
        '  section build',
        '  2 [build 2/9] RUN make part-2 :done, s2, 1000, 1ms',
        '  3 [build 3/9] RUN make part-3 :s3, 2000, 1000ms',
        '  section build linux/arm64',
        '  4 [linux/arm64 build 4/4] COPY . /src :s4, 3000, 1000ms',
        '',
      ].join('\n'),
    );
  });

  test.each([
    [5, '%s.%L s', '500millisecond'],
    [60, '%s s', '10second'],
    [900, '%s s', '5minute'],
    [9000, '%s s', '15minute'],
    [30_000, '%s s', '1hour'],
    [500_000, '%s s', '12hour'],
  ])('the axis of %i seconds', (completedSeconds, format, interval) => {
    const text = gantt(trace(step(1, {intervals: [{startedSeconds: 0, completedSeconds}]})));
    expect(text).toContain(`  axisFormat ${format}\n  tickInterval ${interval}\n`);
  });

  // Held against mermaid 11.17's own parser by hand, 400 charts of such names: all were drawn, no task was missing.
  test('whatever names hold, each line stays what it is', () => {
    const random = randomSource(11);
    const parts = [
      ':',
      ';',
      '#',
      '%%',
      '%%{init: {}}%%',
      'section',
      'end',
      'title',
      'click',
      '<b>',
      '"',
      '`',
      '\n',
      '---',
      '$',
      '日本',
      '👍',
      ',',
      '\u2028',
      '\\',
      '{',
      '}',
    ];
    for (let round = 0; round < 500; round++) {
      const text = () =>
        Array.from({length: random.below(6)}, () => random.pick(parts)).join(random.pick(['', ' ']));
      const lines = (
        gantt(trace(step(1, {name: text(), stage: text()}), step(2, {name: text(), stage: text()}))) ?? ''
      )
        .trimEnd()
        .split('\n');
      const body = lines.slice(5);
      for (const line of body)
        expect(line).toMatch(
          /^ {2}(?:section [^:;#%<>{}"`$\\\p{C}\p{Zl}]+|\d+ [^:;#%<>{}"`$\\\p{C}\p{Zl}]* :s\d, \d+, [1-9]\d*ms)$/u,
        );
      expect(body.filter(line => / :s\d/.test(line))).toHaveLength(2);
    }
  });
});

describe('timelineSvg', () => {
  test('is well formed, escaped, and shows each bar', () => {
    const name = '<script>alert("1")</script> & \0\ud800 \u202e x';
    const svg = timelineSvg(trace(step(1, {name}), step(2, {state: 'failed'})), 'a <b> & c') ?? '';
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    expect(svg).not.toMatch(/<script|<b>|[\0-\x08\u202e]/);
    expect(() => encodeURIComponent(svg)).not.toThrow();
    expect(svg.match(/<rect /g)).toHaveLength(2);
    expect(svg).toContain('class="failed"');
    const open: string[] = [];
    for (const [, slash, tag, end] of svg.matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/g)) {
      if (slash === '/') expect(open.pop()).toBe(tag);
      else if (end === '') open.push(tag ?? '');
    }
    expect(open).toEqual([]);
  });

  test('a build of no length and a long one both fit the picture', () => {
    const zero =
      timelineSvg(trace(step(1, {intervals: [{startedSeconds: 0, completedSeconds: 0}]})), 't') ?? '';
    expect(zero).not.toMatch(/NaN|Infinity/);
    const long = timelineSvg(manySteps(300).trace, 't') ?? '';
    expect(long.match(/<rect /g)).toHaveLength(80);
    expect(long).toContain('220 short steps are left out');
    for (const [, x, width] of long.matchAll(/<rect class="\w+" x="([\d.]+)" y="\d+" width="([\d.]+)"/g)) {
      expect(Number(x) + Number(width)).toBeLessThanOrEqual(960);
    }
  });
});
