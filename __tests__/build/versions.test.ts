import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';
import {version} from '../../src/base/version.ts';
import {LABS_ONLY_FEATURES} from '../../src/build/versions/dockerfile-features.ts';
import {type HelpPage, OLDEST} from '../../src/build/versions/entry.ts';
import {listedIn} from '../../src/build/versions/help.ts';
import {
  entryOf,
  featureFirst,
  findEntry,
  knowledge,
  knows,
  releaseOf,
  TABLE,
  tagBelow,
} from '../../src/build/versions/table.ts';
import {FLAG_PROBES, featureProbe} from './version-probes.ts';

const FIXTURES = '__tests__/fixtures/help';
const releases = readdirSync(FIXTURES).filter(name => /^v\d/.test(name));

test('every entry stands once, with an order of its releases', () => {
  expect(new Set(TABLE.map(({id}) => id)).size).toBe(TABLE.length);
  for (const entry of TABLE) {
    expect(knows(entry.first, entry)).toBe(true);
    if (entry.last) expect(knows(entry.last, entry)).toBe(true);
    expect(knows(entry.first, {...entry, first: OLDEST})).toBe(true);
  }
});

test('lookups', () => {
  expect(featureFirst('dockerfile run-heredoc').raw).toBe('v0.10.0');
  expect(findEntry('exporter nope')).toBeUndefined();
  expect(() => entryOf('exporter nope')).toThrow(RangeError);
});

test.each([
  ['v0.10.6', 'yes'],
  ['v0.11.0', 'no'],
  ['v0.11.0-rc1', 'no'],
  ['v0.3.0', 'yes'],
])('--frontend-opt on %s: %s', (release, answer) => {
  expect(knowledge(version(release), entryOf('build --frontend-opt'))).toBe(answer);
});

test.each([
  ['v0.20.2', 'v0.20.2', 'v0.20.2'],
  ['v0.21.0-rc1', 'v0.21.0-rc1', 'v0.21.0-rc1'],
  ['v0.20.2-3-gabc1234', undefined, 'v0.20.2-3-gabc1234'],
  ['v0.20.2.m', undefined, 'v0.20.2.m'],
  ['v0.20.2+fork', undefined, 'v0.20.2+fork'],
  ['v0.2.0', undefined, undefined],
  ['0.0.0+unknown', undefined, undefined],
  ['dev', undefined, undefined],
  ['97437fdd7e32', undefined, undefined],
])('%s is the release %s and stands on %s', (text, release, tag) => {
  expect(releaseOf(text)?.raw).toBe(release);
  expect(tagBelow(text)?.raw).toBe(tag);
});

/** The help texts of one release, one a page. */
function pages(folder: string): Map<HelpPage, string> {
  const texts = readdirSync(folder)
    .filter(name => /^help-.*\.txt$/.test(name))
    .map(name => readFileSync(`${folder}/${name}`, 'utf8'))
    .join('\n');
  const known: HelpPage[] = ['buildctl', 'build', 'prune', 'du', 'debug', 'debug workers', 'buildkitd'];
  return new Map(
    texts.split(/^\$ /m).flatMap(text => {
      const command = /^(.*) --help$/m.exec(text)?.[1] ?? '';
      const page = known.find(one => one === command || `buildctl ${one}` === command);
      return page ? [[page, text] as const] : [];
    }),
  );
}

describe.each(releases)('the help texts of %s', release => {
  const at = version(release);
  test.each([...pages(`${FIXTURES}/${release}`)])(
    '%s lists what the table says, no less and no more',
    (page, text) => {
      const shown = TABLE.filter(
        entry =>
          entry.page === page &&
          knows(at, entry) &&
          !(entry.hiddenFrom && knows(at, {...entry, first: entry.hiddenFrom})),
      );
      const listed = [...listedIn(text, page)].filter(
        name => !['--help', '--version', 'help', 'h', 'b'].includes(name),
      );
      expect(listed.sort()).toEqual(shown.map(({name}) => name).sort());
    },
  );
});

const table = (path: string): string[][] =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => line.split('\t'));

/** Rows of a matrix as `[probe, release, passed]`. */
function results(path: string): (readonly [string, string, boolean])[] {
  const [header = [], ...rows] = table(path);
  return rows.flatMap(([probe = '', ...cells]) =>
    cells.map((cell, i) => [probe, header[i + 1] ?? '', cell === 'ok'] as const),
  );
}

describe('the recorded probes', () => {
  const flags = results(`${FIXTURES}/matrix-flags.tsv`);
  const features = results(`${FIXTURES}/matrix-features.tsv`);
  const knowsAt = (release: string) => (id: string) => knows(version(release), entryOf(id));

  test('every flag probe has an expectation', () => {
    expect([...new Set(flags.map(([probe]) => probe))].sort()).toEqual(Object.keys(FLAG_PROBES).sort());
  });

  test(`${flags.length} builds with flags and options agree with the table`, () => {
    const wrong = flags.filter(
      ([probe, release, passed]) => FLAG_PROBES[probe]?.(knowsAt(release)) !== passed,
    );
    expect(wrong).toEqual([]);
  });

  test(`${features.length} builds of Dockerfiles agree with the table`, () => {
    const wrong = features.filter(
      ([probe, release, passed]) => featureProbe(probe, version(release)) !== passed,
    );
    expect(wrong).toEqual([]);
    expect(LABS_ONLY_FEATURES.map(({id}) => id)).toEqual(['run-device']);
  });
});

const RECORDINGS = '../shared/recordings';
const recorded = existsSync(RECORDINGS) ? readdirSync(RECORDINGS).filter(name => /^v\d/.test(name)) : [];

test(`the results of ${recorded.length} recorded releases agree with the table`, () => {
  const wrong = recorded.flatMap(release => {
    const at = version(release);
    const read = (kind: string) => table(`${RECORDINGS}/${release}/${kind}/results.tsv`).slice(1);
    const flags = read('flags').filter(
      ([probe = '', exit]) => FLAG_PROBES[probe]?.(id => knows(at, entryOf(id))) !== (exit === '0'),
    );
    const features = read('features').filter(
      ([probe = '', exit]) => featureProbe(probe, at) !== (exit === '0'),
    );
    return [...flags, ...features].map(row => [release, ...row]);
  });
  expect(wrong).toEqual([]);
});
