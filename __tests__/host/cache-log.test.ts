import {describe, expect, test} from '@jest/globals';
import {CacheLog, isTaken} from '../../src/host/cache-log.ts';

function read(lines: readonly string[], chunkBytes = 7): {log: CacheLog; heard: string[]} {
  const heard: string[] = [];
  const log = new CacheLog(line => heard.push(line));
  const text = lines.map(line => `${line}\n`).join('');
  for (let at = 0; at < text.length; at += chunkBytes) log.write(text.slice(at, at + chunkBytes));
  return {log, heard};
}

describe('what @actions/cache prints', () => {
  test.each<[string, readonly string[], string | undefined]>([
    ['nothing wrong', ['::debug::Resolved Keys:', 'Cache restored successfully'], undefined],
    [
      'a warning',
      ['::warning::Failed to restore: getCacheEntry failed: Cache service responded with 503'],
      'getCacheEntry failed: Cache service responded with 503',
    ],
    [
      'an error',
      ['::error::Failed to save: Cache service responded with 500'],
      'Cache service responded with 500',
    ],
    [
      'a refusal that is only information',
      [
        'Failed to save: Unable to reserve cache with key k, another job may be creating this cache. More details: Cache already exists. Scope: main',
      ],
      'Cache already exists. Scope: main',
    ],
    [
      'a refusal whose cause is only for debugging',
      [
        '::debug::Failed to reserve cache: Error: Failed to CreateCacheEntry: Received non-retryable error: Failed request: (409) Conflict%0Amore',
        'Failed to save: Unable to reserve cache with key k, another job may be creating this cache.',
      ],
      'Failed to CreateCacheEntry: Received non-retryable error: Failed request: (409) Conflict',
    ],
  ])('%s', (_, lines, failure) => {
    expect(read(lines).log.failure).toBe(failure);
  });

  test.each<[string, number | undefined]>([
    ['Cache Size: ~224 MB (234107478 B)', 234_107_478],
    ['::debug::File Size: 42', 42],
    ['File Size: large', undefined],
  ])('%s has the size %s', (line, sizeBytes) => {
    expect(read([line]).log.sizeBytes).toBe(sizeBytes);
  });

  test('secrets are taken out of all that follows, and commands are only read', () => {
    const {heard} = read([
      '::add-mask::s3cret%25',
      '::debug::GET https://x/?sig=s3cret%25',
      '::warning title=x::a%0Ab',
    ]);
    expect(heard).toEqual(['GET https://x/?sig=***', 'a\nb']);
  });

  test.each([
    ['Failed request: (409) Conflict: cache entry already exists', true],
    ['Cache already exists. Scope: main', true],
    ['already exist', true],
    ['code already_exists', true],
    ['Failed request: (403) Forbidden', false],
    ['', false],
  ])('%j is taken: %s', (reason, taken) => {
    expect(isTaken(reason)).toBe(taken);
  });
});
