import {describe, expect, test} from '@jest/globals';
import {UserError} from '../../src/base/errors.ts';
import type {JobEvent} from '../../src/base/events.ts';
import type {Kvm, KvmState} from '../../src/base/kvm.ts';
import {
  type AcceleratorChoice,
  asRoot,
  chooseAccelerator,
  decideAccelerator,
  requireKvm,
} from '../../src/vm/accelerator.ts';

const usable: KvmState = {kind: 'usable'};
const absent: KvmState = {kind: 'absent'};
const denied: KvmState = {kind: 'denied', reason: 'user ci: EACCES'};

describe('decideAccelerator', () => {
  test.each<[AcceleratorChoice, KvmState, string, RegExp | undefined]>([
    ['auto', usable, 'kvm', undefined],
    ['kvm', usable, 'kvm', undefined],
    ['tcg', usable, 'tcg', undefined],
    ['tcg', absent, 'tcg', undefined],
    ['auto', absent, 'tcg', /no \/dev\/kvm/],
    ['auto', denied, 'tcg', /cannot be opened \(user ci: EACCES\)/],
  ])('%s with %j: %s', (choice, state, accelerator, reason) => {
    const decision = decideAccelerator(choice, state);
    expect(decision.accelerator).toBe(accelerator);
    if (reason) expect(decision.reason).toMatch(reason);
    else expect(decision.reason).toBeUndefined();
  });

  test.each([
    [absent, /--device \/dev\/kvm/],
    [denied, /sudo chmod 0666 \/dev\/kvm/],
  ])('kvm that was demanded and cannot be had is an error with the way out: %j', (state, hint) => {
    const error = (() => {
      try {
        decideAccelerator('kvm', state);
      } catch (caught) {
        return caught;
      }
    })();
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).hint).toMatch(hint);
    expect((error as UserError).hint).toMatch(/accelerator: auto/);
  });
});

describe('chooseAccelerator', () => {
  const kvm = (first: KvmState, repaired: KvmState) => {
    const calls: string[] = [];
    const answer = (call: string, state: KvmState) => async () => {
      calls.push(call);
      return state;
    };
    const warnings: string[] = [];
    return {
      calls,
      warnings,
      kvm: {probe: answer('probe', first), repair: answer('repair', repaired)},
      emit: (event: JobEvent) => {
        if (event.kind === 'warning') warnings.push(event.message);
      },
    };
  };

  test('a device that is denied is repaired', async () => {
    const device = kvm(denied, usable);
    expect(await chooseAccelerator('auto', device)).toEqual({accelerator: 'kvm'});
    expect(device.calls).toEqual(['probe', 'repair']);
  });

  test('a repair that fails leaves TCG with the reason', async () => {
    const device = kvm(denied, denied);
    expect(await chooseAccelerator('auto', device)).toMatchObject({
      accelerator: 'tcg',
      advice: expect.stringMatching(/sudo/),
    });
    expect(device.warnings).toEqual([expect.stringMatching(/^no KVM: .* under TCG.*sudo/)]);
  });

  test('tcg does not even look', async () => {
    const device = kvm(usable, usable);
    await chooseAccelerator('tcg', device);
    expect(device.calls).toEqual([]);
  });
});

test("a container's root may open what this user may not; what is absent stays absent", async () => {
  const at = (state: KvmState): Kvm => ({probe: async () => state, repair: async () => state});
  const denied: KvmState = {kind: 'denied', reason: 'EACCES'};
  expect(await asRoot(at(denied)).probe()).toEqual({kind: 'usable'});
  expect(await asRoot(at({kind: 'absent'})).probe()).toEqual({kind: 'absent'});
});

test.each([
  ['auto', 'absent', true, true],
  ['tcg', 'absent', true, true],
  ['kvm', 'usable', true, true],
  ['kvm', 'absent', true, false],
  ['kvm', 'absent', false, false],
  ['kvm', 'denied', true, false],
  ['kvm', 'denied', false, true],
] as const)('requireKvm %s, %s, as the user %s: %s', async (choice, kind, asUser, passes) => {
  const state: KvmState = kind === 'denied' ? {kind, reason: 'EACCES'} : {kind};
  const required = requireKvm(choice, {probe: async () => state, repair: async () => state}, {asUser});
  if (passes) await required;
  else await expect(required).rejects.toThrow(/^accelerator: kvm was asked for, but/);
});
