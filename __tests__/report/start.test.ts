import {expect, test} from '@jest/globals';
import type {StartFacts} from '../../src/base/result.ts';
import {frozenText, snapshotText, startText, upText} from '../../src/report/start.ts';

const snapshot = {method: 'shared-memory', sizeBytes: 298_844_160} as const;

test.each<[StartFacts, string, string | undefined]>([
  [{kind: 'cold'}, 'booted', undefined],
  [
    {kind: 'cold', reason: 'no snapshot yet', snapshot},
    'booted: no snapshot yet',
    'kept for the next run: 285 MiB, memory as a file',
  ],
  [{kind: 'restored', snapshot}, 'restored from a snapshot', '285 MiB, memory as a file'],
  [
    {kind: 'restored', snapshot: {...snapshot, method: 'migration-stream'}},
    'restored from a snapshot',
    '285 MiB, memory in the migration stream',
  ],
])('%j', (start, text, about) => {
  expect(startText(start)).toBe(text);
  expect(snapshotText(start)).toBe(about);
});

test('lines of the log', () => {
  const machine = {accelerator: 'kvm', qemuVersion: '8.2.2', cpus: 2, memoryMib: 2048} as const;
  expect(upText(machine)).toBe('booted under KVM, QEMU 8.2.2');
  expect(upText({...machine, launcher: 'docker', debugPort: 4000})).toBe(
    'booted in docker under KVM, QEMU 8.2.2; its debugger is at 127.0.0.1:4000',
  );
  expect(upText({...machine, start: {kind: 'restored', snapshot}})).toBe(
    'restored from a snapshot under KVM, QEMU 8.2.2',
  );
  expect(frozenText({snapshot, seconds: 0.345})).toBe('285 MiB, memory as a file; 0.3 s');
});
