import {readFileSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';
import {version} from '../../src/base/version.ts';
import {type ContextFilter, contextFilter, decodePath, readIgnoreFile} from '../../src/build/dockerignore.ts';

type Side = {readonly left_out?: readonly number[]; readonly error?: string};
interface Oracle {
  readonly tree: readonly string[];
  readonly cases: readonly {
    readonly patterns: readonly string[];
    readonly fileutils: Side;
    readonly patternmatcher: Side | 'same';
  }[];
}

const oracle = JSON.parse(
  readFileSync(new URL('../fixtures/context/patternmatcher.json', import.meta.url), 'utf8'),
) as Oracle;

/** Walks the oracle's tree with a filter; gives what it leaves out, a directory also when only its children are sent. */
function leftOut(filter: ContextFilter, tree: readonly string[] = oracle.tree): string[] {
  const sent = new Set<string>();
  const walk = (dir: string, state: ContextFilter['root']): void => {
    for (const entry of tree) {
      const path = entry.replace(/\/$/, '');
      if (entry === '' || path.slice(0, path.lastIndexOf('/') + 1) !== dir) continue;
      const verdict = filter.visit(path, entry.endsWith('/'), state);
      if (verdict.send) {
        sent.add(entry);
        for (let at = entry.indexOf('/'); at >= 0; at = entry.indexOf('/', at + 1))
          sent.add(entry.slice(0, at + 1));
      }
      if (verdict.descend) walk(entry, verdict.state);
    }
  };
  walk('', filter.root);
  return tree.filter(entry => !sent.has(entry));
}

function filterOf(lines: readonly string[], release: string | undefined): ContextFilter {
  const patterns = readIgnoreFile(new TextEncoder().encode(lines.join('\n')));
  return contextFilter(patterns ? [patterns] : [], release === undefined ? undefined : version(release));
}

function expected(side: Side): string[] {
  return (side.left_out ?? []).map(i => oracle.tree[i] as string);
}

/** Lines with operators or escapes whose meaning is not ported: sending everything is right for these. */
const NOT_CERTAIN = /[|^+()]|\{\d|\\\w|\[\[|\[!-|\]a|\[b-a/;

describe('held against the walks of fsutil', () => {
  test(`left out by v0.10.0 and later: the same in ${oracle.cases.length} cases`, () => {
    const wrong = oracle.cases.flatMap(({patterns, fileutils, patternmatcher}) => {
      const want = expected(patternmatcher === 'same' ? fileutils : patternmatcher);
      const have = leftOut(filterOf(patterns, 'v0.20.2'));
      const uncertain = have.length === 0 && patterns.some(line => NOT_CERTAIN.test(line));
      return uncertain || JSON.stringify(have) === JSON.stringify(want) ? [] : [{patterns, have, want}];
    });
    expect(wrong).toEqual([]);
  });

  test(`left out by v0.9.3 and earlier: the same in ${oracle.cases.length} cases`, () => {
    const wrong = oracle.cases.flatMap(({patterns, fileutils}) => {
      const want = expected(fileutils);
      const have = leftOut(filterOf(patterns, 'v0.9.3'));
      const uncertain = have.length === 0 && patterns.some(line => NOT_CERTAIN.test(line));
      return uncertain || JSON.stringify(have) === JSON.stringify(want) ? [] : [{patterns, have, want}];
    });
    expect(wrong).toEqual([]);
  });

  test('for an unknown release, nothing that either of them sends', () => {
    for (const {patterns, fileutils, patternmatcher} of oracle.cases) {
      const later = expected(patternmatcher === 'same' ? fileutils : patternmatcher);
      const both = expected(fileutils).filter(entry => later.includes(entry));
      const have = leftOut(filterOf(patterns, undefined));
      expect({patterns, extra: have.filter(entry => !both.includes(entry))}).toEqual({patterns, extra: []});
    }
  });

  test('few of the cases are uncertain', () => {
    const cases = oracle.cases.filter(({patterns}) => patterns.some(line => NOT_CERTAIN.test(line)));
    expect(cases.length).toBeLessThan(30);
    expect(oracle.cases.length).toBeGreaterThan(500);
  });
});

describe('readIgnoreFile', () => {
  const table: [name: string, file: string, lines: string[] | undefined][] = [
    ['comments and blank lines', '# a\n\n  \nb\n #c', ['b', '#c']],
    ['a byte order mark on the first line only', '\uFEFF# x\n\uFEFFb', ['\uFEFFb']],
    ['CRLF', 'a\r\nb\r\n', ['a', 'b']],
    ['white space, U+0085 and no-break space too', '\t a \u0085\n\u00A0b\u00A0', ['a', 'b']],
    ['leading slashes', '/a\n//b\n/', ['a', 'b', '/']],
    ['cleaning', './a/\na//b/./c/../d\n../e', ['a', 'a/b/d', '../e']],
    ['negation', '!a\n! b/\n!/c\n!', ['!a', '!b', '!c', '!']],
    ['a line that bufio.Scanner refuses', `${'x'.repeat(65536)}\n`, undefined],
  ];
  test.each(table)('%s', (_name, file, lines) => {
    expect(readIgnoreFile(new TextEncoder().encode(file))).toEqual(lines);
  });
});

describe('contextFilter', () => {
  test('keeps what BuildKit must read, and its parents', () => {
    const tree = ['.dockerignore', 'a', 'd/', 'd/e/', 'd/e/Dockerfile', 'd/e/x', 'd/f'];
    const filter = contextFilter([['*']], version('v0.20.2'), ['.dockerignore', 'd/e/Dockerfile']);
    expect(leftOut(filter, tree)).toEqual(['a', 'd/e/x', 'd/f']);
  });

  test('leaves out only what all sets exclude', () => {
    const tree = ['a', 'b', 'c'];
    expect(
      leftOut(
        contextFilter(
          [
            ['a', 'b'],
            ['b', 'c'],
          ],
          undefined,
        ),
        tree,
      ),
    ).toEqual(['b']);
    expect(leftOut(contextFilter([['*'], []], undefined), tree)).toEqual([]);
    expect(leftOut(contextFilter([], undefined), tree)).toEqual([]);
  });

  test.each(['[a', 'a\\', '!', '\\d*', 'a\0', 'a\uFFFD'])(
    'an invalid or uncertain line %j sends everything',
    line => {
      expect(leftOut(contextFilter([['b', line]], undefined), ['a', 'b'])).toEqual([]);
    },
  );

  test('does not enter a directory that is excluded when nothing takes a part of it back in', () => {
    const filter = contextFilter([['node_modules']], version('v0.20.2'));
    expect(filter.visit('node_modules', true, filter.root)).toMatchObject({send: false, descend: false});
    const other = contextFilter([['node_modules', '!node_modules/x']], version('v0.20.2'));
    expect(other.visit('node_modules', true, other.root)).toMatchObject({send: false, descend: true});
  });

  test('a pattern made to backtrack is matched at once', () => {
    const filter = contextFilter([[`${'*a'.repeat(40)}b`, `${'**/a'.repeat(40)}/b`]], version('v0.20.2'));
    const path = `${'a'.repeat(250)}/`.repeat(10);
    expect(filter.visit(`${path}c`, false, filter.root).send).toBe(true);
  });
});

describe('decodePath', () => {
  test.each([
    [[0x61, 0xff, 0x62], 'a\uFFFDb'],
    [[0xe2, 0x82], '\uFFFD\uFFFD'],
    [[0xed, 0xa0, 0x80, 0x7a], '\uFFFD\uFFFD\uFFFDz'],
    [[0xf0, 0x9f, 0x90, 0xb3], '🐳'],
    [[0xf0, 0x9f, 0x90, 0xb3, 0xc3], '🐳\uFFFD'],
    [[0xef, 0xbb, 0xbf, 0x61], '\uFEFFa'],
  ])('%j', (bytes, text) => {
    expect(decodePath(Uint8Array.from(bytes))).toBe(text);
  });

  test('bytes that are no UTF-8 match wildcards only', () => {
    const name = decodePath(Uint8Array.from([0x61, 0xff]));
    for (const [line, sent] of [
      ['a?', false],
      ['a*', false],
      ['a[^b]', false],
      ['a\u00FF', true],
    ] as const) {
      const filter = contextFilter([[line]], version('v0.20.2'));
      expect(filter.visit(name, false, filter.root).send).toBe(sent);
    }
  });
});
