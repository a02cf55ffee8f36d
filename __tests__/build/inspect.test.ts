import {existsSync, readFileSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';
import {parseInspection, parseWorkers, versionMismatch} from '../../src/build/inspect.ts';

const answer = (sections: Readonly<Record<string, string>>): string =>
  Object.entries({
    buildkitd: 'buildkitd github.com/moby/buildkit v0.20.2 97437fdd7e32f29bb80288d800cd4ffcb34e1c15',
    buildctl: 'buildctl github.com/moby/buildkit v0.20.2 97437fdd7e32f29bb80288d800cd4ffcb34e1c15',
    runc: 'runc version 1.2.5\ncommit: v1.2.5-0-g59923ef1\nspec: 1.2.0\ngo: go1.23.7\nlibseccomp: 2.5.6',
    kernel: '6.1.0-56-amd64',
    architecture: 'x86_64',
    os: 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian',
    systemd: 'Version=252.39-1~deb12u1\nSystemState=running\nNFailedUnits=0',
    workers:
      'ID:\t\tabc\nPlatforms:\tlinux/amd64,linux/386\nLabels:\n\torg.mobyproject.buildkit.worker.snapshotter:\toverlayfs\n',
    ...sections,
  })
    .map(([name, text]) => `\n@@${name}\n${text}\n`)
    .join('');

test('everything is read', () => {
  expect(parseInspection(answer({}))).toEqual({
    buildkit: {
      version: 'v0.20.2',
      commit: '97437fdd7e32f29bb80288d800cd4ffcb34e1c15',
      package: 'github.com/moby/buildkit',
    },
    buildctl: {version: 'v0.20.2', commit: '97437fdd7e32f29bb80288d800cd4ffcb34e1c15'},
    runc: {
      version: '1.2.5',
      commit: 'v1.2.5-0-g59923ef1',
      spec: '1.2.0',
      go: 'go1.23.7',
      libseccomp: '2.5.6',
    },
    kernel: '6.1.0-56-amd64',
    os: 'Debian GNU/Linux 12 (bookworm)',
    architecture: 'x86_64',
    systemd: {version: '252.39-1~deb12u1', state: 'running', failedUnits: []},
    workers: [
      {
        id: 'abc',
        platforms: ['linux/amd64', 'linux/386'],
        labels: {'org.mobyproject.buildkit.worker.snapshotter': 'overlayfs'},
        snapshotter: 'overlayfs',
      },
    ],
  });
});

describe('variants', () => {
  test.each([
    [
      {runc: 'runc version 1.0.0-rc6\ncommit: ccb5efd37fb7c86364786e9137e22948751de7ed\nspec: 1.0.1-dev'},
      {
        runc: {version: '1.0.0-rc6', commit: 'ccb5efd37fb7c86364786e9137e22948751de7ed', spec: '1.0.1-dev'},
      },
    ],
    [
      {
        systemd: 'Version=systemd 237\nSystemState=degraded\nNFailedUnits=2',
        failed: '● a.service loaded failed failed A\nb.mount loaded failed failed B',
      },
      {
        systemd: {version: '237', state: 'degraded', failedUnits: ['a.service', 'b.mount']},
      },
    ],
    [{os: "PRETTY_NAME='Alpine Linux v3.9'"}, {os: 'Alpine Linux v3.9'}],
    [
      {buildkitd: 'buildkitd github.com/moby/buildkit dev abc.m'},
      {buildkit: {version: 'dev', commit: 'abc.m', package: 'github.com/moby/buildkit'}},
    ],
    [
      {buildkitd: 'buildkitd github.com/moby/buildkit 0.0.0+unknown '},
      {buildkit: {version: '0.0.0+unknown', package: 'github.com/moby/buildkit'}},
    ],
  ])('%j', (sections, expected) => {
    expect(parseInspection(answer(sections as unknown as Record<string, string>))).toMatchObject(expected);
  });

  test('a machine without runc has none', () => {
    expect(parseInspection(answer({runc: 'sh: runc: not found'}))).not.toHaveProperty('runc');
  });

  test('a machine without BuildKit is no archive', () => {
    expect(() => parseInspection(answer({buildkitd: 'sh: 1: buildkitd: not found'}))).toThrow(
      /no BuildKit was found in the VM/,
    );
  });
});

const RECORDINGS = '../shared/recordings';
const recorded = existsSync(RECORDINGS)
  ? ['v0.3.0', 'v0.5.0', 'v0.10.0', 'v0.11.0', 'v0.20.2', 'v0.32.2']
  : [];

test(`recorded workers (${recorded.length} releases)`, () => {
  for (const release of recorded) {
    const text = readFileSync(`${RECORDINGS}/${release}/workers.txt`, 'utf8');
    const verbose = /debug workers -v\n([\s\S]*?)\n--- exit 0/.exec(text)?.[1] ?? '';
    const [worker, ...others] = parseWorkers(verbose);
    expect(others).toEqual([]);
    expect(worker).toMatchObject({
      snapshotter: 'overlayfs',
      platforms: expect.arrayContaining(['linux/amd64']),
    });
    expect(worker?.labels['org.mobyproject.buildkit.worker.executor']).toBe('oci');
  }
});

describe('versionMismatch', () => {
  const found = (version: string) =>
    parseInspection(answer({buildkitd: `buildkitd github.com/moby/buildkit ${version} abc`}));
  test.each([
    ['v0.20.2', 'v0.20.2', false],
    ['0.20.2', 'v0.20.2', false],
    [undefined, 'v0.20.2', false],
    ['v0.10.3', 'v0.10.0', true],
    ['v0.21.0-rc1', 'v0.21.0', true],
    ['v0.20.2', 'dev', true],
  ])('asked %s, found %s: %s', (asked, real, warned) => {
    expect(versionMismatch(asked, found(real)) !== undefined).toBe(warned);
  });
});
