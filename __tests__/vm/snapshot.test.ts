import {describe, expect, test} from '@jest/globals';
import {parseManifest, type SnapshotIdentity, snapshotKey} from '../../src/vm/snapshot.ts';

const cpu = {
  vendor: 'GenuineIntel',
  family: '6',
  model: '85',
  stepping: '7',
  microcode: '0x5003604',
  flags: ['fpu', 'avx2'],
};
const tcg: SnapshotIdentity = {
  disk: 'sha256:aa',
  qemu: {build: 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)', origin: 'host'},
  spec: {accelerator: 'tcg', cpus: 2, memoryMib: 2048},
  cpu,
  agent: 'a1',
};
const kvm: SnapshotIdentity = {...tcg, spec: {...tcg.spec, accelerator: 'kvm'}};

describe('snapshotKey: what makes another machine', () => {
  test.each<[string, SnapshotIdentity, Partial<SnapshotIdentity>]>([
    ['the disk', tcg, {disk: 'sha256:bb'}],
    ['a rebuilt QEMU of the same version', tcg, {qemu: {...tcg.qemu, build: `${tcg.qemu.build}+1`}}],
    ["the archive's QEMU", tcg, {qemu: {...tcg.qemu, origin: 'archive'}}],
    ['the command agent', tcg, {agent: 'a2'}],
    ['the accelerator', tcg, {spec: kvm.spec}],
    ['CPUs', tcg, {spec: {...tcg.spec, cpus: 4}}],
    ['memory', tcg, {spec: {...tcg.spec, memoryMib: 4096}}],
    ['vendor', kvm, {cpu: {...cpu, vendor: 'AuthenticAMD'}}],
    ['family', kvm, {cpu: {...cpu, family: '25'}}],
    ['model', kvm, {cpu: {...cpu, model: '106'}}],
    ['stepping', kvm, {cpu: {...cpu, stepping: '6'}}],
    ['microcode', kvm, {cpu: {...cpu, microcode: '0x1'}}],
    ['flags', kvm, {cpu: {...cpu, flags: ['fpu']}}],
  ])('%s', (_name, identity, change) => {
    expect(snapshotKey({...identity, ...change})).not.toBe(snapshotKey(identity));
  });

  test("TCG's CPU is the same on every host", () => {
    expect(snapshotKey({...tcg, cpu: {...cpu, model: '1'}})).toBe(snapshotKey(tcg));
    expect(snapshotKey({...tcg, cpu: undefined})).toBe(snapshotKey(tcg));
  });

  test('the order of flags says nothing', () => {
    expect(snapshotKey({...kvm, cpu: {...cpu, flags: ['avx2', 'fpu']}})).toBe(snapshotKey(kvm));
  });

  test.each<[string, SnapshotIdentity]>([
    ['KVM on an unknown CPU', {...kvm, cpu: undefined}],
    ['a QEMU that does not tell its build', {...tcg, qemu: {...tcg.qemu, build: ''}}],
    ['a disk without identity', {...tcg, disk: ''}],
  ])('%s has no key', (_name, identity) => expect(snapshotKey(identity)).toBeUndefined());
});

describe('parseManifest', () => {
  const manifest = {format: 1, method: 'shared-memory', agent: true, facts: {a: 1}};
  test('gives back what was written', () =>
    expect(parseManifest(JSON.stringify(manifest))).toEqual(manifest));
  test.each([
    ['another format', {...manifest, format: 2}],
    ['an unknown method', {...manifest, method: 'x'}],
    ['no agent', {...manifest, agent: undefined}],
    ['null', null],
  ])('refuses %s', (_name, value) => expect(() => parseManifest(JSON.stringify(value))).toThrow(/format 1/));
  test('refuses what is no JSON', () => expect(() => parseManifest('')).toThrow());
});
