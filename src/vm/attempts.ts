import type {AcceleratorDecision} from './accelerator.ts';
import type {VmPlan} from './machine.ts';
import type {BootFailure} from './watch.ts';

/** `fast` boots sooner and can be frozen; `published` is the published starter's line. */
export type MachineLine = 'fast' | 'published';

/** One way to boot a disk. */
export interface Attempt extends AcceleratorDecision {
  readonly line: MachineLine;
  /** QEMU starts the kernel itself; else the disk's boot loader does. Only on our own line. */
  readonly isDirect?: boolean;
}

/** @param canBeDirect whether it is known what the disk's boot loader would start. */
export function firstAttempt(
  plan: Pick<VmPlan, 'machine'>,
  decision: AcceleratorDecision,
  canBeDirect = false,
): Attempt {
  if (plan.machine === 'published') return {...decision, line: 'published'};
  return {...decision, line: 'fast', ...(canBeDirect && {isDirect: true})};
}

/** A guest that hangs on our line must leave time for the published one; one that still talks is slow, and would be slower there. */
const FAST_SHARE = 0.5;

/** How long a guest that has fallen silent is waited for. */
export function attemptPatienceMs(plan: Pick<VmPlan, 'bootTimeoutMs'>, attempt: Attempt): number {
  return attempt.line === 'fast' ? plan.bootTimeoutMs * FAST_SHARE : plan.bootTimeoutMs;
}

/**
 * What to try after a failed boot: under `auto` TCG when it was KVM's fault, and the published line when it may be ours.
 * @returns undefined when nothing is left; else the attempt and the warning that goes with it.
 */
export function nextAttempt(
  plan: Pick<VmPlan, 'accelerator'>,
  last: Attempt,
  failure: BootFailure,
): {readonly attempt: Attempt; readonly warning: string} | undefined {
  const kvmFault = kvmReason(last, failure);
  if (plan.accelerator === 'auto' && kvmFault !== undefined) {
    return {
      attempt: {...last, accelerator: 'tcg', reason: kvmFault},
      warning: `${kvmFault}. Starting again under TCG, 5 to 20 times slower; accelerator: tcg spares this attempt.`,
    };
  }
  const isSlow = failure.kind === 'deadline' && failure.isTalking;
  // A KVM that was demanded and does not work is no fault of the line.
  if (last.line === 'published' || kvmFault !== undefined || isSlow) return undefined;
  const {isDirect, ...attempt} = last;
  if (isDirect && !isOfDevices(failure)) {
    return {
      attempt,
      warning: `the guest does not come up when its kernel is started directly (${describe(failure)}). Starting again through its disk's boot loader.`,
    };
  }
  return {
    attempt: {...attempt, line: 'published'},
    warning: `the guest does not come up on a virtio disk (${describe(failure)}). Starting again with the published starter's devices; machine: published spares this attempt.`,
  };
}

/** The disk's own programs ran and did not find what they want: the same kernel with the same command line would come to the same through a boot loader. */
function isOfDevices(failure: BootFailure): boolean {
  return failure.kind === 'stuck' && !/^kernel panic/i.test(failure.line);
}

/** Why KVM is to blame; undefined when it is not. */
function kvmReason(last: Attempt, failure: BootFailure): string | undefined {
  if (last.accelerator !== 'kvm') return undefined;
  if (failure.kind === 'silent')
    return `KVM opens, but the guest showed no sign of life for ${failure.seconds} s`;
  if (failure.kind === 'died' && /\bkvm\b/i.test(failure.detail))
    return `QEMU could not use KVM (${lastLine(failure.detail)})`;
  return undefined;
}

/** A failed attempt in a few words. */
export function describeFailure(attempt: Attempt, failure: BootFailure): string {
  const isOfKernel = attempt.isDirect && !isOfDevices(failure);
  const way = isOfKernel ? 'not with its kernel started directly' : 'not on a virtio disk';
  return kvmReason(attempt, failure) ?? `${way}: ${describe(failure)}`;
}

function describe(failure: BootFailure): string {
  switch (failure.kind) {
    case 'died':
      return lastLine(failure.detail) || 'QEMU ended';
    case 'stuck':
      return failure.line;
    case 'silent':
      return `no sign of life for ${failure.seconds} s`;
    case 'deadline':
      return `not up after ${failure.seconds} s`;
  }
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
