import {describe, expect, test} from '@jest/globals';
import {cacheDecision, diskCacheKey, documentsCacheKey} from '../../src/archive/store-policy.ts';
import type {CacheMode} from '../../src/base/cache.ts';

describe('whether the Actions cache is used', () => {
  test.each<[CacheMode, string | undefined, string | undefined, boolean]>([
    ['true', 'push', 'branch', true],
    ['true', 'push', 'tag', false],
    ['true', 'push', undefined, true],
    ['true', 'pull_request', 'branch', true],
    ['true', 'pull_request_target', 'branch', false],
    ['true', 'workflow_run', 'branch', false],
    ['true', 'release', 'tag', false],
    ['true', 'schedule', 'branch', true],
    ['true', 'workflow_dispatch', 'branch', true],
    ['true', 'merge_group', 'branch', true],
    ['true', undefined, undefined, true],
    ['always', 'release', 'tag', true],
    ['always', 'pull_request_target', 'branch', true],
    ['always', 'workflow_run', 'branch', true],
    ['always', 'push', 'tag', true],
    ['never', 'push', 'branch', false],
    ['false', 'push', 'branch', false],
    ['false', 'release', 'tag', false],
  ])('cache: %s, event %s, ref type %s: %s', (mode, eventName, refType, use) => {
    expect(cacheDecision(mode, {eventName, refType}).use).toBe(use);
  });

  test('the reason names the run and the way out', () => {
    expect(cacheDecision('true', {eventName: 'workflow_run', refType: 'branch'}).reason).toBe(
      'a cache is not safe in a run of workflow_run; "cache: always" uses it nevertheless',
    );
  });
});

describe.each([
  ['a disk', diskCacheKey, 'disk'],
  ["an image's documents", documentsCacheKey, 'documents'],
])('the key of %s', (_, keyOf, name) => {
  const digits = 'ab'.repeat(32);

  test('is made of the digest alone', () => {
    expect(keyOf(`sha256:${digits}`)).toBe(`buildkit-archive-${name}-1-sha256-${digits}`);
    expect(keyOf(`sha512:${digits}${digits}`)).toBe(`buildkit-archive-${name}-1-sha512-${digits}${digits}`);
  });

  test('has neither a comma nor more than 512 characters, which the service refuses', () => {
    const key = keyOf(`sha512:${digits}${digits}`);
    expect(key).not.toContain(',');
    expect(key.length).toBeLessThanOrEqual(512);
  });

  test.each([
    '',
    'v0.20.2',
    'latest',
    digits,
    `sha256:${digits}0`,
    `sha256:${digits.toUpperCase()}`,
    `md5:${digits}`,
  ])('is refused for %j', digest => {
    expect(() => keyOf(digest)).toThrow(RangeError);
  });
});
