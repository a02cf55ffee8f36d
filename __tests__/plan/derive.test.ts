import {describe, expect, test} from '@jest/globals';
import {UserError} from '../../src/base/errors.ts';
import {version} from '../../src/base/version.ts';
import {parseSources} from '../../src/plan/catalog-sources.ts';
import {nearestArchives} from '../../src/plan/derive.ts';
import {parseInputs} from '../../src/plan/inputs.ts';
import {makePlan} from '../../src/plan/plan.ts';
import {namedRelease, RELEASES} from '../../src/plan/releases.ts';

const place = {workspaceDir: '/w', storeDir: '/s'};
const planOf = (raw: Record<string, string>) => {
  const {archive, derive} = makePlan(parseInputs(raw), place);
  return {base: archive.reference, expected: archive.expectedBuildkit, derive};
};
const failure = (raw: Record<string, string>): UserError => {
  try {
    planOf(raw);
  } catch (error) {
    if (error instanceof UserError) return error;
  }
  throw new Error('it did not fail');
};
const page = 'https://github.com/moby/buildkit/releases/download';
const release = (name: string, more: Record<string, unknown> = {}, mirror = page) => ({
  source: {kind: 'release', version: name, url: `${mirror}/${name}/buildkit-${name}.linux-amd64.tar.gz`},
  runc: 'bundled',
  isUnlisted: false,
  ...more,
});

test('the releases are those of the 89 tags from v0.3.0 to v0.32.2, and later ones', () => {
  expect(RELEASES.indexOf('v0.32.2')).toBe(88);
  expect(new Set(RELEASES).size).toBe(RELEASES.length);
});

test.each([
  ['v0.32.2', 'v0.32.2', true],
  ['0.32.2', 'v0.32.2', true],
  ['0.32', 'v0.32.2', true],
  ['v0.25', 'v0.25.2', true],
  ['v0.32.0-rc1', 'v0.32.0-rc1', false],
  ['v0.99.0', 'v0.99.0', false],
  ['v0.20.3', undefined, undefined],
  ['v0.20.3-rc1', undefined, undefined],
  ['v1.0.0', undefined, undefined],
  ['0.2', undefined, undefined],
  ['latest', undefined, undefined],
  ['v0.20.2_v0.1.0', undefined, undefined],
  ['v0.20.2-3-gabc1234', undefined, undefined],
])('the release %s is %s', (text, name, isListed) => {
  const named = namedRelease(text);
  expect(named && `v${named.version.raw.replace(/^v/, '')}`).toBe(name);
  expect(named?.isListed).toBe(isListed);
});

describe('a release that nobody archived', () => {
  test.each([
    ['v0.32.2', 'v0.21.1'],
    ['v0.20.1', 'v0.20.2'],
    ['v0.12.3', 'v0.12.4'],
    ['v0.13.2', 'v0.12.5'],
    ['v0.19.0', 'v0.20.2'],
    ['v0.6.4', 'v0.7.0'],
    // The archive of v0.10.3 says of itself that it holds v0.10.0.
    ['v0.10.2', 'v0.10.0'],
  ])('%s is put into the archive of %s', (asked, base) => {
    expect(planOf({'buildkit-version': asked})).toEqual({base, expected: asked, derive: release(asked)});
  });

  test('a minor stands for its newest patch', () =>
    expect(planOf({'buildkit-version': '0.31'})).toMatchObject({
      expected: 'v0.31.2',
      derive: {source: {version: 'v0.31.2'}},
    }));

  test('from a mirror, pinned, with the runc of the archive', () =>
    expect(
      planOf({
        'buildkit-version': 'v0.32.2',
        'release-mirror': 'https://mirror.example/bk/',
        'release-sha256': 'A'.repeat(64),
        'runc-version': 'archive',
      }).derive,
    ).toEqual({
      ...release('v0.32.2', {runc: 'archive'}, 'https://mirror.example/bk'),
      source: {...release('v0.32.2', {}, 'https://mirror.example/bk').source, sha256: 'a'.repeat(64)},
    }));

  test('what is newer than all that is known is looked for first', () =>
    expect(planOf({'buildkit-version': 'v0.99.0'}).derive?.isUnlisted).toBe(true));

  test('the archives after the nearest are tried after it, in all registries', () => {
    const {images} = makePlan(
      parseInputs({'buildkit-version': 'v0.32.2', registries: '127.0.0.1:5000/a/, 127.0.0.1:5000/b:'}),
      place,
    ).archive;
    expect(images.slice(0, 4).map(({repository, tag}) => `${repository}:${tag}`)).toEqual([
      'a/buildkit-v0.21.1:latest',
      'b:buildkit-v0.21.1',
      'a/buildkit-v0.21.0:latest',
      'b:buildkit-v0.21.0',
    ]);
  });

  test('derive: never fails as before, and says what else there is', () => {
    const {message, hint} = failure({'buildkit-version': 'v0.32.2', derive: 'never'});
    expect(message).toMatch(
      /^buildkit-version: there is no published archive for "v0\.32\.2"; the nearest: v0\.21\.1/,
    );
    expect(hint).toContain('derive: auto puts v0.32.2 into the nearest archive');
  });

  test.each(['v0.20.3', 'v1.0.0', '0.2', 'nonsense'])('%s is no release at all', asked =>
    expect(failure({'buildkit-version': asked}).message).toContain('there is no published archive for'),
  );

  test('an archived one stays as it is', () =>
    expect(
      planOf({'buildkit-version': 'v0.20.2', 'release-mirror': 'https://m.example'}).derive,
    ).toBeUndefined());
});

describe('an archive of one’s own', () => {
  const own = {archive: 'vm.qcow2', 'buildkit-version': 'v0.32.2'};

  test('stays as it is unless it is asked for', () => expect(planOf(own).derive).toBeUndefined());

  test.each([
    [{derive: 'always'}, page] as const,
    [{'release-mirror': 'http://127.0.0.1:1/x'}, 'http://127.0.0.1:1/x'] as const,
  ])('with %j another BuildKit in it gives way', (more, mirror) =>
    expect(planOf({...own, ...more})).toEqual({
      base: 'vm.qcow2',
      expected: 'v0.32.2',
      derive: release('v0.32.2', {unlessVersion: 'v0.32.2'}, mirror),
    }),
  );

  test('derive: never', () =>
    expect(planOf({...own, derive: 'never', 'release-mirror': 'https://m.example'}).derive).toBeUndefined());

  test.each(['v0.20.2-3-gabc1234', 'dev'])('%s is no release that could be fetched', asked => {
    const raw = {...own, 'buildkit-version': asked, derive: 'always'};
    if (asked === 'dev') expect(failure(raw).message).toContain('"dev" is not a version');
    else expect(planOf(raw).derive).toBeUndefined();
  });
});

describe('binaries of one’s own', () => {
  const source = {kind: 'path', path: '/w/bin'};

  test.each([
    [{archive: 'vm.qcow2'}, 'vm.qcow2'],
    [{'buildkit-version': 'v0.20.2'}, 'v0.20.2'],
    [{'buildkit-version': 'v0.32.2'}, 'v0.21.1'],
  ])('are put into %j', (raw, base) =>
    expect(planOf({...raw, 'buildkit-binaries': 'bin'} as Record<string, string>)).toMatchObject({
      base,
      derive: {source, runc: 'bundled', isUnlisted: false},
    }),
  );

  test('need to know where', () => expect(failure({'buildkit-binaries': 'bin'}).input).toBe('archive'));

  test('and derive: never contradict each other', () =>
    expect(failure({archive: 'vm.qcow2', 'buildkit-binaries': 'bin', derive: 'never'}).message).toContain(
      'contradict each other',
    ));
});

test.each([
  ['derive', 'yes'],
  ['runc-version', 'v1.2.3'],
  ['release-mirror', 'ftp://m.example/x'],
  ['release-mirror', 'https://user:secret@m.example/x'],
  ['release-mirror', 'https://m.example/x?token=1'],
  ['release-sha256', 'abc'],
])('%s: %s is refused', (input, value) => {
  const error = failure({'buildkit-version': 'v0.32.2', [input]: value});
  expect(error.input).toBe(input);
  expect(error.message).not.toContain('secret');
});

test('finals alone are bases', () => {
  const {base, images} = nearestArchives(version('v0.11.0-rc3'), parseSources(['r.example/']));
  expect(base).toBe('v0.11.0');
  expect(images.map(({repository}) => repository)).not.toContainEqual(expect.stringMatching(/rc|debug/));
});
