import {describe, expect, test} from '@jest/globals';
import {UserError} from '../../src/base/errors.ts';
import {
  buildkitRef,
  defaultCacheDir,
  FORGE_HELP,
  hasModule,
  parseForgeOptions,
  parseSize,
} from '../../src/forge/options.ts';

const parse = (line: string) =>
  parseForgeOptions(line.split(' ').filter(Boolean), {HOME: '/home/me'}, '/cwd');

function errorOf(run: () => unknown): UserError {
  try {
    run();
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

test('a version alone is enough', () => {
  expect(parse('--buildkit v0.20.2')).toEqual({
    buildkit: {kind: 'version', version: 'v0.20.2'},
    from: 'auto',
    buildkitVersion: undefined,
    commit: undefined,
    sha256: undefined,
    runc: undefined,
    name: undefined,
    outputDir: undefined,
    cacheDir: '/home/me/.cache/buildkit-archive/forge',
    diskBytes: 10 * 1024 ** 3,
    compression: 'zstd',
    image: true,
    json: false,
    mirror: undefined,
    refresh: false,
  });
});

describe('what --buildkit names', () => {
  test.each([
    ['v0.20.2', {kind: 'version', version: 'v0.20.2'}],
    ['0.21.0-rc1', {kind: 'version', version: 'v0.21.0-rc1'}],
    ['97437fdd7e32', {kind: 'commit', commit: '97437fdd7e32'}],
    ['https://x.test/b.tar.gz', {kind: 'url', url: 'https://x.test/b.tar.gz'}],
    [
      './buildkit-v0.20.2.linux-amd64.tar.gz',
      {kind: 'path', path: '/cwd/buildkit-v0.20.2.linux-amd64.tar.gz'},
    ],
    ['/abs/dir', {kind: 'path', path: '/abs/dir'}],
  ])('%s', (value, expected) => {
    expect(buildkitRef(value, '/cwd')).toEqual(expected);
  });
});

describe('bad options name themselves and what is allowed', () => {
  test.each([
    ['', '--buildkit', 'forge --buildkit v0.20.2'],
    ['--buildkit v0.20.2 --from github', '--from', 'auto, module, release'],
    ['--buildkit v0.6.4 --from module', '--from', 'tarball'],
    ['--buildkit ./dir --from release', '--from', 'leave --from away'],
    ['--buildkit 97437fdd7e32 --from release', '--from', '--from module'],
    ['--buildkit http://x.test/b.tar.gz', '--buildkit', 'https'],
    ['--buildkit v0.20.2 --sha256 123', '--sha256', '64 hex digits'],
    ['--buildkit v0.20.2 --commit xyz', '--commit', '7 to 40'],
    ['--buildkit v0.20.2 --size 10', '--size', '2GiB to 2047GiB'],
    ['--buildkit v0.20.2 --compression gzip', '--compression', 'zstd, zlib'],
    ['--buildkit v0.20.2 --name a/b', '--name', 'letters'],
    ['--buildkit v0.20.2 --mirror ftp://x', '--mirror', 'http'],
  ])('%s', (line, input, hint) => {
    const error = errorOf(() => parse(line));
    expect(error.input).toBe(input);
    expect(error.hint).toContain(hint);
    expect(error.stage).toBe('forge');
  });

  test('an unknown option', () => {
    expect(errorOf(() => parse('--buildkit v0.20.2 --bogus')).message).toContain('--bogus');
  });
});

test.each([
  ['2GiB', 2 * 1024 ** 3],
  ['10G', 10 * 1024 ** 3],
  ['20480MiB', 20 * 1024 ** 3],
  ['4096M', 4 * 1024 ** 3],
])('--size %s', (text, sizeBytes) => {
  expect(parseSize(text)).toBe(sizeBytes);
});

test.each(['1GiB', '2048GiB', '1.5GiB', '10GB', '-2GiB', ''])('--size %j is refused', text => {
  expect(() => parseSize(text)).toThrow('--size');
});

test.each([
  [{BUILDKIT_ARCHIVE_CACHE: '/c', XDG_CACHE_HOME: '/x', HOME: '/h'}, '/c/forge'],
  [{XDG_CACHE_HOME: '/x', HOME: '/h'}, '/x/buildkit-archive/forge'],
  [{XDG_CACHE_HOME: 'relative', HOME: '/h'}, '/h/.cache/buildkit-archive/forge'],
])('the cache under %j', (env, expected) => {
  expect(defaultCacheDir(env)).toBe(expected);
});

test.each([
  ['v0.6.4', false],
  ['v0.7.0-rc1', true],
  ['v0.7.2', true],
  ['v0.32.2', true],
])('%s has a module that builds: %s', (release, expected) => {
  expect(hasModule(release)).toBe(expected);
});

test('the help names every option', () => {
  for (const option of ['--buildkit', '--from', '--sha256', '--runc', '--no-image', '--json', '--refresh']) {
    expect(FORGE_HELP).toContain(option);
  }
});
