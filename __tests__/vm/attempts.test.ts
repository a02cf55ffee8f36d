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
  else expect(next?.attempt).toMatchObject(expected);
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
