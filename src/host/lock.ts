import {randomUUID} from 'node:crypto';
import {mkdir, open, readdir, readFile, readlink, rename, rm, stat, utimes} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {asCanceled} from '../base/errors.ts';
import type {LockHolder, Release, WaitOptions} from '../base/store.ts';
import {startTicksOf} from './processes.ts';

/**
 * Locks between processes: a file that only one can create (`open` with O_EXCL, open(2)). It names its holder by pid and start time, so a killed
 * holder's lock is free at once. A holder that cannot be looked up, being in another container or on another machine, keeps its lock by touching it.
 */

/** A holder that cannot be looked up is dead when its file was not touched for so long. */
const STALE_MS = 60_000;
const HEARTBEAT_MS = 15_000;
/** A file without readable content is one that is just being written. */
const WRITING_MS = 5_000;
const FIRST_POLL_MS = 20;
const LONGEST_POLL_MS = 500;
const SAY_EVERY_MS = 1_000;

interface Holder {
  readonly id: string;
  readonly pid: number;
  readonly startTicks: string;
  /** Boot and pid namespace: where the pid means something. */
  readonly place: string;
}

/** Waits until `path` can be created. @throws CanceledError, and the system's error when the folder cannot be written to. */
export async function acquireLock(path: string, options: WaitOptions = {}): Promise<Release> {
  const startedMs = performance.now();
  let saidMs = Number.NEGATIVE_INFINITY;
  let pollMs = FIRST_POLL_MS;
  for (;;) {
    if (options.signal?.aborted) throw asCanceled(options.signal);
    const held = await tryLock(path);
    if (held) return held;
    const nowMs = performance.now();
    if (nowMs - saidMs >= SAY_EVERY_MS) {
      saidMs = nowMs;
      options.onWait?.({pid: await pidOf(path), waitedMs: nowMs - startedMs});
    }
    await pause(pollMs, options.signal);
    pollMs = Math.min(pollMs * 2, LONGEST_POLL_MS);
  }
}

/** @returns undefined when a living process holds it. */
export async function tryLock(path: string): Promise<Release | undefined> {
  await mkdir(dirname(path), {recursive: true});
  const held = await create(path);
  if (held) return held;
  if ((await stateOf(path)) !== 'dead') return undefined;
  await takeAway(path);
  return create(path);
}

/** Leaves a mark of this process under the name `prefix`; any number of processes may. */
export async function leaveMark(prefix: string): Promise<Release> {
  await mkdir(dirname(prefix), {recursive: true});
  const held = await create(`${prefix}.${randomUUID()}`);
  if (!held) throw new Error(`${prefix} has two marks of one name`);
  return held;
}

/** True when a living process has left its mark; marks of dead ones are removed. */
export async function isMarked(prefix: string): Promise<boolean> {
  const dir = dirname(prefix);
  const name = `${prefix.slice(dir.length + 1)}.`;
  const marks = (await readdir(dir).catch(() => [])).filter(file => file.startsWith(name));
  const states = await Promise.all(marks.map(file => sweepMark(join(dir, file))));
  return states.includes('alive');
}

/** Removes a lock or mark whose holder is dead. */
export async function sweepMark(path: string): Promise<'alive' | 'dead'> {
  const state = await stateOf(path);
  if (state === 'dead') await takeAway(path);
  return state === 'alive' ? 'alive' : 'dead';
}

async function create(path: string): Promise<Release | undefined> {
  const holder: Holder = {
    id: randomUUID(),
    pid: process.pid,
    startTicks: (await ownTicks()) ?? '',
    place: await ownPlace(),
  };
  try {
    const file = await open(path, 'wx');
    try {
      await file.writeFile(JSON.stringify(holder));
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw error;
  }
  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, HEARTBEAT_MS);
  heartbeat.unref();
  return {
    async release() {
      clearInterval(heartbeat);
      if ((await readHolder(path))?.id === holder.id) await rm(path, {force: true});
    },
  };
}

async function stateOf(path: string): Promise<'alive' | 'dead' | 'absent'> {
  const stats = await stat(path).catch(() => undefined);
  if (!stats) return 'absent';
  const holder = await readHolder(path);
  const ageMs = Date.now() - stats.mtimeMs;
  if (!holder) return ageMs > WRITING_MS ? 'dead' : 'alive';
  if (holder.place !== (await ownPlace())) return ageMs > STALE_MS ? 'dead' : 'alive';
  return (await isAlive(holder)) ? 'alive' : 'dead';
}

async function isAlive({pid, startTicks}: Holder): Promise<boolean> {
  if (startTicks !== '') return (await startTicksOf(pid)) === startTicks;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * Removes the file of a dead holder. Between looking and removing another process may have done the same and created its own, so the file is
 * moved away first and moved back when it turns out to be a living one's.
 */
async function takeAway(path: string): Promise<void> {
  const aside = `${path}.dead-${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  if ((await stateOf(aside)) === 'alive') await rename(aside, path).catch(() => undefined);
  else await rm(aside, {force: true});
}

async function pidOf(path: string): Promise<LockHolder['pid']> {
  const holder = await readHolder(path);
  return holder && holder.place === (await ownPlace()) ? holder.pid : undefined;
}

async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    const holder = JSON.parse(await readFile(path, 'utf8')) as Holder;
    return typeof holder?.pid === 'number' && typeof holder.place === 'string' ? holder : undefined;
  } catch {
    return undefined;
  }
}

let ticks: Promise<string | undefined> | undefined;
function ownTicks(): Promise<string | undefined> {
  ticks ??= startTicksOf(process.pid);
  return ticks;
}

let place: Promise<string> | undefined;
function ownPlace(): Promise<string> {
  place ??= Promise.all([readBootId(), readlink('/proc/self/ns/pid').catch(() => '')]).then(parts =>
    parts.join(' '),
  );
  return place;
}

/** Linux's id of the running boot (random(4)); on other systems the name of the host stands in for it. */
export async function readBootId(): Promise<string> {
  try {
    return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  } catch {
    return (await import('node:os')).hostname();
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, signal ? {signal} : {});
  } catch (error) {
    throw signal?.aborted ? asCanceled(signal) : error;
  }
}
