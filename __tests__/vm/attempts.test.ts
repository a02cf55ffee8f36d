import {expect, test} from '@jest/globals';
import {type Attempt, attemptPatienceMs, firstAttempt, nextAttempt} from '../../src/vm/attempts.ts';
import type {BootFailure} from '../../src/vm/watch.ts';

const silent: BootFailure = {kind: 'silent', seconds: 30};
const refused: BootFailure = {kind: 'died', detail: 'x\nqemu: failed to initialize kvm: denied'};
const unknown: BootFailure = {kind: 'died', detail: "qemu: Property '.memory-backend' not found"};
const stuck: BootFailure = {kind: 'stuck', line: 'Kernel panic'};
const late: BootFailure = {kind: 'deadline', seconds: 150, isTalking: false};

test.each<[string, 'auto' | 'kvm' | 'tcg', Attempt, BootFailure, Partial<Attempt> | undefined]>([
  ['a hung KVM', 'auto', {accelerator: 'kvm', line: 'fast'}, silent, {accelerator: 'tcg', line: 'fast'}],
  ['a refused KVM', 'auto', {accelerator: 'kvm', line: 'fast'}, refused, {accelerator: 'tcg', line: 'fast'}],
  ['a demanded KVM', 'kvm', {accelerator: 'kvm', line: 'fast'}, refused, undefined],
  [
    'an old QEMU',
    'auto',
    {accelerator: 'kvm', line: 'fast'},
    unknown,
    {accelerator: 'kvm', line: 'published'},
  ],
  ['a guest without virtio', 'tcg', {accelerator: 'tcg', line: 'fast'}, stuck, {line: 'published'}],
  [
    'a guest that hangs',
    'kvm',
    {accelerator: 'kvm', line: 'fast'},
    late,
    {accelerator: 'kvm', line: 'published'},
  ],
  [
    'a guest that is only slow',
    'auto',
    {accelerator: 'tcg', line: 'fast'},
    {...late, isTalking: true},
    undefined,
  ],
  [
    'a kernel that does not come up by itself',
    'tcg',
    {accelerator: 'tcg', line: 'fast', isDirect: true},
    stuck,
    {accelerator: 'tcg', line: 'fast'},
  ],
  [
    'a guest that wants another disk, started directly: its boot loader would not help',
    'tcg',
    {accelerator: 'tcg', line: 'fast', isDirect: true},
    {kind: 'stuck', line: 'ALERT!  /dev/sda1 does not exist.'},
    {accelerator: 'tcg', line: 'published'},
  ],
  [
    'a QEMU that does not take the kernel',
    'kvm',
    {accelerator: 'kvm', line: 'fast', isDirect: true},
    {kind: 'died', detail: 'qemu: could not load kernel'},
    {accelerator: 'kvm', line: 'fast'},
  ],
  [
    'a kernel that hangs when started directly',
    'kvm',
    {accelerator: 'kvm', line: 'fast', isDirect: true},
    late,
    {accelerator: 'kvm', line: 'fast'},
  ],
  [
    'a KVM on which it hangs',
    'auto',
    {accelerator: 'kvm', line: 'fast', isDirect: true},
    silent,
    {accelerator: 'tcg', line: 'fast', isDirect: true},
  ],
  [
    'one that is only slow, started directly',
    'tcg',
    {accelerator: 'tcg', line: 'fast', isDirect: true},
    {...late, isTalking: true},
    undefined,
  ],
  ['nothing left', 'auto', {accelerator: 'tcg', line: 'published'}, stuck, undefined],
  ['a slow published boot', 'auto', {accelerator: 'kvm', line: 'published'}, late, undefined],
  [
    'published, hung KVM',
    'auto',
    {accelerator: 'kvm', line: 'published'},
    silent,
    {accelerator: 'tcg', line: 'published'},
  ],
])('%s', (_name, accelerator, last, failure, expected) => {
  const next = nextAttempt({accelerator}, last, failure);
  if (expected === undefined) expect(next).toBeUndefined();
  else {
    expect(next?.attempt).toMatchObject(expected);
    expect(next?.attempt.isDirect).toBe(expected.isDirect);
  }
});

test('our line leaves time for the published one, and a kernel is started directly only on our line', () => {
  const plan = {bootTimeoutMs: 100, machine: 'auto'} as const;
  const direct = firstAttempt(plan, {accelerator: 'tcg'}, true);
  expect(direct).toEqual({accelerator: 'tcg', line: 'fast', isDirect: true});
  const loader = nextAttempt({accelerator: 'tcg'}, direct, stuck)?.attempt;
  const published = loader && nextAttempt({accelerator: 'tcg'}, loader, stuck)?.attempt;
  expect([direct, loader, published].map(attempt => attempt && attemptPatienceMs(plan, attempt))).toEqual([
    50, 50, 100,
  ]);
  expect(firstAttempt({machine: 'published'}, {accelerator: 'tcg'}, true)).not.toHaveProperty('isDirect');
  expect(firstAttempt(plan, {accelerator: 'tcg'}, false)).not.toHaveProperty('isDirect');
});

test('the reason of an attempt stays with it when only the line changes', () => {
  const last: Attempt = {accelerator: 'tcg', line: 'fast', reason: 'no /dev/kvm'};
  expect(nextAttempt({accelerator: 'auto'}, last, stuck)?.attempt).toEqual({...last, line: 'published'});
});

test('machine: published is the published line from the start, with all the time there is', () => {
  const attempt = firstAttempt({machine: 'published'}, {accelerator: 'kvm'});
  expect(attempt.line).toBe('published');
  expect(attemptPatienceMs({bootTimeoutMs: 100}, attempt)).toBe(100);
  expect(attemptPatienceMs({bootTimeoutMs: 100}, {...attempt, line: 'fast'})).toBe(50);
});
