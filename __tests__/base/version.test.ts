import {describe, expect, test} from '@jest/globals';
import {compareVersions, formatVersion, isAtLeast, parseVersion, version} from '../../src/base/version.ts';

describe('parseVersion', () => {
  test.each([
    ['v0.20.2', [0, 20, 2, '', 0]],
    ['0.3.0', [0, 3, 0, '', 0]],
    ['v0.21.0-rc1', [0, 21, 0, 'rc1', 0]],
    ['v0.20.2-3-gabc1234', [0, 20, 2, '', 3]],
    ['v0.20.2-3-gabc1234.m', [0, 20, 2, '', 3]],
    ['v0.21.0-rc2-17-gdeadbeef', [0, 21, 0, 'rc2', 17]],
    ['v0.12.4+unknown', [0, 12, 4, '', 0]],
  ])('%s', (text, [major, minor, patch, prerelease, commitsAfterTag]) => {
    expect(parseVersion(text as string)).toMatchObject({major, minor, patch, prerelease, commitsAfterTag});
  });

  test.each(['dev', '97437fdd7e32', '', 'v1', 'v0.20', 'latest', '0.0.0.0'])('%j is not a version', text => {
    expect(parseVersion(text)).toBeUndefined();
  });

  test('a literal that is no version throws', () =>
    expect(() => version('dev')).toThrow(/not a version: dev/));
});

test('order', () => {
  const sorted = [
    'v0.3.0',
    'v0.9.3',
    'v0.10.0',
    'v0.11.0-rc1',
    'v0.11.0-rc2',
    'v0.11.0-rc10',
    'v0.11.0',
    'v0.11.0-5-gabcdef0',
    'v0.11.1',
    'v1.0.0',
  ];
  const shuffled = [...sorted].reverse().map(version);
  expect(shuffled.sort(compareVersions).map(v => v.raw)).toEqual(sorted);
});

test.each([
  ['v0.11.0-rc1', 'v0.11.0', true],
  ['v0.10.6', 'v0.11.0', false],
  ['v0.20.2-3-gabc1234', 'v0.20.2', true],
  ['v0.20.2', 'v0.20.3', false],
])('%s is at least %s: %s', (a, b, expected) => expect(isAtLeast(version(a), version(b))).toBe(expected));

test('formatVersion', () => expect(formatVersion(version('0.21.0-rc1'))).toBe('v0.21.0-rc1'));
