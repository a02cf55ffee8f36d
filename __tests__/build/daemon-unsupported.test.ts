import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {expect, test} from '@jest/globals';
import {version} from '../../src/base/version.ts';
import {unsupportedDaemonFlags, unsupportedTomlKeys} from '../../src/build/daemon/unsupported.ts';
import {placeByHelp} from '../../src/build/versions/help.ts';

const missing = (path: string[], release: string): string =>
  unsupportedTomlKeys([path], version(release))
    .map(({name, first}) => `${name} ${first?.raw ?? 'never'}`)
    .join();

test.each<[string[], string, string]>([
  [['debug'], 'v0.3.0', ''],
  [['worker', 'oci', 'gc'], 'v0.3.3', 'worker.oci.gc v0.4.0'],
  [['worker', 'containerd', 'gc'], 'v0.4.0', ''],
  [['worker', 'oci', 'gcpolicy', 'keepBytes'], 'v0.3.0', ''],
  [['worker', 'oci', 'gcpolicy', 'maxUsedSpace'], 'v0.16.0', 'worker.oci.gcpolicy.maxUsedSpace v0.17.0'],
  [['worker', 'oci', 'labels', 'a.b/c'], 'v0.3.0', ''],
  [['worker', 'oci', 'binary'], 'v0.6.4', 'worker.oci.binary v0.7.0'],
  [['worker', 'containerd', 'binary'], 'v0.20.2', 'worker.containerd.binary never'],
  [['registry', 'docker.io', 'mirrors'], 'v0.3.0', ''],
  [['registry', 'docker.io', 'insecure'], 'v0.6.0', 'registry.docker.io.insecure v0.7.0'],
  [['frontend', 'dockerfile.v0', 'enabled'], 'v0.13.2', 'frontend.dockerfile.v0.enabled v0.14.0'],
  [['frontend', 'dockerfile.v0', 'enabled'], 'v0.14.0', ''],
  [['grpc', 'tls', 'cert'], 'v0.3.0', ''],
  [['worker', 'oci'], 'v0.3.0', ''],
  [['log', 'level'], 'v0.29.0', 'log.level v0.30.0'],
  [['nonsense'], 'v0.32.2', 'nonsense never'],
  [['debug'], 'v0.21.0-rc1', ''],
])('%j on %s: %j', (path, release, result) => expect(missing(path, release)).toBe(result));

test('flags of the daemon', () => {
  const names = ['--oci-worker-net', '--addr', '--nonsense'];
  expect(unsupportedDaemonFlags(names, version('v0.5.1'))).toEqual([
    {name: '--oci-worker-net', first: version('v0.6.0')},
    {name: '--nonsense'},
  ]);
});

test('a fork has the flags that its help lists, and is not denied a key that it may have', () => {
  const read = (page: string): string =>
    readFileSync(`__tests__/fixtures/help/v0.16.0/help-${page}.txt`, 'utf8');
  const fork = placeByHelp({build: read('build'), buildctl: read('buildctl'), buildkitd: read('buildkitd')});
  expect(unsupportedDaemonFlags(['--cdi-disabled', '--log-format'], fork).map(({name}) => name)).toEqual([
    '--cdi-disabled',
  ]);
  expect(
    unsupportedTomlKeys(
      [
        ['worker', 'oci', 'reservedSpace'],
        ['cdi', 'disabled'],
      ],
      fork,
    ).map(({name}) => name),
  ).toEqual(['cdi.disabled']);
});

const RECORDINGS = '../shared/recordings';
const recorded = existsSync(RECORDINGS) ? readdirSync(RECORDINGS).filter(name => /^v\d/.test(name)) : [];

test(`the command lines of ${recorded.length} recorded daemons use only flags that the table gives them`, () => {
  const wrong = recorded.flatMap(release => {
    const argv = readFileSync(`${RECORDINGS}/${release}/buildkitd-cmd.txt`, 'utf8');
    const flags = [...argv.matchAll(/(?<=\s)--[a-z][a-z-]*/g)].map(([flag]) => flag);
    return unsupportedDaemonFlags(flags, version(release)).map(({name}) => `${release} ${name}`);
  });
  expect(wrong).toEqual([]);
});
