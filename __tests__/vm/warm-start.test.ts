import {mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import type {CpuFacts} from '../../src/base/cpu.ts';
import {localPorts} from '../../src/host/local.ts';
import type {Vm, VmPlan} from '../../src/vm/machine.ts';
import {emptyQcow2} from '../../src/vm/overlay.ts';
import {SNAPSHOT_FILES} from '../../src/vm/snapshot.ts';
import {type GuestProbe, WarmStart, type WarmStartPorts} from '../../src/warm-start.ts';

const PROBE: GuestProbe<unknown> = {
  isWarm: true,
  ready: async () => undefined,
  parse: value => value,
  check: async () => undefined,
};
const CPU: CpuFacts = {
  vendor: 'GenuineIntel',
  family: '6',
  model: '85',
  stepping: '7',
  microcode: '0x5003604',
  flags: ['fpu'],
};
const WAKES = 'QEMU would be started now';

let storeDir: string;
beforeEach(() => {
  storeDir = mkdtempSync(join(tmpdir(), 'warm-'));
  writeFileSync(join(storeDir, 'disk'), emptyQcow2(2n ** 30n));
});
afterEach(() => rmSync(storeDir, {recursive: true}));

/** A host with that CPU, on which every QEMU that is started fails. */
function warmStart(cpu: CpuFacts | undefined, version = '7.2.22'): WarmStart<unknown> {
  const refuse = async (): Promise<never> => {
    throw new Error(WAKES);
  };
  const ports: WarmStartPorts = {
    ...localPorts,
    cpu: {facts: async () => cpu},
    processes: {...localPorts.processes, start: refuse, startDetached: refuse},
    emit: () => undefined,
  };
  const plan = {
    cpus: 2,
    memoryMib: 2048,
    accelerator: 'auto',
    machine: 'auto',
    snapshot: 'auto',
  } as unknown as VmPlan;
  const qemu = {
    file: 'qemu',
    prefixArgs: [],
    version,
    build: `QEMU emulator version ${version}`,
    origin: 'host',
  };
  const disk = {path: join(storeDir, 'disk'), identity: 'sha256:aa', isPortable: false, label: 'x'};
  return new WarmStart(ports, plan, qemu as never, disk, storeDir, PROBE);
}

/** Freezes a machine that is none. */
async function keep(warm: WarmStart<unknown>, accelerator: 'kvm' | 'tcg'): Promise<void> {
  const vm = {
    machine: {accelerator},
    freeze: async (destDir: string) => {
      mkdirSync(destDir);
      for (const name of Object.values(SNAPSHOT_FILES)) writeFileSync(join(destDir, name), '{}');
      const manifest = {format: 1, method: 'shared-memory', agent: true, facts: {}};
      writeFileSync(join(destDir, SNAPSHOT_FILES.manifest), JSON.stringify(manifest));
      return {method: 'shared-memory', sizeBytes: 1};
    },
  } as unknown as Vm;
  await warm.keep(vm, {}, Promise.resolve(undefined), new AbortController().signal);
}

async function reason(warm: WarmStart<unknown>, accelerator: 'kvm' | 'tcg'): Promise<string> {
  const restored = await warm.restore({accelerator} as never, new AbortController().signal);
  await warm[Symbol.asyncDispose]();
  return 'reason' in restored ? restored.reason : 'restored';
}

test.each<[string, 'kvm' | 'tcg', CpuFacts | undefined, string, RegExp]>([
  ['the same CPU', 'kvm', CPU, '7.2.22', new RegExp(WAKES)],
  ['another model', 'kvm', {...CPU, model: '106'}, '7.2.22', /no snapshot/],
  ['another vendor', 'kvm', {...CPU, vendor: 'AuthenticAMD'}, '7.2.22', /no snapshot/],
  ['other microcode', 'kvm', {...CPU, microcode: '0x1'}, '7.2.22', /no snapshot/],
  ['other flags', 'kvm', {...CPU, flags: ['fpu', 'avx2']}, '7.2.22', /no snapshot/],
  ['a CPU that is not told', 'kvm', undefined, '7.2.22', /does not tell its CPU/],
  ['another QEMU', 'kvm', CPU, '8.0.0', /no snapshot/],
  ['emulation', 'tcg', CPU, '7.2.22', /no snapshot/],
])('what was frozen under KVM, on %s', async (_what, accelerator, cpu, version, expected) => {
  await keep(warmStart(CPU), 'kvm');
  expect(await reason(warmStart(cpu, version), accelerator)).toMatch(expected);
});

test('what failed once is not tried twice', async () => {
  await keep(warmStart(CPU), 'kvm');
  expect(await reason(warmStart(CPU), 'kvm')).toMatch(WAKES);
  expect(await reason(warmStart(CPU), 'kvm')).toMatch(/no snapshot/);
});

test('under emulation every CPU is the same', async () => {
  await keep(warmStart(CPU), 'tcg');
  expect(await reason(warmStart(undefined), 'tcg')).toMatch(WAKES);
});
