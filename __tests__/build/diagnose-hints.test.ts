import {describe, expect, test} from '@jest/globals';
import {version} from '../../src/base/version.ts';
import {type Diagnosis, diagnose} from '../../src/build/diagnose/diagnose.ts';
import {packedCases, traceOf} from './diagnose-cases.ts';

const cases = new Map(packedCases().map(one => [`${one.release} ${one.scenario}`, one]));

function answer(name: string, knowsDockerfile = true): Diagnosis {
  const one = cases.get(name);
  const found =
    one &&
    diagnose({
      trace: traceOf(one),
      exitCode: 1,
      version: version(one.release),
      ...(knowsDockerfile && one.dockerfile !== undefined && {dockerfile: one.dockerfile}),
    });
  if (!found) throw new Error(`no captured failure ${name}`);
  return found;
}

describe('what to do', () => {
  test.each([
    ['v0.8.3 copy-from-near-stage', 'No stage is named "bulider"', 'Did you mean "builder"?'],
    ['v0.8.3 cycle', 'Stage "b" stands below line 1', 'move the stage up'],
    ['v0.8.3 copy-outside', '".."', 'higher folder as context'],
    ['v0.8.3 copy-chown-nouser', 'looked up in /etc/passwd', '--chown=1000:1000'],
    ['v0.8.3 instr-cont', 'Line 4 goes on in line 5', 'backslash'],
    ['v0.8.3 secret-empty-read', 'no secret "tok"', 'secrets: tok='],
    ['v0.8.3 shell-missing', 'no shell (/bin/sh)', 'exec form'],
    ['v0.8.3 user-missing', 'no user "nosuch"', 'USER'],
    ['v0.8.3 bad-platform-opt', 'OS/ARCHITECTURE', 'linux/amd64'],
    ['v0.8.3 exec-format', 'processor architecture'],
    ['v0.8.3 push-denied', 'Log in'],
    ['v0.8.3 from-429', 'mirror'],
    ['v0.14.0 flag-unknown-run', 'Did you mean --mount?'],
    ['v0.31.0 flag-unknown-copy', 'Did you mean --chown?'],
    ['v0.31.0 add-http', 'tracing', 'v0.32.0'],
  ])('%s', (name, ...words) => {
    const {hint} = answer(name);
    for (const word of words) expect(hint).toContain(word);
  });
});

describe('what happened', () => {
  test.each([
    ['v0.8.3 copy-dir-over-file', '"/f" is a file in the image'],
    ['v0.14.0 copy-dir-over-file', '"/f" is a file in the image'],
    ['v0.8.3 workdir-file', '"/f" is a file in the image'],
    ['v0.8.3 git-context-nf', 'http://127.0.0.1:5056/nope.git is no Git repository'],
    ['v0.14.0 add-git-nf', 'http://127.0.0.1:5056/nope.git is no Git repository'],
    ['v0.8.3 env-bad', 'ENV must have two arguments'],
    ['v0.8.3 secret-required', 'no secret "tok"'],
    ['v0.14.0 dockerfile-is-dir', 'Dockerfile is a folder'],
  ])('%s', (name, words) => expect(answer(name).summary).toContain(words));
});

test('a here-document is seen in the excerpt, where there is no Dockerfile', () => {
  const {kind, lines, worksFrom} = answer('v0.8.3 heredoc-mid', false);
  expect({kind, lines, worksFrom}).toEqual({
    kind: 'unsupported-feature',
    lines: {startLine: 4, endLine: 5},
    worksFrom: 'v0.10.0',
  });
});

test('an error after the last step is that of tracing in v0.31 alone', () => {
  const one = cases.get('v0.31.0 add-http');
  const kinds = ['v0.31.1', 'v0.32.2', 'v0.20.2'].map(
    name => one && diagnose({trace: traceOf(one), exitCode: 1, version: version(name)})?.kind,
  );
  expect(kinds).toEqual(['infra', 'timeout', 'timeout']);
});
