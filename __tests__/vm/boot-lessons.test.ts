import {existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {Store} from '../../src/archive/store.ts';
import type {JobEvent} from '../../src/base/events.ts';
import {BootLessons} from '../../src/boot-lessons.ts';
import {localPorts} from '../../src/host/local.ts';
import {openStoreFolder} from '../../src/host/store.ts';
import type {Lesson} from '../../src/vm/lesson.ts';
import type {VmPlan} from '../../src/vm/machine.ts';

const DAY_MS = 24 * 3_600_000;
const plan = {accelerator: 'auto', machine: 'auto'} as VmPlan;
const qemu = {
  file: '/usr/bin/qemu-system-x86_64',
  prefixArgs: [],
  env: {},
  version: '7.2.22',
  build: 'QEMU emulator version 7.2.22',
  origin: 'host',
} as const;

let dir: string;
let events: JobEvent[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'lessons-'));
  events = [];
});
afterEach(() => rmSync(dir, {recursive: true}));

function lessons(laterMs = 0, disk = 'sha256:1'): BootLessons {
  const registry = {...localPorts.registry, nowEpochMs: () => Date.now() + laterMs};
  const emit = (event: JobEvent) => void events.push(event);
  const about = {path: '/d', identity: disk, isPortable: true, label: 'v0.20.2'};
  return new BootLessons({...localPorts, registry, emit}, qemu, about, dir);
}

const published: Lesson = {only: 'published', why: 'not on a virtio disk: stuck'};
const tcg: Lesson = {only: 'tcg', why: 'KVM opens, but nothing lives'};
const heeded = async (told: BootLessons) => {
  const {plan: way, decision} = await told.heed(plan, {accelerator: 'kvm'});
  return `${decision.accelerator} ${way.machine}`;
};

test('the next job leaves out what the last one learnt, says so, and only for that disk', async () => {
  expect(await heeded(lessons())).toBe('kvm auto');
  await lessons().learn([published]);
  expect(events).toEqual([]);
  expect(await heeded(lessons())).toBe('kvm published');
  const [event] = events;
  const path = event?.kind === 'notice' ? /remove (\S+) to have it tried again/.exec(event.message)?.[1] : '';
  expect(existsSync(path ?? '')).toBe(true);
  expect(await heeded(lessons(0, 'sha256:2'))).toBe('kvm auto');
  rmSync(path ?? '');
  expect(await heeded(lessons())).toBe('kvm auto');
});

test('lessons add up, and KVM is tried again after a day', async () => {
  await lessons().learn([published]);
  await lessons().learn([tcg]);
  expect(await heeded(lessons())).toBe('tcg published');
  expect(await heeded(lessons(DAY_MS + 1))).toBe('kvm published');
  expect(await heeded(lessons(31 * DAY_MS))).toBe('kvm auto');
});

test('what was heeded and did not help is forgotten; what was not heeded stays', async () => {
  await lessons().learn([tcg]);
  const demanded = lessons();
  await demanded.heed({...plan, accelerator: 'kvm'}, {accelerator: 'kvm'});
  await demanded.doubt();
  const told = lessons();
  expect(await heeded(told)).toBe('tcg auto');
  await told.doubt();
  expect(await heeded(lessons())).toBe('kvm auto');
});

test('a torn note, or a store that cannot be written to, only costs the lesson', async () => {
  await lessons().learn([tcg]);
  const [entry] = await openStoreFolder(dir).list();
  truncateSync(entry?.path ?? '', 3);
  expect(await heeded(lessons())).toBe('kvm auto');
  await lessons().learn([tcg]);
  expect(await heeded(lessons())).toBe('tcg auto');
  rmSync(join(dir, 'notes'), {recursive: true});
  writeFileSync(join(dir, 'notes'), 'no folder');
  await lessons().learn([tcg]);
  expect(await heeded(lessons())).toBe('kvm auto');
});

test('a note is an entry of the store like the others', async () => {
  await lessons().learn([tcg]);
  const store = new Store({folder: openStoreFolder(dir), nowMs: Date.now, emit: () => undefined});
  expect(await store.verify()).toMatchObject([
    {state: 'ok', entry: {key: {kind: 'notes'}, record: {label: 'v0.20.2'}}},
  ]);
  expect(await store.prune({maxBytes: 0})).toHaveLength(1);
  expect(await heeded(lessons())).toBe('kvm auto');
});
