import {describe, expect, test} from '@jest/globals';
import type {AcceleratorChoice} from '../../src/vm/accelerator.ts';
import {FAST_NEEDS, findHostQemu, PUBLISHED_NEEDS, proveQemu} from '../../src/vm/find-qemu.ts';
import {type MachineSpec, type QemuProgram, qemuArgs} from '../../src/vm/qemu-args.ts';
import {type Answer, fakeProcesses, qemuWithout} from './fake-host.ts';

const FILE = '/usr/bin/qemu-system-x86_64';
const prove = async (
  answer: (args: string) => Answer | undefined,
  accelerator: AcceleratorChoice = 'auto',
): Promise<QemuProgram> => {
  const processes = fakeProcesses({[FILE]: answer});
  const candidate = await findHostQemu(processes);
  if (!candidate) throw new Error('not found');
  return proveQemu(processes, candidate, accelerator);
};

test('a QEMU that has everything', async () => {
  expect(await prove(qemuWithout())).toEqual({
    file: FILE,
    prefixArgs: [],
    env: {},
    origin: 'host',
    version: '7.2.22',
    build: 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)',
  });
});

test('no QEMU is no candidate', async () => {
  expect(await findHostQemu(fakeProcesses({}))).toBeUndefined();
});

describe('a QEMU that is passed over', () => {
  test.each<[string, (args: string) => Answer | undefined, AcceleratorChoice, RegExp]>([
    ['without user networking', qemuWithout(/^user$/), 'auto', /7\.2\.22 is built without netdev user$/],
    ['without the board', qemuWithout(/^pc /), 'auto', /without machine pc$/],
    ['a microvm build', qemuWithout(/^pc |"VGA"|"ide-hd"/), 'auto', /machine pc, device ide-hd, device VGA$/],
    ['without TCG, when it is asked for', qemuWithout(/^tcg$/), 'tcg', /without accel tcg$/],
    ['without KVM, when it is demanded', qemuWithout(/^kvm$/), 'kvm', /without accel kvm$/],
    ['without any', qemuWithout(/^(?:kvm|tcg)$/), 'auto', /without accel kvm or tcg$/],
    [
      'that misses a library',
      () => ({code: 127, stderr: 'error while loading shared libraries: libslirp.so.0'}),
      'auto',
      /the host's QEMU does not run: error while loading.*libslirp/,
    ],
    ['that is another program', () => 'hello', 'auto', /does not run: it says "hello"/],
    ['that is killed', () => ({code: undefined, signal: 'SIGSEGV'}), 'auto', /does not run: SIGSEGV/],
    ['that hangs', () => new Error('did not end within 20000 ms'), 'auto', /does not run: did not end/],
  ])('%s', async (_name, answer, accelerator, message) => {
    await expect(prove(answer, accelerator)).rejects.toThrow(message);
  });

  test.each<[AcceleratorChoice, RegExp]>([
    ['auto', /^tcg$/],
    ['kvm', /^tcg$/],
    ['tcg', /^kvm$/],
  ])('but not for an accelerator that %s does not need', async (accelerator, without) => {
    expect((await prove(qemuWithout(without), accelerator)).version).toBe('7.2.22');
  });

  test('older lists of accelerators stand on one line', async () => {
    const old = (args: string): Answer | undefined =>
      args === '-accel help' ? 'Possible accelerators: kvm, xen, hax, tcg\n' : qemuWithout()(args);
    expect((await prove(old, 'tcg')).version).toBe('7.2.22');
  });
});

test('what only our own line takes is named, and is no reason to pass it over', async () => {
  expect((await prove(qemuWithout(/virtserialport|memory-backend-file/))).lacks).toEqual([
    'device virtserialport',
    'object memory-backend-file',
  ]);
});

test('everything that is asked for is on a command line, and every device on one is asked for', () => {
  const spec = {accelerator: 'tcg', cpus: 2, memoryMib: 2048, runDir: '/r'} as const;
  const published: MachineSpec = {...spec, disk: {kind: 'published', path: '/d'}};
  const fast: MachineSpec = {
    ...spec,
    disk: {kind: 'chain', readOnly: ['/d'], overlay: '/o'},
    ram: {kind: 'shared'},
  };
  const devices = qemuArgs(fast).filter((_arg, i, all) => all[i - 1] === '-device');
  const wanted = [...(PUBLISHED_NEEDS.device ?? []), ...(FAST_NEEDS.device ?? [])];
  for (const device of devices) expect(wanted).toContain(device.split(',')[0]);
  const restored: MachineSpec = {...fast, ram: {kind: 'copy', path: '/ram'}};
  const fastLine = [...qemuArgs(fast), ...qemuArgs(restored)].join(' ');
  for (const name of [...(FAST_NEEDS.device ?? []), ...(FAST_NEEDS.object ?? [])])
    expect(fastLine).toContain(name);
  // The published line says the same in QEMU's older words: if=ide is ide-hd, -vga std is VGA, -nic model=virtio is virtio-net-pci.
  const line = qemuArgs(published).join(' ');
  for (const word of ['pc,accel=', 'if=ide', '-vga std', '-nic user,', 'model=virtio'])
    expect(line).toContain(word);
});
