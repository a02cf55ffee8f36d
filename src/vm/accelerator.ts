import {UserError} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import type {Kvm, KvmState} from '../base/kvm.ts';
import type {Accelerator} from './qemu-args.ts';

export const ACCELERATOR_CHOICES = ['auto', 'kvm', 'tcg'] as const;
export type AcceleratorChoice = (typeof ACCELERATOR_CHOICES)[number];

export interface AcceleratorDecision {
  readonly accelerator: Accelerator;
  /** Why it is not KVM, when KVM was wished for. */
  readonly reason?: string;
  /** What would give KVM next time. */
  readonly advice?: string;
}

const REPAIR_ADVICE =
  'run: sudo chmod 0666 /dev/kvm (lasting: add the user to the "kvm" group, or a udev rule KERNEL=="kvm", MODE="0666")';

/** The decision for a choice and a state of `/dev/kvm`. @throws UserError when `kvm` was demanded and cannot be had. */
export function decideAccelerator(choice: AcceleratorChoice, kvm: KvmState): AcceleratorDecision {
  if (choice === 'tcg') return {accelerator: 'tcg'};
  if (kvm.kind === 'usable') return {accelerator: 'kvm'};
  const absent = kvm.kind === 'absent';
  const reason = absent ? 'this machine has no /dev/kvm' : `/dev/kvm cannot be opened (${kvm.reason})`;
  const advice = absent
    ? 'use a runner with KVM (hosted ubuntu x64 runners have it; arm64 and most containers do not; a container needs --device /dev/kvm)'
    : REPAIR_ADVICE;
  if (choice === 'kvm') {
    throw new UserError(`accelerator: kvm was asked for, but ${reason}`, {
      input: 'accelerator',
      stage: 'vm',
      hint: `${advice}; or set accelerator: auto to go on without it`,
    });
  }
  return {accelerator: 'tcg', reason, advice};
}

/** Looks at `/dev/kvm`, mends its permissions when it can, decides, and warns when it is not what was wished for. */
export async function chooseAccelerator(
  choice: AcceleratorChoice,
  {kvm, emit}: {readonly kvm: Kvm; readonly emit: Emit},
): Promise<AcceleratorDecision> {
  if (choice === 'tcg') return {accelerator: 'tcg'};
  const first = await kvm.probe();
  const decision = decideAccelerator(choice, first.kind === 'denied' ? await kvm.repair() : first);
  if (decision.reason !== undefined) {
    emit({
      kind: 'warning',
      message: `no KVM: ${decision.reason}. Going on under TCG, 5 to 20 times slower. To mend it: ${decision.advice}`,
    });
  }
  return decision;
}

/**
 * Before anything is downloaded: whether a KVM that is demanded can be had at all.
 * @param asUser false when a container may run the machine, whose root may open what this user may not.
 * @throws UserError
 */
export async function requireKvm(
  choice: AcceleratorChoice,
  kvm: Kvm,
  {asUser}: {readonly asUser: boolean},
): Promise<void> {
  if (choice === 'kvm')
    await chooseAccelerator(choice, {kvm: asUser ? kvm : asRoot(kvm), emit: () => undefined});
}

/** KVM as a container's root has it: whether this user may open the device does not matter. */
export function asRoot(kvm: Kvm): Kvm {
  const probe = async (): Promise<KvmState> => {
    const state = await kvm.probe();
    return state.kind === 'denied' ? {kind: 'usable'} : state;
  };
  return {probe, repair: probe};
}
