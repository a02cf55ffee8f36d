import {readFileSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';
import {version} from '../../src/base/version.ts';
import {finalFlags} from '../../src/build/daemon/flags.ts';
import {configPath, dropIn, logTail} from '../../src/build/daemon/process.ts';
import {placeByHelp} from '../../src/build/versions/help.ts';

const flags = (text: string, release: string) => finalFlags(text.split(' '), version(release));

test.each([
  ['--debug', 'v0.3.0'],
  ['-debug', 'v0.3.0'],
  ['--allow-insecure-entitlement security.insecure --oci-worker-net=host', 'v0.6.0'],
  ['--trace', 'v0.32.2'],
])('%s is known to %s', (text, release) => {
  expect(flags(text, release)).toEqual({argv: text.split(' '), warnings: []});
});

test.each([
  ['--debug --log-format json --root /x', 'v0.12.5', '--debug --root /x', '--log-format; v0.13.0'],
  ['--trace --debug', 'v0.11.0', '--debug', '--trace; v0.12.0'],
  ['--debug --oci-worker-gc-keepstorage=3', 'v0.3.0', '--debug', '--oci-worker-gc-keepstorage; v0.4.0'],
])('%s on %s: %s, and a warning', (text, release, argv, warning) => {
  const made = flags(text, release);
  expect(made.argv).toEqual(argv.split(' '));
  expect(made.warnings).toEqual([expect.stringContaining(warning)]);
  expect(made.warnings[0]).toMatch(/^buildkitd-flags: BuildKit .* it is left out$/);
});

test.each([
  [
    '--allow-insecure-entitlement security.insecure',
    'v0.4.0',
    /v0\.4\.0 does not know --allow-insecure-entitlement; v0\.5\.0/,
  ],
  ['--debug --cdi-disabled', 'v0.12.5', /--cdi-disabled; v0\.20\.0 is the first that does$/],
  ['--nonsense', 'v0.32.2', /^buildkitd-flags: BuildKit v0\.32\.2 has no flag --nonsense$/],
])('%s on %s is refused', (text, release, message) => {
  expect(() => flags(text, release)).toThrow(message);
});

test('what is newer than the table gets all', () => {
  expect(flags('--brand-new x', 'v0.99.0')).toEqual({
    argv: ['--brand-new', 'x'],
    warnings: [expect.stringContaining('--brand-new is passed as it is')],
  });
});

test('a fork gets what its help lists', () => {
  const read = (page: string): string =>
    readFileSync(`__tests__/fixtures/help/v0.16.0/help-${page}.txt`, 'utf8');
  const help = read('buildkitd').replace('--debug  ', '--of-the-fork  \n   --debug  ');
  const fork = placeByHelp({build: read('build'), buildctl: read('buildctl'), buildkitd: help});
  expect(finalFlags(['--of-the-fork', '--log-format=json'], fork)).toEqual({
    argv: ['--of-the-fork', '--log-format=json'],
    warnings: [],
  });
  expect(() => finalFlags(['--cdi-disabled'], fork)).toThrow('--cdi-disabled');
});

describe('the daemon as it runs', () => {
  test.each<[string, string]>([
    ['buildkitd --addr fd://', '/etc/buildkit/buildkitd.toml'],
    ['buildkitd --config /a.toml', '/a.toml'],
    ['buildkitd --config=/a.toml --debug', '/a.toml'],
    ['buildkitd -config /a.toml -config=b.toml', '/b.toml'],
    ['buildkitd --configx /a.toml', '/etc/buildkit/buildkitd.toml'],
    ['buildkitd --config', '/etc/buildkit/buildkitd.toml'],
  ])('%s reads %s', (argv, path) => expect(configPath(argv.split(' '))).toBe(path));

  test('the drop-in says each word to the letter', () => {
    expect(dropIn(['/usr/bin/buildkitd', '--a', 'b c', '$HOME ${X} %n', 'q"\\\'', 'l\nt\t'])).toBe(
      '[Service]\nExecStart=\nExecStart="/usr/bin/buildkitd" "--a" "b c" "$$HOME $${X} %%n" "q\\"\\\\\'" "l\\nt\\t"\n',
    );
  });

  test('a log without stack traces', () => {
    const log = `time="2026-01-01T00:00:00Z" level=info msg="found 0 workers"
buildkitd: no worker found, rebuild the buildkit daemon?
main.newWorkerController
	/src/cmd/buildkitd/main.go:755
main.newController
	/src/cmd/buildkitd/main.go:671
github.com/urfave/cli.HandleAction
	/src/vendor/github.com/urfave/cli/app.go:524
`;
    expect(logTail(log)).toBe(
      'time="2026-01-01T00:00:00Z" level=info msg="found 0 workers"\nbuildkitd: no worker found, rebuild the buildkit daemon?',
    );
    expect(logTail(Array.from({length: 40}, (_, i) => `line ${i}`).join('\n')).split('\n')).toEqual(
      Array.from({length: 15}, (_, i) => `line ${i + 25}`),
    );
  });
});
