import {expect, test} from '@jest/globals';
import {useRestored} from '../src/machine.ts';
import type {Vm} from '../src/vm/machine.ts';
import type {Restored} from '../src/warm-start.ts';

const never = new AbortController().signal;

/** A machine whose check ends as the test has it; what it is used for breaks when it is taken down. */
function scene() {
  const down = new AbortController();
  let settle: {pass: () => void; fail: (error: Error) => void} = {
    pass: () => undefined,
    fail: () => undefined,
  };
  const proven = new Promise<void>((pass, fail) => {
    settle = {pass, fail};
  });
  proven.catch(() => undefined);
  const doubts: unknown[] = [];
  const vm = {
    explain: async (error: unknown) => error,
    async [Symbol.asyncDispose]() {
      down.abort(new Error('the link broke'));
    },
  } as Partial<Vm> as Vm;
  const restored: Restored<string> = {
    vm,
    facts: 'facts',
    proven,
    doubt: async error => {
      doubts.push(error);
      return {reason: (error as Error).message};
    },
  };
  const broken = new Promise<never>((_, reject) => {
    down.signal.addEventListener('abort', () => reject(down.signal.reason));
  });
  broken.catch(() => undefined);
  return {restored, settle, doubts, broken, isDown: () => down.signal.aborted};
}

test('a machine that passes is used, and taken down afterwards', async () => {
  const {restored, settle, isDown} = scene();
  setImmediate(() => settle.pass());
  const used = await useRestored(restored, never, async (_vm, facts, proven) => {
    await proven;
    expect(isDown()).toBe(false);
    return facts;
  });
  expect(used).toEqual({result: 'facts'});
  expect(isDown()).toBe(true);
});

test('one that fails is taken down at once, in the middle of a long transfer', async () => {
  const {restored, settle, doubts, broken, isDown} = scene();
  let ended = false;
  setImmediate(() => settle.fail(new Error('no answer')));
  const used = await useRestored(restored, never, async () => {
    await broken.finally(() => {
      ended = true;
    });
  });
  expect(used).toEqual({reason: 'no answer'});
  expect(doubts).toEqual([new Error('no answer')]);
  // Nothing of the first try goes on behind the second's back.
  expect([isDown(), ended]).toEqual([true, true]);
});

test('what breaks before the check is over is the fault of what it finds', async () => {
  const {restored, settle} = scene();
  const used = useRestored(restored, never, async () => {
    setImmediate(() => settle.fail(new Error('another BuildKit answers')));
    throw new Error('tar ended with status 2');
  });
  expect(await used).toEqual({reason: 'another BuildKit answers'});
});

test('what breaks in a sound machine is an error of its own', async () => {
  const {restored, settle, doubts} = scene();
  const used = useRestored(restored, never, async () => {
    setImmediate(() => settle.pass());
    throw new Error('the disk is full');
  });
  await expect(used).rejects.toThrow('the disk is full');
  expect(doubts).toEqual([]);
});

test('a cancel is no doubt', async () => {
  const {restored, settle, doubts, broken} = scene();
  const stop = new AbortController();
  setImmediate(() => {
    stop.abort(new Error('canceled'));
    settle.fail(new Error('canceled'));
  });
  await expect(useRestored(restored, stop.signal, () => broken)).rejects.toThrow('canceled');
  expect(doubts).toEqual([]);
});
