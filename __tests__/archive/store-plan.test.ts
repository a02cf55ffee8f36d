import {describe, expect, test} from '@jest/globals';
import {evictions, judge} from '../../src/archive/store-plan.ts';
import type {StoredEntry, StoreKind} from '../../src/base/store.ts';

const BOOT = 'boot-1';

function entry(
  digit: string,
  options: {
    sizeBytes?: number;
    lastUsedMs?: number;
    kind?: StoreKind;
    record?: false;
    content?: false | object;
  } = {},
): StoredEntry {
  const digest = `sha256:${digit.repeat(64)}`;
  const {sizeBytes = 10, lastUsedMs = 0, kind = 'disks'} = options;
  return {
    key: {kind, digest},
    path: `/store/${digit}`,
    lastUsedMs,
    record:
      options.record === false
        ? undefined
        : {
            schema: 1,
            digest,
            sizeBytes,
            modifiedMs: 5,
            contentDigest: 'sha256:c',
            bootId: BOOT,
            createdMs: 1,
          },
    content: options.content === false ? undefined : {sizeBytes, modifiedMs: 5, ...options.content},
  };
}

describe('what an entry is worth', () => {
  test.each<[string, StoredEntry | undefined, string, string]>([
    ['nothing there', undefined, BOOT, 'absent'],
    ['content without record', entry('a', {record: false}), BOOT, 'absent'],
    ['record without content', entry('a', {content: false}), BOOT, 'absent'],
    ['as it was written', entry('a'), BOOT, 'whole'],
    ['another size', entry('a', {content: {sizeBytes: 9}}), BOOT, 'damaged'],
    ['another time', entry('a', {content: {modifiedMs: 6}}), BOOT, 'unsure'],
    ['another boot', entry('a'), 'boot-2', 'unsure'],
    [
      'a folder, whose own size says nothing',
      entry('a', {kind: 'rootfs', content: {sizeBytes: 4096}}),
      BOOT,
      'whole',
    ],
    ['documents of another size', entry('a', {kind: 'documents', content: {sizeBytes: 9}}), BOOT, 'damaged'],
    ['another digest', {...entry('a'), key: entry('b').key}, BOOT, 'damaged'],
  ])('%s', (_, stored, bootId, kind) => {
    expect(judge(stored, bootId).kind).toBe(kind);
  });
});

describe('what has to go', () => {
  const three = [entry('a', {lastUsedMs: 300}), entry('b', {lastUsedMs: 100}), entry('c', {lastUsedMs: 200})];
  const digits = (maxBytes: number, maxIdleMs?: number) =>
    evictions(three, {maxBytes, nowMs: 400, ...(maxIdleMs !== undefined && {maxIdleMs})})
      .map(key => key.digest.at(-1))
      .join('');

  test.each([
    [30, ''],
    [29, 'b'],
    [20, 'b'],
    [19, 'bc'],
    [9, 'bca'],
    [0, 'bca'],
  ])('for %d bytes: "%s"', (maxBytes, gone) => {
    expect(digits(maxBytes)).toBe(gone);
  });

  test('what was idle for too long goes even when there is room', () => {
    expect(digits(1000, 250)).toBe('b');
    expect(digits(1000, 300)).toBe('');
    expect(digits(10, 250)).toBe('bc');
  });

  test('a half-made entry counts with what lies there', () => {
    expect(evictions([entry('a', {record: false, sizeBytes: 50})], {maxBytes: 40, nowMs: 0})).toHaveLength(1);
  });
});
