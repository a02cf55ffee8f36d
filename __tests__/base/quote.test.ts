import {spawnSync} from 'node:child_process';
import {describe, expect, test} from '@jest/globals';
import {quoteArgv, quoteWord} from '../../src/base/quote.ts';

const WORDS = [
  '',
  'plain',
  'two words',
  "it's",
  "'",
  "''",
  '"double"',
  '$HOME `id` $(id)',
  'back\\slash',
  'new\nline',
  '\ttab\r',
  '-n',
  '--',
  '*?[a]',
  '~root',
  '#no comment',
  'a=b',
  '!history!',
  'ünïcödé 漢字 🐧',
  '\u001b[31m',
  '&;|<>(){}',
];

describe('a real shell gives the words back', () => {
  test.each(WORDS)('%j', word => {
    const {stdout} = spawnSync('sh', ['-c', `printf '%s\\0' ${quoteWord(word)}`], {encoding: 'utf8'});
    expect(stdout).toBe(`${word}\0`);
  });

  test('all at once, with an environment', () => {
    const line = quoteArgv(['sh', '-c', 'printf "%s\\0" "$X" "$@"', 'sh', ...WORDS], {X: "it's $x"});
    const {stdout} = spawnSync('sh', ['-c', line], {encoding: 'utf8'});
    expect(stdout.split('\0').slice(0, -1)).toEqual(["it's $x", ...WORDS]);
  });
});

test('what cannot be quoted is refused', () => {
  expect(() => quoteWord('a\0b')).toThrow(/NUL/);
  expect(() => quoteArgv([])).toThrow(/at least one word/);
  expect(() => quoteArgv(['true'], {'A B': 'x'})).toThrow(/not a name/);
});
