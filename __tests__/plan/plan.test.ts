import {describe, expect, test} from '@jest/globals';
import {parseInputs} from '../../src/plan/inputs.ts';
import {makePlan, printablePlan} from '../../src/plan/plan.ts';

const place = {workspaceDir: '/ws', storeDir: '/store'};
const plan = (raw: Record<string, string>) => makePlan(parseInputs({archive: 'a.qcow2', ...raw}), place);

describe('paths', () => {
  test.each([
    [{}, {kind: 'local', dir: '/ws'}, {dir: '/ws', name: 'Dockerfile'}],
    [{context: 'sub/'}, {kind: 'local', dir: '/ws/sub'}, {dir: '/ws/sub', name: 'Dockerfile'}],
    [
      {context: 'sub', file: 'ci/x.Dockerfile'},
      {kind: 'local', dir: '/ws/sub'},
      {dir: '/ws/ci', name: 'x.Dockerfile'},
    ],
    [
      {context: '/abs', file: '../up/D'},
      {kind: 'local', dir: '/abs'},
      {dir: '/up', name: 'D'},
    ],
    [
      {context: 'https://h/r.git#main:dir'},
      {kind: 'remote', url: 'https://h/r.git#main:dir'},
      {name: 'Dockerfile'},
    ],
    [{context: 'git@h:r.git', file: 'a/D'}, {kind: 'remote', url: 'git@h:r.git'}, {name: 'a/D'}],
  ])('%j', (raw, context, dockerfile) => {
    const {request} = plan(raw as Record<string, string>).build;
    expect(request.context).toEqual(context);
    expect(request.dockerfile).toEqual(dockerfile);
  });

  test('results and secret files are relative to the workspace', () => {
    const {request} = plan({outputs: 'type=local,dest=./out', 'secret-files': 'a=keys/a'}).build;
    expect(request.outputs[0]?.dest).toBe('/ws/out');
    expect(request.secrets).toEqual([{id: 'a', kind: 'file', path: '/ws/keys/a'}]);
  });
});

describe('what does not go together', () => {
  test.each([
    [{archive: ''}, /no archive is named/],
    [{'buildkit-version': 'newest'}, /buildkit-version: "newest" is not a version/],
    [
      {archive: '', 'buildkit-version': '0.20', 'debug-port': 'auto'},
      /debug-port: the archive v0\.20\.2 has no debugger; those that have one: v0\.12\.4-debug, v0\.12\.5-debug/,
    ],
    [{secrets: 'a=1', 'secret-files': 'a=b'}, /the ID "a" is given twice/],
  ])('%j', (raw, message) => {
    expect(() => plan(raw as Record<string, string>)).toThrow(message);
  });
});

describe('the debugger', () => {
  test.each([
    ['is not published unasked', {}, undefined],
    ["of an archive of one's own", {'debug-port': '4000'}, {hostPort: 4000, guestPort: 2345}],
    [
      'of a published archive',
      {archive: '', 'buildkit-version': 'v0.12.5-debug', 'debug-port': 'auto'},
      {hostPort: 0, guestPort: 2345},
    ],
  ])('%s', (_name, raw, debug) => {
    expect(plan(raw as Record<string, string>).vm.debug).toEqual(debug);
  });
});

test('a printed plan holds no secret', () => {
  const text = JSON.stringify(printablePlan(plan({secrets: 'token=hunter2'})));
  expect(text).toContain('"id":"token"');
  expect(text).not.toContain('hunter2');
});
