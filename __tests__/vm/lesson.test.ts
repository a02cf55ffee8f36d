import {describe, expect, test} from '@jest/globals';
import type {Attempt} from '../../src/vm/attempts.ts';
import {bootInTurns, type FailedBoot} from '../../src/vm/come-up.ts';
import {heed, type Lesson, lessonKey, noteLessons, readLessons} from '../../src/vm/lesson.ts';
import type {VmPlan} from '../../src/vm/machine.ts';
import type {BootFailure} from '../../src/vm/watch.ts';

const plan: VmPlan = {
  accelerator: 'auto',
  machine: 'auto',
  snapshot: 'auto',
  cpus: 2,
  memoryMib: 2048,
  bootTimeoutMs: 300_000,
  keepRunning: false,
  kvmPatienceMs: 30_000,
  username: 'root',
  password: 'root',
};

const silent: BootFailure = {kind: 'silent', seconds: 30};
const stuck: BootFailure = {kind: 'stuck', line: 'ALERT!  /dev/sda1 does not exist.'};
const late: BootFailure = {kind: 'deadline', seconds: 150, isTalking: false};
const died: BootFailure = {kind: 'died', detail: 'qemu: unknown device'};
const refused: BootFailure = {kind: 'died', detail: 'qemu: failed to initialize kvm: denied'};

/** Boots with these failures, then comes up within `bootMs`. */
async function play(
  accelerator: 'kvm' | 'tcg',
  failures: readonly BootFailure[],
  bootMs = 20_000,
  isDirect = false,
): Promise<{attempts: Attempt[]; lessons: readonly Lesson[]}> {
  let nowMs = 0;
  const attempts: Attempt[] = [];
  let lessons: readonly Lesson[] = [];
  const tryBoot = async (attempt: Attempt): Promise<object | FailedBoot> => {
    const failure = failures[attempts.length];
    attempts.push(attempt);
    nowMs += failure ? 150_000 : bootMs;
    return failure ? {failure, consoleTail: ''} : {};
  };
  const ports = {emit: () => undefined, clock: {nowMs: () => nowMs}};
  const first: Attempt = {accelerator, line: 'fast', ...(isDirect && {isDirect})};
  await bootInTurns(ports, plan, first, tryBoot, async learnt => {
    lessons = learnt;
  });
  return {attempts, lessons};
}

describe('what boots teach', () => {
  const tcg: Lesson = {only: 'tcg', why: 'KVM opens, but the guest showed no sign of life for 30 s'};
  const sda: Lesson = {only: 'published', why: 'not on a virtio disk: ALERT!  /dev/sda1 does not exist.'};
  const slow: Lesson = {only: 'published', why: 'not on a virtio disk: not up after 150 s'};
  test.each<[string, 'kvm' | 'tcg', BootFailure[], number, readonly Lesson[]]>([
    ['nothing went wrong', 'kvm', [], 20_000, []],
    ['a hung KVM', 'kvm', [silent], 20_000, [tcg]],
    ['a guest that wants sda', 'tcg', [stuck], 20_000, [sda]],
    ['both, one after the other', 'kvm', [silent, stuck], 20_000, [tcg, sda]],
    ['a guest without network on our line', 'tcg', [late], 40_000, [slow]],
    ['a machine that is only slow', 'tcg', [late], 160_000, []],
    ['a QEMU that does not know our devices: it costs nothing', 'tcg', [died], 20_000, []],
    ['a KVM that is refused at once', 'kvm', [refused], 20_000, []],
  ])('%s', async (_name, accelerator, failures, bootMs, expected) => {
    expect((await play(accelerator, failures, bootMs)).lessons).toEqual(expected);
  });

  const panic: BootFailure = {kind: 'stuck', line: 'Kernel panic'};
  const loader: Lesson = {only: 'loader', why: 'not with its kernel started directly: Kernel panic'};
  test.each<[string, BootFailure[], readonly Lesson[]]>([
    ['it comes up', [], []],
    ['a kernel that only its loader starts', [panic], [loader]],
    ['one that wants sda, too', [panic, stuck], [loader, sda]],
    ['one that wants sda', [stuck], [sda]],
    ['a QEMU that cannot load it: it costs nothing', [died], []],
  ])('a kernel that is started directly: %s', async (_name, failures, expected) => {
    const {attempts, lessons} = await play('tcg', failures, 20_000, true);
    expect(lessons).toEqual(expected);
    if (lessons.length === 0) return;
    const next = heed(plan, {accelerator: 'tcg'}, lessons);
    expect(attempts.at(-1)?.line === 'published').toBe(next.plan.machine === 'published');
    if (next.plan.machine === 'auto') expect(next.plan.kernel).toBe('loader');
    expect(next.notice).toMatch(/^the VM starts (?:through its disk's boot loader|on the published)/);
  });

  test('what is learnt spares the very attempts that failed', async () => {
    const {attempts, lessons} = await play('kvm', [silent, stuck]);
    const next = heed(plan, {accelerator: 'kvm'}, lessons);
    expect(attempts.at(-1)).toMatchObject({accelerator: next.decision.accelerator, line: next.plan.machine});
    expect(next.notice).toMatch(/^the VM starts under TCG and on the published starter's devices/);
  });
});

describe('heed', () => {
  const tcg: Lesson = {only: 'tcg', why: 'seen'};
  const both: Lesson[] = [tcg, {only: 'published', why: 'seen'}];
  test.each<[string, Partial<VmPlan>, 'kvm' | 'tcg', Lesson[], string, string]>([
    ['no lesson', {}, 'kvm', [], 'kvm', 'auto'],
    ['two lessons', {}, 'kvm', both, 'tcg', 'published'],
    ['KVM is demanded', {accelerator: 'kvm'}, 'kvm', both, 'kvm', 'published'],
    ['of KVM alone', {}, 'kvm', [tcg], 'tcg', 'auto'],
    ['KVM is not there anyway', {}, 'tcg', [tcg], 'tcg', 'auto'],
  ])('%s', (_name, change, accelerator, lessons, expected, machine) => {
    const heeded = heed({...plan, ...change}, {accelerator}, lessons);
    expect([heeded.decision.accelerator, heeded.plan.machine]).toEqual([expected, machine]);
    expect(heeded.notice !== undefined).toBe(accelerator !== expected || machine !== 'auto');
  });
});

test('another disk, QEMU or origin has lessons of its own', () => {
  const qemu = {build: 'QEMU emulator version 7.2.22', origin: 'host'} as const;
  const keys = [
    lessonKey('a', qemu),
    lessonKey('b', qemu),
    lessonKey('a', {...qemu, build: 'QEMU emulator version 8'}),
    lessonKey('a', {...qemu, origin: 'archive'}),
  ];
  expect(new Set(keys).size).toBe(4);
});

test.each([
  'x',
  'null',
  '{}',
  '[null, 1]',
  '[{"only":"kvm","why":"","learntMs":1}]',
  '[{"only":"tcg","why":""}]',
])('a note %s holds no lessons, and does not hinder new ones', text => {
  expect(readLessons(text, 1)).toEqual([]);
  expect(readLessons(noteLessons(text, [{only: 'tcg', why: 'a'}], 1), 1)).toEqual([{only: 'tcg', why: 'a'}]);
});
