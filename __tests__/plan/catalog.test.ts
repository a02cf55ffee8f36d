import {readFileSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';
import {parse} from 'yaml';
import type {UserError} from '../../src/base/errors.ts';
import {formatReference} from '../../src/base/image-reference.ts';
import {parseVersion} from '../../src/base/version.ts';
import {CATALOG, type CatalogEntry, looksLikeVersion, resolveVersion} from '../../src/plan/catalog.ts';
import {DEFAULT_REGISTRIES, parseSources} from '../../src/plan/catalog-sources.ts';

const sources = parseSources(DEFAULT_REGISTRIES);
const resolve = (text: string, catalog: readonly CatalogEntry[] = CATALOG, prereleases = false) =>
  resolveVersion(text, {sources, catalog, prereleases});
const failure = (text: string, catalog: readonly CatalogEntry[] = CATALOG): UserError => {
  try {
    resolve(text, catalog);
  } catch (error) {
    return error as UserError;
  }
  throw new Error(`${text} was found`);
};

test('catalog-data.ts is what catalog.yml says', () => {
  expect(CATALOG).toEqual(parse(readFileSync('src/plan/catalog.yml', 'utf8')).archives);
});

test('every entry has a name that is its version, with or without -debug, and a revision', () => {
  for (const {name, buildkit, revisions} of CATALOG) {
    expect(parseVersion(buildkit)).toBeDefined();
    expect([buildkit, `${buildkit}-debug`]).toContain(name);
    expect(revisions.length).toBeGreaterThan(0);
  }
  expect(CATALOG).toHaveLength(22);
});

describe('resolveVersion', () => {
  test.each([
    ['v0.20.2', 'v0.20.2', undefined],
    ['0.20.2', 'v0.20.2', undefined],
    ['buildkit-v0.20.2', 'v0.20.2', undefined],
    [' v0.20.2 ', 'v0.20.2', undefined],
    ['0.20', 'v0.20.2', undefined],
    ['v0.10', 'v0.10.6', undefined],
    ['0.12', 'v0.12.5', undefined],
    ['0.11', 'v0.11.0', undefined],
    ['0.21', 'v0.21.1', undefined],
    ['0', 'v0.21.1', undefined],
    ['latest', 'v0.21.1', undefined],
    ['oldest', 'v0.3.0', undefined],
    ['v0.12.4-debug', 'v0.12.4-debug', undefined],
    ['0.12.5-debug', 'v0.12.5-debug', undefined],
    ['0.21.0-rc2', 'v0.21.0-rc2', undefined],
    ['v0.20.2_v0.1.0', 'v0.20.2', 'v0.1.0'],
    ['0.20_0.2.0', 'v0.20.2', 'v0.2.0'],
    ['v0.12.4-debug_v0.1.0', 'v0.12.4-debug', 'v0.1.0'],
  ])('%j is %s, revision %s', (text, name, revision) => {
    const found = resolve(text);
    expect([found.entry.name, found.revision]).toEqual([name, revision]);
  });

  test('names an image in each source, in order', () => {
    expect(resolve('v0.12.4-debug').references.map(formatReference)).toEqual([
      'ghcr.io/ctrsploit/buildkit-v0.12.4-debug:latest',
      'docker.io/ssst0n3/docker_archive:buildkit-v0.12.4-debug',
    ]);
    expect(resolve('v0.20.2_v0.1.0').references.map(formatReference)).toEqual([
      'ghcr.io/ctrsploit/buildkit-v0.20.2:v0.1.0',
      'docker.io/ssst0n3/docker_archive:buildkit-v0.20.2_v0.1.0',
    ]);
  });

  test('pre-releases are taken only when named or asked for', () => {
    const catalog = [entry('v0.20.2'), entry('v0.21.0-rc1'), entry('v0.21.0-rc10'), entry('v0.21.0-rc2')];
    expect(resolve('latest', catalog).entry.name).toBe('v0.20.2');
    expect(resolve('latest', catalog, true).entry.name).toBe('v0.21.0-rc10');
    expect(resolve('0.21', catalog, true).entry.name).toBe('v0.21.0-rc10');
    expect(resolve('0.21.0-rc1', catalog).entry.name).toBe('v0.21.0-rc1');
    expect(failure('0.21', catalog).hint).toBe(
      'of 0.21 there are only pre-releases; name one: v0.21.0-rc1, v0.21.0-rc10, v0.21.0-rc2',
    );
  });

  test('an entry with a digest is taken by it', () => {
    const digest = `sha256:${'a'.repeat(64)}`;
    const pinned = {...entry('v0.20.2'), digests: {'v0.2.0': {'ghcr.io/ctrsploit/': digest}}};
    expect(resolve('0.20', [pinned]).references.map(formatReference)).toEqual([
      `ghcr.io/ctrsploit/buildkit-v0.20.2:v0.2.0@${digest}`,
      'docker.io/ssst0n3/docker_archive:buildkit-v0.20.2',
    ]);
    expect(resolve('0.20_v0.1.0', [pinned]).references.map(formatReference)).toEqual([
      'ghcr.io/ctrsploit/buildkit-v0.20.2:v0.1.0',
      'docker.io/ssst0n3/docker_archive:buildkit-v0.20.2_v0.1.0',
    ]);
  });
});

describe('an unknown version', () => {
  test.each([
    ['v0.20.3', 'v0.20.2, v0.21.0, v0.21.0-rc1'],
    ['0.12.3', 'v0.12.4, v0.12.4-debug, v0.12.5'],
    ['0.6', 'v0.7.0, v0.5.0, v0.4.0'],
    ['v1.0.0', 'v0.21.1, v0.21.0, v0.21.0-rc1'],
    ['0.31.0', 'v0.21.1, v0.21.0, v0.21.0-rc1'],
    ['0.1.0', 'v0.3.0, v0.4.0, v0.5.0'],
  ])('%s: nearest %s', (text, near) => {
    expect(failure(text).message).toContain(`; the nearest: ${near}; all: `);
    expect(failure(text).hint).toContain(`write ${near.split(',')[0]}`);
  });

  test('is told with the nearest and the whole list', () => {
    expect(failure('v0.20.3').message).toMatch(
      /^buildkit-version: there is no published archive for "v0\.20\.3"; the nearest: .*; all: v0\.3\.0, v0\.4\.0, .*v0\.12\.5, v0\.12\.5-debug, v0\.20\.2, v0\.21\.0-rc1, v0\.21\.0-rc2, v0\.21\.0, v0\.21\.1$/,
    );
  });

  test.each(['nonsense', '', 'v0.20.2_v0.1.0_x', '../x', '0.20.2.1', 'newest'])('%j is refused', text => {
    expect(failure(text).message).toContain(`no published archive for ${JSON.stringify(text)}`);
  });

  test('0.20 without quotes in YAML is 0.2', () => {
    expect(failure('0.2').hint).toBe('YAML reads 0.20 as the number 0.2: write it in quotes, "0.20"');
    expect(failure('0.1').hint).toBe('YAML reads 0.10 as the number 0.1: write it in quotes, "0.10"');
  });

  test('an unknown revision is told with those there are', () => {
    expect(failure('v0.20.2_v0.9.0').message).toContain('its revisions: v0.1.0, v0.2.0');
  });

  test('a ctr_ name is explained', () => {
    expect(failure('ctr_v0.20.2').message).toContain('without the VM disk');
    expect(failure('ctr_v0.20.2').hint).toBe('leave out "ctr_": v0.20.2');
  });
});

describe('parseSources', () => {
  test.each([
    [
      'ghcr.io/ctrsploit',
      'ghcr.io/ctrsploit/buildkit-v0.3.0:latest',
      'ghcr.io/ctrsploit/buildkit-v0.3.0:v0.1.0',
    ],
    [
      'docker.io/ssst0n3/docker_archive',
      'docker.io/ssst0n3/docker_archive:buildkit-v0.3.0',
      'docker.io/ssst0n3/docker_archive:buildkit-v0.3.0_v0.1.0',
    ],
    [
      'ssst0n3/docker_archive',
      'docker.io/ssst0n3/docker_archive:buildkit-v0.3.0',
      'docker.io/ssst0n3/docker_archive:buildkit-v0.3.0_v0.1.0',
    ],
    [
      '127.0.0.1:5000/x',
      '127.0.0.1:5000/x/buildkit-v0.3.0:latest',
      '127.0.0.1:5000/x/buildkit-v0.3.0:v0.1.0',
    ],
    ['127.0.0.1:5000/x:', '127.0.0.1:5000/x:buildkit-v0.3.0', '127.0.0.1:5000/x:buildkit-v0.3.0_v0.1.0'],
    [
      '127.0.0.1:5000/docker_archive/',
      '127.0.0.1:5000/docker_archive/buildkit-v0.3.0:latest',
      '127.0.0.1:5000/docker_archive/buildkit-v0.3.0:v0.1.0',
    ],
    ['127.0.0.1:5000', '127.0.0.1:5000/buildkit-v0.3.0:latest', '127.0.0.1:5000/buildkit-v0.3.0:v0.1.0'],
    [
      'http://registry.example:80/x/',
      'registry.example:80/x/buildkit-v0.3.0:latest',
      'registry.example:80/x/buildkit-v0.3.0:v0.1.0',
    ],
  ])('%s', (item, newest, revision) => {
    const [source] = [parseSources([item])];
    const options = {sources: source, catalog: [entry('v0.3.0')]};
    expect(resolveVersion('v0.3.0', options).references.map(formatReference)).toEqual([newest]);
    expect(resolveVersion('v0.3.0_v0.1.0', options).references.map(formatReference)).toEqual([revision]);
    expect(resolveVersion('v0.3.0', options).references[0]?.plainHttp).toBe(
      !/^(ghcr|docker|ssst)/.test(item),
    );
  });

  test.each(['', '/', ':', 'ghcr.io/A', 'ghcr.io//x', 'ghcr.io/x:tag', 'ghcr.io/x@sha256:1', 'a b'])(
    'refuses %j',
    item => {
      expect(() => parseSources([item])).toThrow('is not the beginning of an image');
    },
  );

  test('fills in docker.io', () => {
    expect(
      parseSources(['ssst0n3/docker_archive', 'index.docker.io/x/y:']).map(({prefix}) => prefix),
    ).toEqual(['docker.io/ssst0n3/docker_archive:', 'docker.io/x/y:']);
  });
});

test.each([
  ['v0.20.2', true],
  ['0.99', true],
  ['latest', true],
  ['v0.20.2_v0.1.0', true],
  ['v0.12.4-debug', true],
  ['ghcr.io/x/y', false],
  ['vm.qcow2', false],
])('looksLikeVersion %s: %s', (text, expected) => {
  expect(looksLikeVersion(text)).toBe(expected);
});

function entry(name: string): CatalogEntry {
  return {name, buildkit: name, revisions: ['v0.1.0', 'v0.2.0']};
}
