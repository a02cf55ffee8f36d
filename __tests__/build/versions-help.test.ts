import {readdirSync, readFileSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';
import {compareVersions, formatVersion, version} from '../../src/base/version.ts';
import {type HelpFacts, listedIn, placeByHelp, releaseName} from '../../src/build/versions/help.ts';
import {entryOf, knowledge, knows, TABLE} from '../../src/build/versions/table.ts';

const FIXTURES = '__tests__/fixtures/help';
const releases = readdirSync(FIXTURES).filter(name => /^v\d/.test(name));
const read = (release: string, page: string): string =>
  readFileSync(`${FIXTURES}/${release}/help-${page}.txt`, 'utf8');
const client = (release: string) => ({buildctl: read(release, 'buildctl'), build: read(release, 'build')});
const both = (release: string) => ({...client(release), buildkitd: read(release, 'buildkitd')});
const span = ({first, before}: HelpFacts): string =>
  `${formatVersion(first)}..${before ? formatVersion(before) : ''}`;

describe.each(releases)('%s without its version', release => {
  test.each([
    ['the client', client(release)],
    ['client and daemon', both(release)],
  ])('by the help of %s stands in a range around it', (_what, texts) => {
    const {first, before} = placeByHelp(texts);
    expect(compareVersions(first, version(release))).toBeLessThanOrEqual(0);
    if (before) expect(compareVersions(version(release), before)).toBeLessThan(0);
  });

  test('what its help is sure of is so', () => {
    const placed = placeByHelp(both(release));
    const wrong = TABLE.filter(entry => {
      const hidden = entry.hiddenFrom && compareVersions(version(release), entry.hiddenFrom) >= 0;
      const sure = knowledge(placed, entry);
      return !hidden && sure !== 'unknown' && (sure === 'yes') !== knows(version(release), entry);
    });
    expect(wrong.map(({id}) => id)).toEqual([]);
  });
});

test.each([
  ['v0.3.0', 'v0.3.0..v0.4.0'],
  ['v0.7.0', 'v0.7.0..v0.8.0'],
  ['v0.10.0', 'v0.10.0..v0.10.6'],
  ['v0.12.4', 'v0.12.0..v0.13.0'],
  ['v0.16.0', 'v0.13.0..v0.20.0'],
  ['v0.21.1', 'v0.20.0..v0.24.0'],
  ['v0.32.2', 'v0.31.0..'],
])('%s: %s', (release, range) => expect(span(placeByHelp(both(release)))).toBe(range));

test('a tag below a commit narrows its range, and cannot leave it', () => {
  expect(span(placeByHelp(both('v0.21.1'), version('v0.21.1-3-gabc1234')))).toBe('v0.21.1..v0.24.0');
  expect(span(placeByHelp(both('v0.21.1'), version('v0.3.0')))).toBe('v0.20.0..v0.24.0');
  expect(span(placeByHelp(both('v0.21.1'), version('v0.30.0')))).toBe('v0.20.0..v0.24.0');
});

test('a fork that took over a new flag may have anything between', () => {
  const {build, buildctl} = client('v0.12.4');
  const forked = placeByHelp({
    buildctl,
    build: build.replace('   --secret value', '   --proxy-network\n   --secret value'),
  });
  expect(span(forked)).toBe('v0.12.0..');
  expect(knowledge(forked, entryOf('build --proxy-network'))).toBe('yes');
  expect(knowledge(forked, entryOf('build --registry-auth-tlscontext'))).toBe('no');
  expect(knowledge(forked, entryOf('exporter-option rewrite-timestamp'))).toBe('unknown');
  expect(knowledge(forked, entryOf('exporter-option tar'))).toBe('yes');
});

test('a fork that dropped a flag is not given it', () => {
  const {build, buildctl} = client('v0.20.2');
  const forked = placeByHelp({buildctl, build: build.replace(/^ +--metadata-file .*\n/m, '')});
  expect(span(forked)).toBe('v0.7.0..v0.31.0');
  expect(knowledge(forked, entryOf('build --metadata-file'))).toBe('no');
  expect(knowledge(forked, entryOf('build --opt'))).toBe('yes');
});

test('names in both layouts, with short names and noise around them', () => {
  const cli1 = 'WARN x\nOPTIONS:\n   --output value, -o value   Define --exports\n   --no-cache   no\n';
  const cli3 =
    'OPTIONS:\n   --output string, -o string [ --output string, -o string ]   Define\n   --no-cache   no\n\nGLOBAL OPTIONS:\n   --addr string   x\n';
  expect([...listedIn(cli1)]).toEqual(['--output', '--no-cache']);
  expect([...listedIn(cli3)]).toEqual(['--output', '--no-cache']);
  expect([...listedIn('COMMANDS:\n   build, b   build\n   du  x\n', 'buildctl')]).toEqual([
    'build',
    'b',
    'du',
  ]);
});

test('no help text, no place', () => {
  expect(() => placeByHelp({buildctl: '', build: 'sh: buildctl: not found'})).toThrow(/lists no flags/);
});

test('how messages call them', () => {
  expect(releaseName(version('v0.20.2'))).toBe('BuildKit v0.20.2');
  expect(releaseName(placeByHelp(both('v0.21.1')))).toMatch(/no release.*between v0\.20\.0 and v0\.24\.0/);
  expect(releaseName(placeByHelp(both('v0.32.2')))).toMatch(/at v0\.31\.0 or later/);
});
