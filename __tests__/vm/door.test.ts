import {expect, test} from '@jest/globals';
import type {Ssh, SshLine} from '../../src/base/ports.ts';
import {Door, knockWaitMs} from '../../src/vm/door.ts';

/** A port at which each knock waits until the test answers it. */
function street() {
  const knocks: {answer: (line?: SshLine) => void; isAborted: () => boolean}[] = [];
  const ssh = {
    knock: (_host, _port, _timeoutMs, signal) =>
      new Promise((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(new Error('canceled')));
        knocks.push({answer: resolve, isAborted: () => signal?.aborted ?? false});
      }),
  } as Partial<Ssh> as Ssh;
  return {ssh, knocks};
}

function line() {
  const state = {isClosed: false};
  return Object.assign(state, {
    close: () => {
      state.isClosed = true;
    },
  });
}

test.each([
  [0, 2_000],
  [8_000, 2_000],
  [20_000, 5_000],
  [120_000, 30_000],
])('after %i ms of a boot one is waited for for %i ms', (bootMs, waitMs) =>
  expect(knockWaitMs(bootMs)).toBe(waitMs),
);

test('on a slow machine they are as few', () => {
  const {ssh, knocks} = street();
  using door = new Door(ssh, 1);
  for (let nowMs = 0; nowMs <= 100_000; nowMs += 100) door.knock(nowMs);
  const before = knocks.length;
  for (let nowMs = 100_000; nowMs <= 125_000; nowMs += 100) door.knock(nowMs);
  expect(knocks.length - before).toBeLessThanOrEqual(4);
});

const settled = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

test('while one waits, the next knock comes half a second later; after a refusal at once', async () => {
  const {ssh, knocks} = street();
  using door = new Door(ssh, 1);
  for (const nowMs of [0, 100, 499]) door.knock(nowMs);
  expect(knocks).toHaveLength(1);
  door.knock(500);
  expect(knocks).toHaveLength(2);
  for (const {answer} of knocks) answer(undefined);
  await settled();
  door.knock(600);
  expect(knocks).toHaveLength(3);
});

test('a refusal is followed by the next knock while older ones still wait; one that waits is not', async () => {
  const {ssh, knocks} = street();
  using door = new Door(ssh, 1);
  for (const nowMs of [0, 500]) door.knock(nowMs);
  knocks[1]?.answer(undefined);
  await settled();
  door.knock(600);
  expect(knocks).toHaveLength(3);
  // What an older one comes to says nothing of the newest.
  knocks[0]?.answer(undefined);
  await settled();
  door.knock(700);
  expect(knocks).toHaveLength(3);
});

test('the first that answers is taken, once, and the others are let go', async () => {
  const {ssh, knocks} = street();
  const [first, late] = [line(), line()];
  using door = new Door(ssh, 1);
  door.knock(0);
  door.knock(1_000);
  expect(door.take()).toBeUndefined();
  knocks[1]?.answer(first);
  await door.answered;
  expect(door.take()).toBe(first);
  expect(door.take()).toBeUndefined();
  expect(knocks[0]?.isAborted()).toBe(true);
  knocks[0]?.answer(late);
  await settled();
  expect(first.isClosed).toBe(false);
});

test('two answers at once: one is kept, the other closed', async () => {
  const {ssh, knocks} = street();
  const [first, second] = [line(), line()];
  using door = new Door(ssh, 1);
  door.knock(0);
  door.knock(1_000);
  knocks[0]?.answer(first);
  knocks[1]?.answer(second);
  await settled();
  expect(door.take()).toBe(first);
  expect(second.isClosed).toBe(true);
});

test('what nobody took is closed, and so is what comes later', async () => {
  const {ssh, knocks} = street();
  const untaken = line();
  const door = new Door(ssh, 1);
  door.knock(0);
  knocks[0]?.answer(untaken);
  await door.answered;
  door.knock(1_000);
  door[Symbol.dispose]();
  expect(untaken.isClosed).toBe(true);
  expect(knocks[1]?.isAborted()).toBe(true);
});
