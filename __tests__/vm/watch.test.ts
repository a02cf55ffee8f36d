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
  patienceMs: 60_000,
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
    expect(await watchBoot(ports, {...options, child})).toMatchObject({
      kind: 'deadline',
      seconds: 60,
      isTalking: true,
    });
  });

  test.each([
    ['silent before it', 5_000, 30],
    ['silent behind it', 40_000, 60],
    ['talking to the end', 1_000_000, 100],
  ])('with less patience: %s', async (_, consoleUntilMs, seconds) => {
    const {ports, child} = scene({consoleUntilMs});
    const patient = {...options, silenceLimitMs: undefined, bootTimeoutMs: 100_000, patienceMs: 30_000};
    expect(await watchBoot(ports, {...patient, child})).toMatchObject({
      kind: 'deadline',
      seconds,
      isTalking: seconds === 100,
    });
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
    [
      {kind: 'deadline', seconds: 300, isTalking: false} as const,
      /did not come up within 300 s \(boot-timeout\)/,
    ],
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

describe('stuckLine', () => {
  test.each([
    // initramfs-tools 0.122 (Ubuntu 16.04) and 0.142 (Debian 12)
    ['Gave up waiting for root device.  Common problems:', undefined],
    ['Gave up waiting for root file system device.  Common problems:', undefined],
    ['ALERT!  /dev/sda1 does not exist.  Dropping to a shell!', undefined],
    ['\r\n\r\n(initramfs) ', '(initramfs)'],
    // dracut
    [
      'Generating "/run/initramfs/rdsosreport.txt"\r\nEntering emergency mode. Exit the shell to continue.',
      'Entering emergency mode. Exit the shell to continue.',
    ],
    // mkinitfs of Alpine
    [
      'Mounting root: failed.\ninitramfs emergency recovery shell launched. Type',
      'initramfs emergency recovery shell launched. Type',
    ],
    // systemd 229 (Ubuntu 16.04), 237 and later
    ['Welcome to emergency mode! After logging in, type "journalctl -xb" to view', undefined],
    ['You are in emergency mode. After logging in', undefined],
    ['You are in rescue mode. After logging in', undefined],
    [
      '\r\nCannot open access to console, the root account is locked.\r\n',
      'Cannot open access to console, the root account is locked.',
    ],
    [
      'Give root password for maintenance\r\n(or press Control-D to continue): ',
      'Give root password for maintenance',
    ],
    // SeaBIOS, GRUB
    ['Boot failed: could not read the boot disk\r\n\r\nNo bootable device.', 'No bootable device.'],
    ['error: unknown filesystem.\r\nEntering rescue mode...\r\ngrub rescue> ', 'grub rescue>'],
    [
      '   Minimal BASH-like line editing is supported. For the first word',
      'Minimal BASH-like line editing is supported. For the first word',
    ],
    [
      'error: no such device: 0.\r\nerror: you need to load the kernel first.',
      'error: you need to load the kernel first.',
    ],
  ])('%j ends a boot', (console, line) => expect(stuckLine(console)).toBe(line ?? console));

  test.each([
    '[  OK  ] Started panic-free.service',
    // GRUB boots on without what `search` did not find.
    'error: no such device: 3f1c-77aa.\r\nLoading Linux 6.1 ...',
    'Boot failed: not a bootable disk\r\nBooting from Hard Disk...',
    'run-init: /sbin/init of (initramfs) is left',
    '[  OK  ] Stopped target Emergency Mode.',
    '',
  ])('%j does not', console => expect(stuckLine(console)).toBeUndefined());
});
