import type {AcceleratorDecision} from './accelerator.ts';
import {type Attempt, attemptPatienceMs} from './attempts.ts';
import type {VmPlan} from './machine.ts';
import {type QemuProgram, qemuArgs} from './qemu-args.ts';
import type {BootFailure} from './watch.ts';

/** What a boot of a disk has taught on this machine: a way that costs a long wait and leads nowhere. */
export interface Lesson {
  /**
   * `tcg`: KVM opens, and the guest does not live on it. `published`: it comes up on the published starter's devices, and not on ours. `loader`: it comes up through
   * its disk's boot loader, and not when QEMU starts its kernel.
   */
  readonly only: 'tcg' | 'published' | 'loader';
  /** What was seen, for people. */
  readonly why: string;
}

/** A boot that failed, and the attempt that was made in its place. */
export interface Turn {
  readonly failed: Attempt;
  readonly failure: BootFailure;
  readonly next: Attempt;
  readonly description: string;
}

/**
 * What is learnt from attempts that failed before one came up. A QEMU that ended at once is none, since trying it again costs nothing; nor is a guest that was not up in
 * time, when the one that did come up took as long: that machine was busy.
 */
export function learn(
  plan: Pick<VmPlan, 'bootTimeoutMs'>,
  turns: readonly Turn[],
  up: {readonly bootMs: number},
): readonly Lesson[] {
  return turns.flatMap(({failed, failure, next, description}): readonly Lesson[] => {
    if (failure.kind === 'died') return [];
    if (failure.kind === 'deadline' && up.bootMs >= attemptPatienceMs(plan, failed)) return [];
    return [{only: onlyWay(failed, next), why: description}];
  });
}

function onlyWay(failed: Attempt, next: Attempt): Lesson['only'] {
  if (failed.accelerator !== next.accelerator) return 'tcg';
  return failed.line === next.line ? 'loader' : 'published';
}

const DAY_MS = 24 * 3_600_000;

/** How long a lesson holds. What is wrong with KVM may be gone tomorrow; the devices are a matter of the disk. */
const LIFE_MS: Readonly<Record<Lesson['only'], number>> = {
  tcg: DAY_MS,
  published: 30 * DAY_MS,
  loader: 30 * DAY_MS,
};

/** What a lesson is about: the disk, the QEMU, and our own line, which a later release may have changed. */
export function lessonKey(disk: string, {build, origin}: Pick<QemuProgram, 'build' | 'origin'>): string {
  const command = qemuArgs({
    accelerator: 'tcg',
    cpus: 2,
    memoryMib: 2048,
    runDir: 'RUN',
    disk: {kind: 'chain', readOnly: ['DISK'], overlay: 'OVERLAY'},
  });
  return JSON.stringify({disk, qemu: [build, origin], command});
}

/** The plan and decision with which the known dead ends are left out, and what to say of it; as they are when nothing of it applies. */
export function heed(
  plan: VmPlan,
  decision: AcceleratorDecision,
  lessons: readonly Lesson[],
): {readonly plan: VmPlan; readonly decision: AcceleratorDecision; readonly notice?: string} {
  const find = (only: Lesson['only'], applies: boolean): Lesson | undefined =>
    applies ? lessons.find(lesson => lesson.only === only) : undefined;
  const tcg = find('tcg', plan.accelerator === 'auto' && decision.accelerator === 'kvm');
  const published = find('published', plan.machine === 'auto');
  const loader = find('loader', plan.machine === 'auto' && !published);
  if (!tcg && !published && !loader) return {plan, decision};
  const ways = [
    tcg && 'under TCG',
    published && "on the published starter's devices",
    loader && "through its disk's boot loader",
  ];
  const whys = [tcg?.why, published?.why, loader?.why].filter(why => why !== undefined);
  return {
    plan: {...plan, ...(published && {machine: 'published'}), ...(loader && {kernel: 'loader'})},
    decision: tcg ? {accelerator: 'tcg', reason: tcg.why} : decision,
    notice: `the VM starts ${ways.filter(way => way !== undefined).join(' and ')}, as it came up here before (${whys.join('; ')})`,
  };
}

/** Adds to what a note holds. */
export function noteLessons(text: string | undefined, lessons: readonly Lesson[], nowMs: number): string {
  const known = noted(text).filter(({only}) => lessons.every(lesson => lesson.only !== only));
  return `${JSON.stringify([...known, ...lessons.map(lesson => ({...lesson, learntMs: nowMs}))])}\n`;
}

/** Those of a note that still hold; none when it is no such note. */
export function readLessons(text: string | undefined, nowMs: number): readonly Lesson[] {
  return noted(text).flatMap(({only, why, learntMs}) =>
    nowMs - learntMs < LIFE_MS[only] ? [{only, why}] : [],
  );
}

function noted(text = '[]'): readonly (Lesson & {readonly learntMs: number})[] {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value.filter(isNoted) : [];
  } catch {
    return [];
  }
}

function isNoted(value: unknown): value is Lesson & {learntMs: number} {
  const {only, why, learntMs} = (value ?? {}) as Record<string, unknown>;
  return (
    (only === 'tcg' || only === 'published' || only === 'loader') &&
    typeof why === 'string' &&
    Number.isFinite(learntMs)
  );
}
