import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import type {JobEvent} from '../../src/base/events.ts';
import {prepareBuild} from '../../src/build/build.ts';
import {localPorts} from '../../src/host/local.ts';
import {parseInputs} from '../../src/plan/inputs.ts';
import {makePlan} from '../../src/plan/plan.ts';

let dir: string;
let events: JobEvent[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'test-prepare-'));
  events = [];
});
afterEach(() => rmSync(dir, {recursive: true}));

function prepare(dockerfile: string, expected: string | undefined, raw: Record<string, string> = {}) {
  writeFileSync(join(dir, 'Dockerfile'), dockerfile);
  const plan = makePlan(parseInputs({archive: 'a.qcow2', ...raw}), {workspaceDir: dir, storeDir: dir});
  return prepareBuild({...localPorts, emit: event => events.push(event)}, plan.build, expected);
}

const HEREDOC = 'FROM busybox\nRUN <<EOF\necho\nEOF\n';

describe('what the expected release cannot do of the Dockerfile', () => {
  test('is a notice at its line', async () => {
    await prepare(HEREDOC, 'v0.9.0');
    expect(events).toEqual([
      expect.objectContaining({
        kind: 'notice',
        message: expect.stringContaining('v0.10.0'),
        location: expect.objectContaining({file: 'Dockerfile', startLine: 2}),
      }),
    ]);
  });

  test('is an error when that is wished', async () => {
    await expect(prepare(HEREDOC, 'v0.9.0', {preflight: 'error'})).rejects.toThrow(
      /^Dockerfile:2: .*v0\.10\.0/,
    );
  });

  test.each([
    ['off', 'v0.9.0'],
    ['notice', 'v0.10.0'],
    ['error', 'v0.10.0'],
    ['error', undefined],
    ['error', 'dev'],
  ])('preflight: %s with %s says nothing', async (preflight, expected) => {
    await prepare(HEREDOC, expected, {preflight});
    expect(events).toEqual([]);
  });

  test('a syntax line brings a frontend of its own', async () => {
    await prepare(`# syntax=docker/dockerfile:1\n${HEREDOC}`, 'v0.9.0', {preflight: 'error'});
    expect(events.filter(event => event.kind === 'notice' && event.message.includes('v0.10.0'))).toEqual([]);
  });
});

describe('what cannot be done fails before anything is started', () => {
  test.each([
    [
      'an output type that the release lacks',
      {outputs: 'type=tar,dest=x.tar'},
      'v0.4.0',
      /outputs: .*v0\.5\.0/,
    ],
    [
      'a secret file that is not there',
      {'secret-files': 'a=nope'},
      undefined,
      /secret-files: there is no file .*nope/,
    ],
    [
      'a file where a folder should be',
      {outputs: 'type=local,dest=Dockerfile'},
      undefined,
      /dest=.*Dockerfile is a file/,
    ],
    ['a context that is not there', {context: 'nope'}, undefined, /context .*nope does not exist/],
  ])('%s', async (_name, raw, expected, message) => {
    await expect(
      prepare('FROM scratch\n', expected, raw as unknown as Record<string, string>),
    ).rejects.toThrow(message);
  });
});

describe('the daemon, before anything is booted', () => {
  const scratch = (raw: Record<string, string>, expected?: string) =>
    prepare('FROM scratch\n', expected, raw);

  test('a configuration that is no TOML is refused with its line', async () => {
    writeFileSync(join(dir, 'b.toml'), 'debug = true\n[registry\n');
    const error = await scratch({'buildkitd-config': 'b.toml'}).catch(e => e);
    expect(error.message).toMatch(/^buildkitd-config: b\.toml: line 2, column \d+: .*"\[registry"$/);
    expect(error).toMatchObject({name: 'UserError', input: 'buildkitd-config', stage: 'inputs'});
    await expect(scratch({'buildkitd-config-inline': 'a = 1\n\nb ='})).rejects.toThrow(
      /^buildkitd-config-inline: line 3/,
    );
  });

  test('a file that is not there', async () => {
    await expect(scratch({'buildkitd-config': 'none.toml'})).rejects.toThrow(
      `buildkitd-config: there is no file ${dir}/none.toml`,
    );
    await expect(scratch({'buildkitd-config': '.'})).rejects.toThrow('there is no file');
  });

  test.each([
    [{'buildkitd-flags': '--cdi-disabled'}, '--cdi-disabled'],
    [{'registry-mirrors': 'a.example/b'}, 'with a path'],
  ])('what would change the result on the expected release: %j', async (raw, message) => {
    await expect(scratch(raw as Record<string, string>, 'v0.11.0')).rejects.toThrow(message);
    await expect(scratch(raw as Record<string, string>)).resolves.toBeDefined();
  });

  test('keys that the expected release does not know are warned of', async () => {
    const inline = '[cdi]\ndisabled = true\n[registry.r]\nca = ["none.pem"]';
    await scratch({'buildkitd-config-inline': inline}, 'v0.12.5');
    expect(events.map(event => (event.kind === 'warning' ? event.message : event.kind))).toEqual([
      'buildkitd-config-inline: there is no file none.pem on this machine; the daemon will look for it in the VM',
      'buildkitd-config-inline: BuildKit v0.12.5 does not read the key cdi.disabled; v0.20.0 is the first that does',
    ]);
  });

  test('registries whose logins the build gets are named, the logins are not', async () => {
    writeFileSync(join(dir, 'Dockerfile'), 'FROM r.example/a\n');
    const plan = makePlan(parseInputs({archive: 'a.qcow2'}), {workspaceDir: dir, storeDir: dir});
    const logins = {
      find: async () => ({kind: 'password', username: 'me', password: 'hush'}) as const,
      registries: async () => ['r.example'],
    };
    const ports = {...localPorts, logins, emit: (event: JobEvent) => events.push(event)};
    const prepared = await prepareBuild(ports, plan.build, undefined);
    expect([...prepared.logins.keys()]).toEqual(['r.example']);
    expect(events).toEqual([{kind: 'notice', message: "the build gets docker's logins for r.example"}]);
  });
});
