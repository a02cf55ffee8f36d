import {describe, expect, test} from '@jest/globals';
import type {RegistryMirror} from '../../src/base/daemon.ts';
import {version} from '../../src/base/version.ts';
import {type ConfigParts, configMirrors, configWarnings, finalConfig} from '../../src/build/daemon/config.ts';
import {adoptRegistryFiles} from '../../src/build/daemon/registry-files.ts';
import {keyPaths, readToml} from '../../src/build/daemon/toml.ts';

const document = (text: string) => readToml(text, 'config', {});
const given = (text: string) => ({...document(text), input: 'buildkitd-config'});
const mirror = (name: string, plainHttp = false, origin = 'docker.io'): RegistryMirror => ({
  origin,
  mirror: name,
  plainHttp,
});
const http = (name: string, origin?: string): RegistryMirror => mirror(name, true, origin);

const parts = (
  existing: string | undefined,
  own: string | undefined,
  ...mirrors: RegistryMirror[]
): ConfigParts => ({
  existing: existing === undefined ? undefined : document(existing),
  given: own === undefined ? undefined : given(own),
  mirrors,
});

/** What the final text says. */
const final = (all: ConfigParts, release = 'v0.20.2') => {
  const made = finalConfig(all, version(release));
  return made && document(made.text).table;
};
const toml = (text: string) => document(text).table;

describe('the final buildkitd.toml', () => {
  test('nothing asked for: nothing is written', () => {
    expect(finalConfig(parts('debug = true', undefined), version('v0.20.2'))).toBeUndefined();
    expect(finalConfig(parts(undefined, undefined), version('v0.20.2'))).toBeUndefined();
  });

  test.each([undefined, '', '# nothing\n'])('over %j the text is kept to the letter', existing => {
    const text = '# a comment\n  debug = true  # another\n[worker.oci]\n  gckeepstorage = 1_000\n';
    expect(finalConfig(parts(existing, text), version('v0.20.2'))?.text).toBe(text);
  });

  test.each<[string, ConfigParts, string]>([
    [
      'tables are merged key by key; the given value wins; arrays are one value',
      parts(
        'debug = true\nroot = "/a"\n[worker.oci]\ngc = true\n[[worker.oci.gcpolicy]]\nall = true\n',
        'debug = false\n[worker.oci]\nmax-parallelism = 2\n[[worker.oci.gcpolicy]]\nkeepBytes = 3\n[[worker.oci.gcpolicy]]\nkeepBytes = 4\n',
      ),
      'debug = false\nroot = "/a"\n[worker.oci]\ngc = true\nmax-parallelism = 2\n[[worker.oci.gcpolicy]]\nkeepBytes = 3\n[[worker.oci.gcpolicy]]\nkeepBytes = 4\n',
    ],
    [
      'integers, floats and large numbers stay what they are',
      parts('a = 1\nb = 9007199254740993', 'c = 1.0\nd = 0x10'),
      'a = 1\nb = 9007199254740993\nc = 1.0\nd = 16',
    ],
    [
      'a key named __proto__ is a key',
      parts('debug = true', '__proto__.x = 1'),
      'debug = true\n__proto__.x = 1',
    ],
    [
      'a mirror over HTTPS',
      parts(undefined, undefined, mirror('mirror.gcr.io')),
      '[registry."docker.io"]\nmirrors = ["mirror.gcr.io"]',
    ],
    [
      'a mirror over HTTP',
      parts(undefined, undefined, http('10.0.2.2:5000')),
      '[registry."docker.io"]\nmirrors = ["10.0.2.2:5000"]\n[registry."10.0.2.2:5000"]\nhttp = true',
    ],
    [
      'mirrors in order, before those of the configurations, each once',
      parts(
        '[registry."docker.io"]\nmirrors = ["c", "a"]',
        'debug = true',
        mirror('a'),
        http('b'),
        mirror('d', false, 'ghcr.io'),
      ),
      'debug = true\n[registry."docker.io"]\nmirrors = ["a", "b", "c"]\n[registry.b]\nhttp = true\n[registry."ghcr.io"]\nmirrors = ["d"]',
    ],
    [
      'what the configuration says of a mirror stands',
      parts(undefined, '[registry.a]\nhttp = false\n[registry.b]\ninsecure = true', http('a'), http('b')),
      '[registry.a]\nhttp = false\n[registry.b]\ninsecure = true\n[registry."docker.io"]\nmirrors = ["a", "b"]',
    ],
    [
      'a mirror with a path: its host speaks HTTP, by either name',
      parts(undefined, undefined, http('m/hub')),
      '[registry."docker.io"]\nmirrors = ["m/hub"]\n[registry.m]\nhttp = true\n[registry."m/hub"]\nhttp = true',
    ],
  ])('%s', (_what, all, expected) => expect(final(all)).toEqual(toml(expected)));

  test.each([
    ['v0.6.4', '[registry."docker.io"]\nmirrors = ["m"]\nhttp = true'],
    ['v0.7.0', '[registry."docker.io"]\nmirrors = ["m"]\n[registry.m]\nhttp = true'],
  ])('plain HTTP of a mirror on %s', (release, expected) => {
    expect(final(parts(undefined, undefined, http('m')), release)).toEqual(toml(expected));
  });

  test('it says what stays of the archive’s own', () => {
    const all = parts(
      'debug = true\n[worker.oci]\ngc = true\n[[worker.oci.gcpolicy]]\nall = true\n[[worker.oci.gcpolicy]]\nall = false',
      'debug = false',
    );
    expect(finalConfig(all, version('v0.20.2'))?.kept).toEqual(['worker.oci.gc', 'worker.oci.gcpolicy.all']);
  });
});

describe('what a release does not do of it', () => {
  const warnings = (all: ConfigParts, release: string) => configWarnings(all, version(release));

  test.each<[string, string, string[]]>([
    ['debug = true', 'v0.3.0', []],
    [
      '[cdi]\ndisabled = true',
      'v0.12.5',
      [
        'buildkitd-config: BuildKit v0.12.5 does not read the key cdi.disabled; v0.20.0 is the first that does',
      ],
    ],
    ['[cdi]\ndisabled = true', 'v0.20.0', []],
    [
      'nonsense = 1',
      'v0.32.2',
      ['buildkitd-config: BuildKit v0.32.2 does not read the key nonsense; no release is known to'],
    ],
    [
      '[[worker.oci.gcpolicy]]\nmaxUsedSpace = 1\n[[worker.oci.gcpolicy]]\nmaxUsedSpace = 2',
      'v0.16.0',
      [
        'buildkitd-config: BuildKit v0.16.0 does not read the key worker.oci.gcpolicy.maxUsedSpace; v0.17.0 is the first that does',
      ],
    ],
  ])('%j on %s', (text, release, expected) => {
    expect(warnings(parts(undefined, text), release)).toEqual(expected);
  });

  test('mirrors at random', () => {
    expect(warnings(parts(undefined, undefined, mirror('a'), mirror('b')), 'v0.6.4')).toEqual([
      'registry-mirrors: BuildKit v0.6.4 takes one of the mirrors of docker.io at random and does not go to docker.io when it fails',
    ]);
    expect(warnings(parts(undefined, undefined, mirror('a')), 'v0.7.0')).toEqual([]);
  });

  test.each<[string, RegistryMirror[], string]>([
    ['v0.6.4', [mirror('a'), http('b')], 'HTTP and HTTPS mirrors of docker.io; v0.7.0'],
    ['v0.11.6', [mirror('a/b')], 'the mirror a/b with a path; v0.12.0'],
  ])('%s refuses', (release, mirrors, message) => {
    expect(() => warnings(parts(undefined, undefined, ...mirrors), release)).toThrow(message);
  });

  test('HTTP and HTTPS mirrors of different registries are one kind each', () => {
    expect(() =>
      warnings(parts(undefined, undefined, mirror('a'), http('b', 'ghcr.io')), 'v0.6.4'),
    ).not.toThrow();
  });
});

test.each([
  ['debug = true\n\n[registry."docker.io"]\nmirrors = [a]\n', 'line 4, column 12', 'mirrors = [a]'],
  ['a = 1\na = 2', 'line 2', 'a = 2'],
  ['[worker', 'line 1', '[worker'],
  ['debug: true', 'line 1', 'debug: true'],
  ['x = "a', 'line 1', 'x = '],
])('%j is no TOML', (text, place, shown) => {
  expect(() => document(text)).toThrow(new RegExp(`^config: ${place}`));
  expect(() => document(text)).toThrow(JSON.stringify(shown).slice(1, -1));
});

test('keys, without indices and tables', () => {
  const table = toml('a = [1]\n[b]\n[c.d]\ne.f = 1\n[[g.h]]\ni = 1\n[[g.h]]\nj = [{k = 1}]\n');
  expect(keyPaths(table).map(path => path.join('.'))).toEqual(['a', 'b', 'c.d.e.f', 'g.h.i', 'g.h.j.k']);
});

test('the mirrors that a configuration names', () => {
  expect(configMirrors(document('[registry.a]\nmirrors = ["m", 1]\n[registry.b]\nhttp = true'))).toEqual([
    {origin: 'a', mirror: 'm', plainHttp: false},
  ]);
  expect(configMirrors(document('registry = 1'))).toEqual([]);
  expect(configMirrors(undefined)).toEqual([]);
});

describe('certificates and keys of registries', () => {
  const text = `debug = true
[registry."r:5000"]
http = false
ca = ["certs/ca.pem", "/etc/only-in-the-vm.pem"]
[[registry."r:5000".keypair]]
key = "/k/ca.pem"
cert = "/c/a b.pem"
[registry.other]
mirrors = ["certs/ca.pem"]
`;
  const here =
    (...paths: string[]) =>
    async (path: string) =>
      paths.includes(path) ? `/abs/${path}` : undefined;

  test('those that are here go into the VM, and are named there', async () => {
    const adopted = await adoptRegistryFiles(given(text), here('certs/ca.pem', '/k/ca.pem', '/c/a b.pem'));
    const dir = '/run/buildkit-archive-registries';
    expect(adopted.files).toEqual([
      {path: '/abs/certs/ca.pem', guestPath: `${dir}/0-ca.pem`},
      {path: '/abs//k/ca.pem', guestPath: `${dir}/2-ca.pem`},
      {path: '/abs//c/a b.pem', guestPath: `${dir}/3-a_b.pem`},
    ]);
    expect(adopted.missing).toEqual(['/etc/only-in-the-vm.pem']);
    expect(document(adopted.given.text).table).toEqual(
      toml(`debug = true
[registry."r:5000"]
http = false
ca = ["${dir}/0-ca.pem", "/etc/only-in-the-vm.pem"]
[[registry."r:5000".keypair]]
key = "${dir}/2-ca.pem"
cert = "${dir}/3-a_b.pem"
[registry.other]
mirrors = ["certs/ca.pem"]
`),
    );
  });

  test('where none is here, the text is as it was', async () => {
    const adopted = await adoptRegistryFiles(given(text), here());
    expect(adopted.given.text).toBe(text);
    expect(adopted.files).toEqual([]);
  });

  test.each(['registry = 1', '[registry]\na = 1', '[registry.a]\nca = 1\nkeypair = 2'])(
    '%j is for the daemon to refuse',
    async odd => {
      const adopted = await adoptRegistryFiles(given(odd), here());
      expect(adopted).toEqual({given: given(odd), files: [], missing: []});
    },
  );
});
