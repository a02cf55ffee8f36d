import {expect, test} from '@jest/globals';
import type {Versions} from '../../src/base/result.ts';
import {isBuilt} from '../../src/build/outcome.ts';
import {createProgressReader} from '../../src/progress/reader.ts';

function run(code: number, log: string, timedOut = false) {
  const reader = createProgressReader({form: 'plain'});
  reader.write(Buffer.from(log));
  reader.end();
  return {exit: {code, signal: undefined}, trace: reader.trace(), timedOut};
}

const on = (version: string) => ({buildctl: {version}}) as Versions;
const DONE =
  '#1 [internal] load build definition from Dockerfile\n#1 DONE 0.1s\n\n#2 [1/1] COPY a /\n#2 DONE 0.1s\n';
const DEADLINE = `${DONE}error: context deadline exceeded\n`;
const FAILED = `${DONE}\n#3 [2/2] RUN false\n#3 ERROR: process "/bin/sh -c false" did not complete successfully: exit code: 1\nerror: context deadline exceeded\n`;

test.each([
  ['status 0', run(0, DONE), 'v0.20.2', true, true],
  ['status 1', run(1, DONE), 'v0.31.0', true, false],
  ['its tracing alone failed', run(1, DEADLINE), 'v0.31.0', true, true],
  ['its tracing alone failed, and a result is missing', run(1, DEADLINE), 'v0.31.1', false, false],
  ['another release', run(1, DEADLINE), 'v0.32.2', true, false],
  ['a fork', run(1, DEADLINE), 'mine', true, false],
  ['a step failed', run(1, FAILED), 'v0.31.0', true, false],
  ['our own time limit', run(1, DEADLINE, true), 'v0.31.0', true, false],
])('%s', (_what, one, version, hasResults, expected) =>
  expect(isBuilt(one, on(version), hasResults)).toBe(expected),
);
