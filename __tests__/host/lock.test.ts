import {spawn} from 'node:child_process';
import {existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {CanceledError} from '../../src/base/errors.ts';
import {acquireLock, isMarked, leaveMark, sweepMark, tryLock} from '../../src/host/lock.ts';
import {startTicksOf} from '../../src/host/processes.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'lock-test-'));
  path = join(dir, 'locks', 'a');
});
afterEach(() => rmSync(dir, {recursive: true, force: true}));

/** Rewrites who holds `file`. */
function edit(file: string, change: Readonly<Record<string, unknown>>): void {
  writeFileSync(file, JSON.stringify({...JSON.parse(readFileSync(file, 'utf8')), ...change}));
}

function age(file: string, seconds: number): void {
  const then = Date.now() / 1000 - seconds;
  utimesSync(file, then, then);
}

describe('a lock', () => {
  test('has one holder at a time', async () => {
    const first = await acquireLock(path);
    expect(await tryLock(path)).toBeUndefined();
    await first.release();
    const second = await tryLock(path);
    expect(second).toBeDefined();
    await second?.release();
    expect(readdirSync(join(dir, 'locks'))).toEqual([]);
  });

  test('is waited for, and says so', async () => {
    const first = await acquireLock(path);
    let second: ReturnType<typeof acquireLock> | undefined;
    const heldBy = await new Promise(resolve => {
      second = acquireLock(path, {onWait: holder => resolve(holder.pid)});
    });
    expect(heldBy).toBe(process.pid);
    await first.release();
    await (await second)?.release();
  });

  test('many that want it get it one after another', async () => {
    let inside = 0;
    let most = 0;
    await Promise.all(
      Array.from({length: 12}, async () => {
        const lock = await acquireLock(path);
        inside++;
        most = Math.max(most, inside);
        await new Promise(resolve => setTimeout(resolve, 3));
        inside--;
        await lock.release();
      }),
    );
    expect(most).toBe(1);
  });

  test('waiting can be canceled', async () => {
    const first = await acquireLock(path);
    const controller = new AbortController();
    const waiting = acquireLock(path, {signal: controller.signal});
    controller.abort(new CanceledError('enough'));
    await expect(waiting).rejects.toThrow('enough');
    await expect(waiting).rejects.toBeInstanceOf(CanceledError);
    await first.release();
  });

  test('of a killed process is free at once', async () => {
    const child = spawn('sleep', ['60']);
    const pid = child.pid as number;
    await acquireLock(path);
    edit(path, {id: 'x', pid, startTicks: await startTicksOf(pid)});
    expect(await tryLock(path)).toBeUndefined();
    child.kill('SIGKILL');
    await new Promise(resolve => child.once('close', resolve));
    expect(await tryLock(path)).toBeDefined();
  });

  test('of a process whose pid another one has now is free', async () => {
    await acquireLock(path);
    edit(path, {startTicks: '1'});
    expect(await tryLock(path)).toBeDefined();
  });

  test('of another container is kept while it is touched', async () => {
    await acquireLock(path);
    edit(path, {pid: 999_999_999, startTicks: '1', place: 'elsewhere pid:[1]'});
    age(path, 40);
    expect(await tryLock(path)).toBeUndefined();
    age(path, 70);
    expect(await tryLock(path)).toBeDefined();
  });

  test.each([
    ['a torn file', '{"pid": 1'],
    ['an empty file', ''],
    ['another JSON', '7'],
  ])('%s is one that is being written, until it is old', async (_, text) => {
    await (await acquireLock(path)).release();
    writeFileSync(path, text);
    expect(await tryLock(path)).toBeUndefined();
    age(path, 6);
    expect(await tryLock(path)).toBeDefined();
  });

  test('is not released by one that lost it', async () => {
    const first = await acquireLock(path);
    edit(path, {id: 'another', startTicks: (await startTicksOf(process.pid)) ?? ''});
    await first.release();
    expect(existsSync(path)).toBe(true);
  });
});

describe('marks', () => {
  test('any number of processes leave theirs', async () => {
    const prefix = join(dir, 'leases', 'a');
    expect(await isMarked(prefix)).toBe(false);
    const [one, two] = [await leaveMark(prefix), await leaveMark(prefix)];
    expect(await isMarked(prefix)).toBe(true);
    expect(await isMarked(join(dir, 'leases', 'ab'))).toBe(false);
    await one.release();
    expect(await isMarked(prefix)).toBe(true);
    await two.release();
    expect(await isMarked(prefix)).toBe(false);
  });

  test('those of dead processes count no more and are removed', async () => {
    const prefix = join(dir, 'leases', 'a');
    await leaveMark(prefix);
    const mark = join(dir, 'leases', readdirSync(join(dir, 'leases'))[0] ?? '');
    edit(mark, {startTicks: '1'});
    expect(await isMarked(prefix)).toBe(false);
    expect(existsSync(mark)).toBe(false);
    expect(await sweepMark(mark)).toBe('dead');
  });
});
