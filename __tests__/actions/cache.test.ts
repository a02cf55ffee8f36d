import {describe, expect, test} from '@jest/globals';
import {openCache} from '../../src/actions/cache.ts';
import type {CacheMode} from '../../src/base/cache.ts';
import type {JobEvent} from '../../src/base/events.ts';

const SERVICE = {ACTIONS_RESULTS_URL: 'http://127.0.0.1:1/', ACTIONS_RUNTIME_TOKEN: 'token'};

function open(mode: CacheMode, env: NodeJS.ProcessEnv): {isUsed: boolean; said: readonly string[]} {
  const said: string[] = [];
  const emit = (event: JobEvent): void => void said.push((event as {message: string}).message);
  return {isUsed: openCache(mode, '/nowhere', env, emit) !== undefined, said};
}

const run = (eventName: string, refType = 'branch'): NodeJS.ProcessEnv => ({
  ...SERVICE,
  GITHUB_EVENT_NAME: eventName,
  GITHUB_REF_TYPE: refType,
});

describe('the Actions cache is used', () => {
  test.each<[CacheMode, string, string]>([
    ['true', 'push', 'branch'],
    ['true', 'pull_request', 'branch'],
    ['true', 'schedule', 'branch'],
    ['true', 'workflow_dispatch', 'tag'],
    ['always', 'release', 'tag'],
    ['always', 'push', 'tag'],
    ['always', 'pull_request_target', 'branch'],
    ['always', 'workflow_run', 'branch'],
  ])('with cache: %s in a run for %s of a %s', (mode, eventName, refType) => {
    expect(open(mode, run(eventName, refType))).toEqual({isUsed: true, said: []});
  });

  test('of version 1 as well', () => {
    expect(open('true', {ACTIONS_CACHE_URL: 'http://127.0.0.1:1/'}).isUsed).toBe(true);
  });
});

describe('the Actions cache is not used, and the log says why', () => {
  test.each<[CacheMode, string, string, string]>([
    ['true', 'release', 'tag', 'a cache is not safe in a release; "cache: always"'],
    ['true', 'push', 'tag', 'a cache is not safe in a push of a tag; "cache: always"'],
    [
      'true',
      'pull_request_target',
      'branch',
      'a cache is not safe in a run of pull_request_target; "cache: always"',
    ],
    ['true', 'workflow_run', 'branch', 'a cache is not safe in a run of workflow_run; "cache: always"'],
    ['never', 'push', 'branch', 'cache: never'],
    ['false', 'push', 'branch', 'cache: false'],
  ])('with cache: %s in a run for %s of a %s', (mode, eventName, refType, reason) => {
    const {isUsed, said} = open(mode, run(eventName, refType));
    expect(isUsed).toBe(false);
    expect(said).toEqual([expect.stringContaining(`the Actions cache is not used: ${reason}`)]);
  });
});

test('a runner without a cache service is nothing to speak of', () => {
  expect(open('true', {GITHUB_EVENT_NAME: 'push'})).toEqual({isUsed: false, said: []});
  expect(open('always', {})).toEqual({isUsed: false, said: []});
});
