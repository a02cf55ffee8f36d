import {describe, expect, test} from '@jest/globals';
import type {JobResult} from '../../src/base/result.ts';
import {code, escapeMarkdown, fence, prose} from '../../src/report/markdown.ts';
import {summary} from '../../src/report/summary.ts';
import {utf8Bytes} from '../../src/report/text.ts';
import {BUILT, CANCELED, FAILED, INFRA_FAILED, manySteps, poisoned, RESULTS, step, TRACE} from './samples.ts';

const HOSTILE = [
  'a|b \\| `x` ``` ~~~~ <img src=x onerror=alert(1)> <!-- </code></details></table> & &lt;',
  '![p](http://evil.example/x.png) [l](http://evil.example) <http://evil.example> https://evil.example',
  'www.evil.example mail@evil.example @octocat octo/cat#1 #1 GH-1 **b** _i_ ~~s~~ $x^2$ :tada: [^1]',
  '```mermaid\npie\n```\n# head\n> quote\n- list\n\n    code\n***\n|a|b|\n|-|-|\n',
];
const TAGS = /<\/?(?:code|span|details|summary)>|<details open>/g;

/** What stands outside of fences: [line, line…]; fences are checked to be closed. */
function outsideFences(markdown: string): string[] {
  const outside: string[] = [];
  let closing: string | undefined;
  for (const line of markdown.split('\n')) {
    const opening = /^(`{3,})\w+$/.exec(line)?.[1];
    if (closing === undefined && opening !== undefined) closing = opening;
    else if (closing !== undefined && /^`+$/.test(line) && line.length >= closing.length) closing = undefined;
    else if (closing === undefined) outside.push(line);
  }
  expect(closing).toBeUndefined();
  return outside;
}

describe('summary', () => {
  test('of a build', () => {
    const text = summary(BUILT);
    expect(text).toMatch(
      /^## ✅ Built\n\non BuildKit <code>v0.20.2<\/code> · runc <code>1.1.5\+ds1<\/code> · Linux <code>6.1.0-29-amd64<\/code>\n/,
    );
    expect(text).toContain(
      '| runc | <code>1.1.5+ds1</code> | 1.1.5+ds1-1+deb12u1, spec 1.0.2-dev, Go 1.19.8, libseccomp 2.5.4 |',
    );
    expect(text).toContain('| Boot | 41.3 s | ████████████████████████ |');
    expect(text).toContain('| 2 | <code>&#91;build 2/9&#93; RUN make part-2</code> | cached | 0 s |');
    expect(text).toContain('| **Total** | **56.1 s** |  |');
    expect(text).toContain('```mermaid\ngantt\n');
    expect(text).toContain('| <code>local</code> | <code>out</code> | 120.6 KiB |');
    expect(text).toContain('<details><summary>1 warning</summary>');
  });

  test('of a failing RUN: where, why, its source and its last lines, before all tables', () => {
    const text = summary(FAILED);
    expect(text).toMatch(/^## ❌ Build failed at step 3: <code>.*exit 7<\/code>\n/);
    expect(text).toContain('exit code&#58; 7</code> (run-failed)\n');
    expect(text).toContain('**What to do:** Run the command in a container of the stage before it.\n');
    expect(text).toContain('   5 | >>> RUN echo line one; \\\n   6 | >>>     echo boom >&2; \\\n');
    expect(text.indexOf('```text\nline one\nboom\n```')).toBeLessThan(text.indexOf('### Versions'));
    expect(text).toContain('❌ failed (exit code 7)');
  });

  test.each<[string, JobResult, 'success' | 'failure' | 'any', RegExp]>([
    ['a failure that was expected', FAILED, 'failure', /^## ✅ Build failed at step 3: .*, as expected\n/],
    ['a failure that is allowed', FAILED, 'any', /^## ✅ Build failed at .*, as allowed\n/],
    ['a success that was not expected', BUILT, 'failure', /^## ❌ Built\n[\s\S]*asks for one that fails\./],
    [
      'no machine',
      INFRA_FAILED,
      'failure',
      /^## ❌ Not built: failed while booting the machine\n[\s\S]*`expect: failure` is not met\./,
    ],
    ['a cancel', CANCELED, 'success', /^## 🚫 Canceled while building\n/],
  ])('of %s', (_, result, expectation, pattern) => {
    expect(summary(result, {expect: expectation})).toMatch(pattern);
  });

  test('no picture without a clock', () => {
    const steps = [step(1, {intervals: []})];
    expect(summary({...BUILT, trace: {...TRACE, steps}})).not.toContain('mermaid');
  });

  test('a long build is folded, its longest steps are not', () => {
    const text = summary(manySteps(200));
    expect(text).toContain('The longest of 200 steps, 67 cached:');
    expect(text).toContain('<details><summary>All steps</summary>');
    expect(text).toContain('50 short steps are left out.');
    expect(text.split('\n').filter(line => /^ {2}\d+ .* :/.test(line))).toHaveLength(40);
  });

  test('the end of a long log is shown, the number of lines left out too', () => {
    const lines = (count: number) =>
      Array.from({length: count}, (_, index) => ({stream: 'stdout' as const, text: `l${index}`}));
    const logs = {head: lines(10), tail: lines(30), omittedLines: 999};
    const steps = [step(1, {...FAILED.trace?.steps[2], logs})];
    const text = summary({...FAILED, trace: {...TRACE, steps}});
    expect(text).toContain("The step's last 40 lines:");
    expect(text).toContain('… 999 lines left out …\nl0\n');
  });

  test.each(RESULTS)('%s with hostile text shows it and does nothing', (_, result) => {
    for (const hostile of [...HOSTILE, HOSTILE.join('\n'), '`'.repeat(500), '\\'.repeat(7), '|'.repeat(9)]) {
      const outside = outsideFences(summary(poisoned(result, hostile)));
      const columns = (line: string): number => line.split('|').length;
      for (const [index, line] of outside.entries()) {
        const bare = line.replace(TAGS, '');
        expect(bare).not.toMatch(/<|https?:|www\.|[a-z]@|!\[|:tada/);
        if (line.startsWith('|') && outside[index - 1]?.startsWith('|')) {
          expect(columns(line)).toBe(columns(outside[index - 1] ?? ''));
        }
      }
      const all = outside.join('\n');
      for (const tag of ['code', 'details', 'span']) {
        expect(all.split(`</${tag}>`).length).toBe(all.split(new RegExp(`<${tag}(?: open)?>`)).length);
      }
      expect(
        outside.filter(line =>
          /^\s*(?:>|[-*] [^<]|#{1,6} (?!#|✅|❌|🚫|Versions|Timings|Steps|Timeline|Outputs))/.test(line),
        ),
      ).toEqual([]);
    }
  });

  test('never above its limit, in bytes, and whole sections go', () => {
    const wide = poisoned(manySteps(300), '日本語のとても長い名前 '.repeat(40));
    for (const maxBytes of [1_000_000, 60_000, 20_000, 9000]) {
      const text = summary(wide, {maxBytes});
      expect(utf8Bytes(text)).toBeLessThanOrEqual(maxBytes);
      outsideFences(text);
    }
    expect(summary(wide, {maxBytes: 9000})).toContain(
      'Some sections are left out: the summary would be too long.',
    );
    expect(summary(wide, {maxBytes: 1_000_000})).not.toContain('left out: the summary');
    expect(utf8Bytes(summary(poisoned(manySteps(5000), '@'.repeat(5000))))).toBeLessThanOrEqual(512 * 1024);
  });
});

describe('Markdown', () => {
  test.each([
    ['v0.20.2-3-gabc1234, x86&64', 'v0.20.2-3-gabc1234, x86&#38;64'],
    ['a|b', 'a&#124;b'],
    ['a@b', 'a<span>&#64;</span>b'],
    ['WWW.x', 'WWW&#46;x'],
    ['two\nlines\t', 'two lines'],
  ])('%j as text', (text, expected) => {
    expect(escapeMarkdown(text)).toBe(expected);
  });

  test('code, prose, nothing', () => {
    expect(code('x', 5)).toBe('<code>x</code>');
    expect(code('abcdefgh', 5)).toBe('<code>abcd…</code>');
    expect(code(' \n')).toBe('');
    expect(prose('spec 1.0')).toBe('spec 1.0');
    expect(prose('see deadbeef1')).toBe('<code>see deadbeef1</code>');
    expect(prose('by @octocat')).toBe('<code>by <span>&#64;</span>octocat</code>');
  });

  test('a fence is longer than any run in it, and its lines stay lines', () => {
    expect(fence(['a', '````', 'b\r```\u2028c', '\x1b[31mred'])).toBe(
      '`````text\na\n````\nb ``` c\nred\n`````\n',
    );
    expect(fence([])).toBe('```text\n\n```\n');
  });
});
