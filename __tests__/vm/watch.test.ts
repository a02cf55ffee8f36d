import {describe, expect, test} from '@jest/globals';
import type {Child, Clock, Exit, Files, Ssh, SshLine} from '../../src/base/ports.ts';
import {bootError, stuckLine, watchBoot} from '../../src/vm/watch.ts';

const line: SshLine = {close: () => undefined};

/** A clock on which a sleep takes no time; the script says what is so at which millisecond. */
function scene(script: {
  bannerAtMs?: number;
  consoleUntilMs?: number;
  diesAtMs?: number;
  consoleText?: string;
}) {
  let nowMs = 0;
  let die: (exit: Exit) => void = () => undefined;
  const exited = new Promise<Exit>(resolve => {
    die = resolve;
  });
  const clock: Clock = {
    nowMs: () => nowMs,
    sleep: async ms => {
      nowMs += ms;
      if (nowMs >= (script.diesAtMs ?? Number.POSITIVE_INFINITY)) die({code: 1, signal: undefined});
      await new Promise(resolve => setImmediate(resolve));
    },
  };
  const files = {
    size: async () => Math.min(nowMs, script.consoleUntilMs ?? 0),
    readTail: async () => script.consoleText ?? '',
  } as Partial<Files> as Files;
  const ssh = {
    knock: async () => (nowMs >= (script.bannerAtMs ?? Number.POSITIVE_INFINITY) ? line : undefined),
  } as Partial<Ssh> as Ssh;
  const child = {exited, stderrTail: () => 'qemu: boom'} as Partial<Child> as Child;
  return {ports: {clock, files, ssh}, child, elapsedMs: () => nowMs};
}

const options = {
  port: 1,
  consolePath: '/c',
  bootTimeoutMs: 60_000,
  silenceLimitMs: 10_000 as number | undefined,
  signal: new AbortController().signal,
};

describe('watchBoot', () => {
  test('the banner ends the wait', async () => {
    const {ports, child} = scene({bannerAtMs: 5_000, consoleUntilMs: 5_000});
    expect(await watchBoot(ports, {...options, child})).toBe(line);
  });

  test('a banner counts also when the console is silent throughout', async () => {
    const {ports, child} = scene({bannerAtMs: 9_000});
    expect(await watchBoot(ports, {...options, child})).toBe(line);
  });

  test('a console that stops talking, as after a boot loader, is no sign of life', async () => {
    const {ports, child, elapsedMs} = scene({consoleUntilMs: 3_000});
    expect(await watchBoot(ports, {...options, child})).toMatchObject({kind: 'silent'});
    expect(elapsedMs()).toBeGreaterThan(12_000);
    expect(elapsedMs()).toBeLessThan(15_000);
  });

  test('a console that goes on talking is waited for until the deadline', async () => {
    const {ports, child} = scene({consoleUntilMs: 1_000_000});
    expect(await watchBoot(ports, {...options, child})).toMatchObject({kind: 'deadline', seconds: 60});
  });

  test('a console that says that the boot is over ends the wait', async () => {
    const consoleText =
      '[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n[ 1.3] CPU: 0';
    const {ports, child} = scene({consoleUntilMs: 1_000_000, consoleText});
    const failure = await watchBoot(ports, {...options, child});
    expect(failure).toEqual({
      kind: 'stuck',
      line: 'Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)',
    });
    expect('kind' in failure && bootError(failure, consoleText, 1000).message).toMatch(
      /^the VM cannot boot: Kernel panic/,
    );
  });

  test('without a silence limit only the deadline counts', async () => {
    const {ports, child} = scene({});
    expect(await watchBoot(ports, {...options, silenceLimitMs: undefined, child})).toMatchObject({
      kind: 'deadline',
    });
  });

  test("QEMU's death ends the wait at once, with what it said", async () => {
    const {ports, child, elapsedMs} = scene({diesAtMs: 1_000});
    expect(await watchBoot(ports, {...options, child})).toEqual({kind: 'died', detail: 'qemu: boom'});
    expect(elapsedMs()).toBeLessThan(2_000);
  });
});

describe('bootError', () => {
  const lines = Array.from({length: 40}, (_, i) => `line ${i}`).join('\n');
  test.each([
    [{kind: 'died', detail: 'no accelerator'} as const, /QEMU ended before the VM was up: no accelerator/],
    [{kind: 'silent', seconds: 30} as const, /no sign of life: nothing new on the console for 30 s/],
    [{kind: 'deadline', seconds: 300} as const, /did not come up within 300 s \(boot-timeout\)/],
  ])('%j', (failure, message) => {
    const error = bootError(failure, lines, 300_000);
    expect(error.message).toMatch(message);
    expect(error.message).toContain('line 39');
    expect(error.message).not.toContain('line 3\n');
    expect(error.hint).toBeTruthy();
  });

  test('an empty console is said to be empty', () =>
    expect(bootError({kind: 'silent', seconds: 1}, ' \n', 1).message).toContain(
      'The serial console is empty.',
    ));
});

test.each([
  [
    'ALERT!  /dev/sda1 does not exist.  Dropping to a shell!',
    'ALERT!  /dev/sda1 does not exist.  Dropping to a shell!',
  ],
  ['You are in emergency mode. After logging in', 'You are in emergency mode. After logging in'],
  ['[  OK  ] Started panic-free.service', undefined],
  ['', undefined],
])('stuckLine %j', (console, line) => expect(stuckLine(console)).toBe(line));
