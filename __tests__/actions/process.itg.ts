import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {PlayedRunner} from '../report/runner-parser.ts';
import {BUSYBOX, contextDir, diskOf, ITG_STORE, leftovers} from '../support/machine.ts';
import {Runner} from '../support/runner.ts';

/** The hosted runner sends SIGTERM this long after SIGINT, and SIGKILL 2.5 s later. */
const CANCEL_PATIENCE_MS = 7_500;

let runner: Runner;
beforeEach(() => {
  runner = new Runner({store: ITG_STORE});
});
afterEach(() => runner.remove());

const inputs = (dockerfile: string, more: Record<string, string> = {}) => ({
  archive: diskOf('v0.20.2'),
  accelerator: 'tcg',
  context: contextDir({Dockerfile: dockerfile}),
  ...more,
});
const LONG = `${BUSYBOX}RUN echo begun; sleep 600\n`;
const BEGUN = /^#\d+ \S+ begun$/m;

async function post(): Promise<string> {
  runner.log = '';
  runner.start('post');
  expect(await runner.end()).toEqual({code: 0, signal: null});
  return runner.log;
}

test.each(['SIGINT', 'SIGTERM'] as const)(
  "%s in mid-build: cleaned up within the runner's patience, and post finds nothing",
  async signal => {
    runner.start('main', inputs(LONG));
    await runner.until(BEGUN);
    runner.kill(signal);
    // A machine that is emulated on a busy host gets the time that a machine with KVM does not need; the runner's own limit is the test.
    expect(await runner.end(CANCEL_PATIENCE_MS)).toEqual({code: 1, signal: null});
    expect(leftovers()).toEqual([]);
    expect(runner.log).toContain(`canceled by ${signal}`);
    expect(runner.fileCommands('output')).toMatchObject({result: 'failure', 'failure-kind': 'canceled'});
    expect(await post()).toContain('Nothing was left to clean up.');
  },
);

test('kill -9 of main: post removes what it left', async () => {
  runner.start('main', inputs(LONG));
  await runner.until(BEGUN);
  runner.kill('SIGKILL');
  expect(await runner.end()).toEqual({code: null, signal: 'SIGKILL'});
  expect(leftovers().length).toBeGreaterThan(0);
  expect(await post()).toMatch(/Cleaned up: .*removed \S*bka-/);
  expect(leftovers()).toEqual([]);
});

describe('bad input fails the step before anything is started', () => {
  test.each([
    [{cpus: 'many'}, /::error::cpus: "many" is not allowed/],
    [{'no-cache': 'yes'}, /no-cache: "yes" is not allowed; allowed: true or false/],
    [{contxt: 'x'}, /there is no input "contxt".*did you mean "context"/],
    [{archive: '/no/such'}, /no file or folder \/no\/such/],
    [{secrets: 'no-value-here'}, /secrets: an item is not of the form ID=VALUE/],
  ])('%j', async (more, message) => {
    runner.start('main', inputs('FROM scratch\n', more as unknown as Record<string, string>));
    expect(await runner.end()).toEqual({code: 1, signal: null});
    expect(runner.log.replaceAll('%0A', ' ')).toMatch(message);
    expect(runner.log).not.toContain('no-value-here');
    expect(runner.fileCommands('output')).toMatchObject({result: 'failure', 'failure-kind': 'infra'});
    expect(leftovers()).toEqual([]);
  });
});

test("docker's logins are masked before anything else is said of them", async () => {
  const auth = Buffer.from('me:hush-hush').toString('base64');
  writeFileSync(join(runner.dir, 'config.json'), JSON.stringify({auths: {'r.example': {auth}}}));
  const asked = {...inputs('FROM r.example/x\n'), archive: '/no/such'};
  runner.start('main', asked, {DOCKER_CONFIG: runner.dir});
  expect(await runner.end()).toEqual({code: 1, signal: null});
  expect(runner.log).toContain("the build gets docker's logins for r.example");
  expect(runner.log.split('\n').filter(line => line.includes('hush-hush') || line.includes(auth))).toEqual([
    '::add-mask::hush-hush',
    `::add-mask::${auth}`,
  ]);
});

test('expect: failure lets a failing build pass, and a hostile log stays a log', async () => {
  const hostile = `${BUSYBOX}RUN echo '::set-output name=pwned::1'; printf 'x ##[set-output name=pwned]1\\r::save-state name=post::{}\\n'; exit 3\n`;
  runner.start('main', {...inputs(hostile), expect: 'failure'});
  expect(await runner.end()).toEqual({code: 0, signal: null});
  const outputs = runner.fileCommands('output');
  expect(outputs).toMatchObject({result: 'failure', 'failure-kind': 'run-failed'});
  expect(outputs).not.toHaveProperty('pwned');
  for (const comparison of ['ordinal', 'icu'] as const) {
    const played = new PlayedRunner(comparison);
    played.write(runner.log);
    played.end();
    const taken = played.commands.map(command => command.name);
    expect(new Set(taken)).toEqual(new Set(['group', 'endgroup', 'stop-commands', 'warning']));
    expect(played.stopped).toBe(false);
  }
  expect(runner.log).not.toContain('##[set-output');
  expect(await post()).toContain('Nothing was left');
});
