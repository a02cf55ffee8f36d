import {describe, expect, test} from '@jest/globals';
import {CommandGuard, InertStream, inert, oneLine, plain} from '../../src/report/inert.ts';
import {randomSource} from './random.ts';
import {type Comparison, PlayedRunner, type TakenCommand} from './runner-parser.ts';

const TOKEN = '0f1e2d3c4b5a69788796a5b4c3d2e1f0';
const COMPARISONS: readonly Comparison[] = ['ordinal', 'icu'];

function commandsIn(text: string, comparison: Comparison = 'ordinal'): readonly TakenCommand[] {
  const runner = new PlayedRunner(comparison);
  runner.write(text);
  runner.end();
  return runner.commands;
}

const HOSTILE: readonly [string, string][] = [
  ['a colon command', '::set-output name=result::success'],
  ['a command after white space', ' \t\u00a0\u3000::add-mask::e'],
  ['a command after a next-line character', '\u0085::add-mask::e'],
  ['a command without data', '::endgroup::'],
  ['a hash command', '##[add-mask]e'],
  ['a hash command in a line', '#7 0.049 hello ##[save-state name=pid]1'],
  ['many hashes', '#####[group]x'],
  ['a command after a carriage return', 'progress 10%\r::error file=a,line=1::boo'],
  ['a command after CR LF', 'x\r\n::notice::y'],
  ['a command after an escape that is dropped', '\x1b[2K\x1b[1G::warning::x'],
  ['a hash command joined by a dropped escape', '#\x1b[K#\x1b]0;t\x07[error]x'],
  ['a hash command joined by dropped controls', '#\0#\x08[error]x'],
  ['a command after a byte order mark', '\ufeff::set-env name=A::b'],
  ['a command after a line separator', 'x\u2028::debug::y'],
  ['stop-commands itself', '::stop-commands::mine\nlost\n'],
  ['upper case', '::SET-OUTPUT name=a::b\n##[Set-Output name=a]b'],
  ['many lines', 'a\n::group::b\nc\n##[endgroup]\n'],
];

describe('a runner reads as commands', () => {
  test.each(HOSTILE)('%s (so the test has teeth)', (_, text) => {
    const raw = [
      ...commandsIn(text),
      ...commandsIn(text.replace(/\x1b\[2K\x1b\[1G|\x1b\[K|\x1b\]0;t\x07|[\0\b\ufeff]/g, '')),
    ];
    const split = [...raw, ...commandsIn(text.replaceAll('\u2028', '\n'))];
    expect(split.length).toBeGreaterThan(0);
  });

  test('properties and data, unescaped', () => {
    expect(commandsIn('  ::error file=a%3Ab,line=3::x%0Ay%250A')[0]).toMatchObject({
      name: 'error',
      properties: {file: 'a:b', line: '3'},
      data: 'x\ny%0A',
    });
    expect(commandsIn('say ##[set-output name=n;k=v]d%5D')[0]).toMatchObject({
      name: 'set-output',
      properties: {name: 'n', k: 'v'},
      data: 'd]',
    });
  });

  test('nothing between stop-commands and its token', () => {
    const runner = new PlayedRunner('ordinal');
    runner.write(
      `::stop-commands::${TOKEN}\n::error::a\n##[error]b\n::${TOKEN.toUpperCase()}::\n::error::c\n`,
    );
    expect(runner.commands.map(command => command.data)).toEqual([TOKEN, 'c']);
    expect(runner.stopped).toBe(false);
  });
});

describe('inert', () => {
  test.each(HOSTILE)('%s is no command', (_, text) => {
    for (const comparison of COMPARISONS) expect(commandsIn(inert(text), comparison)).toEqual([]);
    for (const comparison of COMPARISONS) expect(commandsIn(plain(text), comparison)).toEqual([]);
    for (const comparison of COMPARISONS) expect(commandsIn(oneLine(text), comparison)).toEqual([]);
  });

  test.each([
    ['::error::x', ': :error::x'],
    ['a ##[error]x', 'a ## [error]x'],
    ['C++ a::b and a # b [c]', 'C++ a::b and a # b [c]'],
    ['a\r\nb\rc\n', 'a\nb\nc\n'],
    ['\x1b[1;31mred\x1b[0m', '\x1b[1;31mred\x1b[0m'],
    ['\x1b[38;5;8mgrey\x1b[38;2;8;8;8m\x1b[m', '\x1b[38;5;8mgrey\x1b[38;2;8;8;8m\x1b[m'],
    ['\x1b[8mhidden\x1b[0m', 'hidden\x1b[0m'],
    ['\x1b[0;08mhidden', 'hidden'],
    ['\x1b[2K\x1b[10Aup\x1b[?25l', 'up'],
    ['\x1b]8;;https://e.example\x1b\\link\x1b]8;;\x07!', 'link!'],
    ['\x1b]0;no end\nnext', ']0;no end\nnext'],
    ['\x1bc\x1b(B\x1b7ok', 'ok'],
    ['bell\x07 nul\0 back\b\x9b1m', 'bell nul back1m'],
    ['user\u202etxt.exe', 'user<U+202E>txt.exe'],
    ['tab\tstays, ünïcödé 日本語 👩‍💻 too', 'tab\tstays, ünïcödé 日本語 👩‍💻 too'],
    ['', ''],
  ])('%j becomes %j', (text, expected) => {
    expect(inert(text)).toBe(expected);
  });

  test('an endless string control is shown, not swallowed', () => {
    expect(inert(`\x1b]${'x'.repeat(3000)}`)).toBe(`]${'x'.repeat(3000)}`);
  });

  test('an open escape at the end goes, the text before it stays', () => {
    expect(inert('text\x1b')).toBe('text');
    expect(inert('text\x1b[3')).toBe('text[3');
  });

  test('plain drops colours, oneLine line ends', () => {
    expect(plain('\x1b[31m#\x1b[0m#[x]\n::y')).toBe('## [x]\n: :y');
    expect(oneLine('  a\r\n\tb\n ')).toBe('a b');
  });
});

/** What markers, and attempts to hide or to join them, are made of. */
const PIECES = [
  ...':: : # ## ##[ [ ] = , x set-output name=a group add-mask stop-commands \t'.split(' '),
  ...'::group:: ::add-mask::x ##[group] ##[endgroup \n::debug:: \r##[notice]'.split(' '),
  ...[' ', '\n', '\r', '\r\n', '\u0085', '\u2028', '\n::set-output name=a::', '##[save-state name=pid]'],
  ...['\x1b', '\x1b[', '\x1b[0m', '\x1b[1;8m', '\x1b[2K', '\x1b]0;', '\x07', '\x1b\\', '\0', '\b'],
  ...['\u200b', '\u200d', '\ufeff', '\u00ad', '\u0301', '\ufe0f', '\u202e', '\u{e0061}', '👍', 'é'],
  ...[TOKEN, TOKEN.slice(0, 20), TOKEN.slice(20), `::${TOKEN}::`, `##[${TOKEN}]`],
];

describe('under a storm of marker pieces', () => {
  const random = randomSource(20_261_105);
  const logs = Array.from({length: 4000}, () =>
    Array.from({length: 1 + random.below(24)}, () => random.pick(PIECES)).join(''),
  );

  test('the storm holds real commands', () => {
    expect(logs.filter(log => commandsIn(log).length > 0).length).toBeGreaterThan(100);
  });

  test('no line of the inert text is a command, and doing it twice changes nothing', () => {
    for (const log of logs) {
      const once = inert(log);
      for (const comparison of COMPARISONS) expect(commandsIn(once, comparison)).toEqual([]);
      expect(inert(once)).toBe(once);
      const bare = plain(log);
      for (const comparison of COMPARISONS) expect(commandsIn(bare, comparison)).toEqual([]);
      expect(plain(bare)).toBe(bare);
      expect(oneLine(oneLine(log))).toBe(oneLine(log));
    }
  });

  test('cut anywhere, the stream prints the same', () => {
    for (const log of logs) {
      const stream = new InertStream();
      let printed = '';
      for (let at = 0; at < log.length; ) {
        const length = 1 + random.below(5);
        printed += stream.write(log.slice(at, at + length));
        at += length;
      }
      expect(printed + stream.flush()).toBe(inert(log));
    }
  });

  test('the guard lets no command through and always closes', () => {
    for (const log of logs) {
      for (const comparison of COMPARISONS) {
        const runner = new PlayedRunner(comparison);
        const guard = new CommandGuard();
        runner.write(guard.begin(TOKEN));
        for (let at = 0; at < log.length; at += 7) runner.write(guard.write(log.slice(at, at + 7)));
        runner.write(guard.end());
        expect(runner.stopped).toBe(false);
        runner.write('::notice::mine\n');
        expect(runner.commands.map(command => command.name)).toEqual(['stop-commands', 'notice']);
        expect(runner.log.join('\n').toLowerCase()).not.toContain(TOKEN);
      }
    }
  });
});

describe('CommandGuard', () => {
  test('prints its lines around the text, and ends an open line first', () => {
    const guard = new CommandGuard();
    const printed = guard.begin(TOKEN) + guard.write('#1 DONE\nno line end') + guard.end();
    expect(printed).toBe(`::stop-commands::${TOKEN}\n#1 DONE\nno line end\n::${TOKEN}::\n`);
    expect(guard.begin(TOKEN) + guard.write('x\n') + guard.end()).toBe(
      `::stop-commands::${TOKEN}\nx\n::${TOKEN}::\n`,
    );
  });

  test('keeps its token out of the text, whatever its case and wherever it is cut', () => {
    const guard = new CommandGuard();
    guard.begin(TOKEN);
    const printed =
      guard.write(`a ${TOKEN.toUpperCase().slice(0, 9)}`) + guard.write(TOKEN.slice(9)) + guard.end();
    expect(printed.split('\n')[0]).toBe(
      `a ${TOKEN.toUpperCase().slice(0, 9)}${TOKEN.slice(9, -1)} ${TOKEN.slice(-1)}`,
    );
  });

  test.each(['', 'short', 'pause-logging', `${TOKEN}\n`, `${TOKEN}::x`])('refuses the token %j', token => {
    expect(() => new CommandGuard().begin(token)).toThrow(RangeError);
  });

  test('is opened once', () => {
    const guard = new CommandGuard();
    guard.begin(TOKEN);
    expect(() => guard.begin(TOKEN)).toThrow('open already');
  });
});

test('hostile repetition does not blow up: far below the hours that a quadratic scan would take', () => {
  const evil = ['#', ':', ' ', '\n', '\x1b', '\x1b]', '\u200b', '\x1b[0m', '#\u0301', ' \ufeff', '\x1b[1'];
  for (const piece of evil) {
    const started = performance.now();
    inert(piece.repeat(500_000));
    expect((performance.now() - started) / 1000).toBeLessThan(10);
  }
});
