import {mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, describe, expect, test} from '@jest/globals';
import type {Child} from '../../src/base/ports.ts';
import {cleanUp} from '../../src/host/cleanup.ts';
import {localFiles} from '../../src/host/files.ts';
import {kvmAt} from '../../src/host/kvm.ts';
import {killByIdentity, localProcesses, startTicksOf} from '../../src/host/processes.ts';

let children: Child[] = [];
afterEach(async () => {
  for (const child of children) await child.stop(100);
  children = [];
});

const sleep = async (): Promise<Child> => {
  const child = await localProcesses.start({file: 'sleep', args: ['60']});
  children.push(child);
  return child;
};

describe('a child', () => {
  test('has an identity, and ends when it is stopped', async () => {
    const child = await sleep();
    expect(child.startTicks).toMatch(/^\d+$/);
    expect(await startTicksOf(child.pid)).toBe(child.startTicks);
    await child.stop(1_000);
    expect(await child.exited).toEqual({code: undefined, signal: 'SIGTERM'});
    expect(await startTicksOf(child.pid)).toBeUndefined();
  });

  test('that does not listen to SIGTERM is killed', async () => {
    const child = await localProcesses.start({
      file: 'sh',
      args: ['-c', 'trap "" TERM; echo ready >&2; sleep 3 & wait; wait'],
    });
    while (!child.stderrTail().includes('ready')) await new Promise(resolve => setTimeout(resolve, 10));
    await child.stop(100);
    expect((await child.exited).signal).toBe('SIGKILL');
  });

  test('inherits no inputs and no tokens', async () => {
    process.env.INPUT_SECRETS = 'a=hunter2';
    process.env.GITHUB_TOKEN = 'hunter2';
    try {
      const {stdout} = await localProcesses.output({file: 'env', args: [], env: {OWN: 'x'}});
      expect(stdout).not.toContain('hunter2');
      expect(stdout).toContain('OWN=x');
      expect(stdout).toMatch(/^PATH=/m);
    } finally {
      delete process.env.INPUT_SECRETS;
      delete process.env.GITHUB_TOKEN;
    }
  });

  test('that cannot be started is an error', async () => {
    await expect(localProcesses.start({file: '/no/such/program', args: []})).rejects.toThrow();
    await expect(localProcesses.output({file: 'sleep', args: ['60']}, {timeoutMs: 50})).rejects.toThrow(
      /did not end within 50 ms/,
    );
  });
});

describe('sharedMemoryPath', () => {
  // memfd_create is 319 in arch/x86/entry/syscalls/syscall_64.tbl; 4 MiB with one page in it.
  const HOLDER =
    'my $n = "x"; open(my $f, "+<&=", syscall(319, $n, 0)); truncate $f, 4 << 20; syswrite $f, "y" x 4096; sleep 60';

  test("leads to the memory of that size, whose holes are none of a copy's", async () => {
    const child = await localProcesses.start({file: 'perl', args: ['-e', HOLDER]});
    try {
      let path: string | undefined;
      while (!path || (await localFiles.allocatedBytes(path)) < 4096)
        path = await child.sharedMemoryPath(4 << 20);
      expect(await localFiles.allocatedBytes(path)).toBe(4096);
      expect(await child.sharedMemoryPath(2 << 20)).toBeUndefined();
    } finally {
      await child.stop(0);
    }
    expect(await child.sharedMemoryPath(4 << 20)).toBeUndefined();
  });
});

describe('killByIdentity', () => {
  test('kills the process that is meant', async () => {
    const child = await sleep();
    expect(await killByIdentity(child.pid, child.startTicks, 5_000)).toBe(true);
    expect((await child.exited).signal).toBe('SIGKILL');
  });

  test.each([
    ['another start time', '1'],
    ['an empty start time', ''],
  ])('leaves a process with %s alone', async (_name, startTicks) => {
    const child = await sleep();
    expect(await killByIdentity(child.pid, startTicks, 100)).toBe(false);
    expect(child.hasExited()).toBe(false);
  });
});

describe('cleanUp', () => {
  test('ends processes and removes folders of ours, and nothing else', async () => {
    const child = await sleep();
    const stranger = await sleep();
    const ours = await localFiles.makeTempDir();
    writeFileSync(join(ours, 'file'), 'x');
    mkdirSync(join(ours, 'closed'), {mode: 0o500});
    const theirs = mkdtempSync(join(tmpdir(), 'theirs-'));
    const done = await cleanUp([
      {kind: 'temp-dir', path: ours},
      {kind: 'temp-dir', path: theirs},
      {kind: 'temp-dir', path: join(tmpdir(), 'bka-no-such')},
      {kind: 'process', pid: child.pid, startTicks: child.startTicks, name: 'qemu'},
      {kind: 'process', pid: stranger.pid, startTicks: '1', name: 'qemu'},
    ]);
    expect(done).toEqual([`ended qemu (pid ${child.pid})`, `removed ${ours}`]);
    expect(await localFiles.exists(ours)).toBe(false);
    expect(await localFiles.exists(theirs)).toBe(true);
    expect(stranger.hasExited()).toBe(false);
    rmSync(theirs, {recursive: true});
  });
});

test('cleanUp ends the youngest process first', async () => {
  const [older, younger] = [await sleep(), await sleep()];
  const resource = ({pid, startTicks}: Child, name: string) =>
    ({kind: 'process', pid, startTicks, name}) as const;
  const done = await cleanUp([resource(older, 'qemu'), resource(younger, 'forward')]);
  expect(done).toEqual([`ended forward (pid ${younger.pid})`, `ended qemu (pid ${older.pid})`]);
});

describe('kvm', () => {
  test('a device that is not there is absent', async () => {
    expect(await kvmAt('/no/such/kvm').probe()).toEqual({kind: 'absent'});
  });

  test('a device that cannot be opened is denied, with the reason; repairing another one changes nothing', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'kvm-'));
    expect(await kvmAt(dir).probe()).toMatchObject({
      kind: 'denied',
      reason: expect.stringMatching(/user \w+: .*EISDIR/),
    });
    expect(await kvmAt(dir).repair()).toMatchObject({kind: 'denied'});
    rmSync(dir, {recursive: true});
  });

  test('a device that opens is usable', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'kvm-'));
    writeFileSync(join(dir, 'kvm'), '');
    expect(await kvmAt(join(dir, 'kvm')).probe()).toEqual({kind: 'usable'});
    rmSync(dir, {recursive: true});
  });
});

describe('temporary folders', () => {
  test('are private and short enough for a socket', async () => {
    const dir = await localFiles.makeTempDir();
    expect(dir.length).toBeLessThan(90);
    expect(await localFiles.kind(dir)).toBe('directory');
    await localFiles.remove(dir);
  });

  test('readTail gives the end, and nothing for a file that is not there', async () => {
    const dir = await localFiles.makeTempDir();
    writeFileSync(join(dir, 'f'), '0123456789');
    expect(await localFiles.readTail(join(dir, 'f'), 4)).toBe('6789');
    expect(await localFiles.readTail(join(dir, 'g'), 4)).toBe('');
    await localFiles.remove(dir);
  });
});

test("a child's standard output can go to a file, all of it, while its last words stay known", async () => {
  const dir = mkdtempSync(join(tmpdir(), 'processes-'));
  const stdoutPath = join(dir, 'console.log');
  const script = 'head -c 300000 /dev/zero; echo words >&2';
  const child = await localProcesses.start({file: 'sh', args: ['-c', script], stdoutPath});
  children.push(child);
  expect(await child.exited).toEqual({code: 0, signal: undefined});
  expect(statSync(stdoutPath).size).toBe(300_000);
  expect(child.stderrTail()).toBe('words');
  rmSync(dir, {recursive: true});
});
