import {describe, expect, test} from '@jest/globals';
import {elfProblem, isBuildkitBinary} from '../../src/base/derive.ts';
import {parseVersionLine} from '../../src/forge/source/binaries.ts';
import {knownCommit} from '../../src/forge/source/commits.ts';
import {
  goBuildArgs,
  goBuildEnv,
  neededGo,
  parseDownload,
  wrapperGoMod,
} from '../../src/forge/source/gomodule.ts';
import {compareGo, toolchainFor} from '../../src/forge/source/gotoolchain.ts';

const UPSTREAM = `module github.com/moby/buildkit

go 1.22.0

require (
\tgithub.com/a/b v1.0.0
)

replace github.com/a/b => github.com/c/d v1.1.0
exclude github.com/e/f v0.1.0
`;

test('the wrapper module repeats upstream and requires it', () => {
  const made = wrapperGoMod(UPSTREAM, 'v0.20.2');
  expect(made).toMatch(/^module buildkit-archive\.invalid\/wrapper\n/);
  expect(made).toContain('replace github.com/a/b => github.com/c/d v1.1.0');
  expect(made).toContain('exclude github.com/e/f v0.1.0');
  expect(made).toMatch(/require github\.com\/moby\/buildkit v0\.20\.2\n$/);
});

test('the build tells the binaries what they are', () => {
  expect(goBuildArgs('/go', '/out', 'v1.2.3', 'abc')).toEqual([
    '/go',
    'build',
    '-mod=mod',
    '-trimpath',
    '-ldflags',
    '-s -w -X github.com/moby/buildkit/version.Version=v1.2.3 -X github.com/moby/buildkit/version.Revision=abc',
    '-o',
    '/out/',
    'github.com/moby/buildkit/cmd/buildkitd',
    'github.com/moby/buildkit/cmd/buildctl',
  ]);
  expect(goBuildArgs('/go', '/out', 'v1.2.3', undefined).join(' ')).not.toContain('Revision');
});

test("the build is linux/amd64 whatever the user's settings, and keeps their proxy", () => {
  const env = goBuildEnv({GOOS: 'darwin', GOFLAGS: '-mod=vendor', GOPROXY: 'https://p.test'});
  expect(env).toMatchObject({
    GOOS: 'linux',
    GOARCH: 'amd64',
    GOFLAGS: '',
    CGO_ENABLED: '0',
    GOPROXY: 'https://p.test',
  });
});

test.each([
  ['go 1.22.0\n', '1.22.0'],
  ['module x\n\ngo 1.13\n', '1.13'],
  ['module x\n', '1.13'],
])('the Go that %j needs', (goMod, expected) => {
  expect(neededGo(goMod)).toBe(expected);
});

test.each([
  ['1.19.8', '1.22.0', -1],
  ['1.22', '1.22.0', 0],
  ['1.26.3', '1.9', 1],
])('Go %s against %s', (a, b, sign) => {
  expect(Math.sign(compareGo(a, b))).toBe(sign);
});

test('the pinned toolchain is fetched unless a release needs a newer one', () => {
  expect(compareGo(toolchainFor('1.20'), '1.26')).toBeGreaterThanOrEqual(0);
  expect(toolchainFor('1.99')).toBe('1.99.0');
  expect(toolchainFor('1.99.2')).toBe('1.99.2');
});

describe('go mod download -json', () => {
  test('with and without an origin', () => {
    expect(parseDownload('{"Version":"v1.0.0","Dir":"/m"}')).toEqual({
      version: 'v1.0.0',
      dir: '/m',
      commit: undefined,
    });
    expect(parseDownload('{"Version":"v1.0.0","Dir":"/m","Origin":{"Hash":"abc"}}').commit).toBe('abc');
  });
  test('with an error', () => {
    expect(() => parseDownload('{"Error":"no such version"}')).toThrow('no such version');
  });
});

test.each([
  [
    'buildkitd github.com/moby/buildkit v0.20.2 97437fdd7e32f29bb80288d800cd4ffcb34e1c15',
    {version: 'v0.20.2', commit: '97437fdd7e32f29bb80288d800cd4ffcb34e1c15'},
  ],
  ['buildkitd github.com/moby/buildkit v0.3.0 663f185.m', {version: 'v0.3.0', commit: '663f185'}],
  ['buildkitd github.com/moby/buildkit 0.0.0+unknown', {}],
  ['', {}],
])('the version line %j', (line, expected) => {
  expect(parseVersionLine(line)).toEqual(expected);
});

test('commits of archived releases are known', () => {
  expect(knownCommit('v0.20.2')).toBe('97437fdd7e32f29bb80288d800cd4ffcb34e1c15');
  expect(knownCommit('v9.9.9')).toBeUndefined();
  expect(knownCommit('constructor')).toBeUndefined();
});

function elf(bits: number, machine: number): Buffer {
  const head = Buffer.alloc(20);
  head.writeUInt32BE(0x7f454c46);
  head[4] = bits === 64 ? 2 : 1;
  head.writeUInt16LE(machine, 18);
  return head;
}

test.each([
  ['amd64', elf(64, 62), undefined],
  ['arm64', elf(64, 183), 'ELF machine 183'],
  ['i386', elf(32, 3), '32-bit'],
  ['a script', Buffer.from('#!/bin/sh\nexec true  '), 'no Linux executable'],
  ['a short file', Buffer.from('x'), 'no Linux executable'],
])('an executable for %s', (_name, head, problem) => {
  if (problem === undefined) expect(elfProblem(head)).toBeUndefined();
  else expect(elfProblem(head)).toContain(problem);
});

test.each([
  ['buildkitd', true],
  ['buildkit-qemu-aarch64', true],
  ['buildkit-', false],
  ['runc', false],
])('%s belongs into the disk: %s', (name, expected) => {
  expect(isBuildkitBinary(name)).toBe(expected);
});
