import {mkdtempSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {gzipSync} from 'node:zlib';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {CanceledError} from '../../src/base/errors.ts';
import type {JobEvent} from '../../src/base/events.ts';
import type {BootFiles} from '../../src/disk/boot-files.ts';
import {KERNEL_HEADER_BYTES, readKernelHeader} from '../../src/disk/kernel-image.ts';
import {localPorts} from '../../src/host/local.ts';
import {bootFilesOf, type KernelPorts, takeKernel} from '../../src/vm/kernel.ts';
import {bzImage, note, vmlinux} from '../support/kernel-image.ts';

let runDir: string;
beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), 'kernel-'));
});
afterEach(() => rmSync(runDir, {recursive: true}));

const said: string[] = [];
const emit = (event: JobEvent): void => void (event.kind === 'notice' && said.push(event.message));
const ports: KernelPorts = {...localPorts, emit};

function bootOf(kernel: Buffer, initrd: Buffer | undefined = Buffer.from('initrd')): BootFiles {
  const file = (bytes: Buffer) => ({
    sizeBytes: bytes.length,
    read: async (offset: number, length: number) => bytes.subarray(offset, offset + length),
    async *chunks() {
      yield bytes;
    },
  });
  const payload = readKernelHeader(kernel.subarray(0, KERNEL_HEADER_BYTES), kernel.length);
  return {
    commandLine: 'BOOT_IMAGE=/k ro',
    config: '/boot/syslinux.cfg',
    kernel: {...file(kernel), path: '/k', payload},
    ...(initrd && {initrd: file(initrd)}),
  };
}

const take = (...args: [KernelPorts, BootFiles, Parameters<typeof takeKernel>[2]]) =>
  takeKernel(...args, new AbortController().signal);

const TCG = {accelerator: 'tcg', memoryMib: 128} as const;
const taken = (name: string): Buffer => readFileSync(join(runDir, 'boot', name));
const isElf = (): boolean => taken('kernel').toString('latin1', 1, 4) === 'ELF';

describe('takeKernel', () => {
  test('under KVM all is as it lies on the disk', async () => {
    const kernel = bzImage();
    const found = await take(ports, bootOf(kernel), {accelerator: 'kvm', memoryMib: 128, runDir});
    expect(found).toEqual({
      path: join(runDir, 'boot', 'kernel'),
      initrdPath: join(runDir, 'boot', 'initrd'),
      commandLine: 'BOOT_IMAGE=/k ro',
    });
    expect(taken('kernel').equals(kernel)).toBe(true);
    expect(taken('initrd').toString()).toBe('initrd');
  });

  test('under TCG the kernel is unpacked, and nothing else stays', async () => {
    await take(ports, bootOf(bzImage()), {...TCG, runDir});
    expect(isElf()).toBe(true);
    expect(readdirSync(join(runDir, 'boot')).sort()).toEqual(['initrd', 'kernel']);
  });

  test('a disk without initrd', async () => {
    const boot = bootOf(bzImage());
    const {initrd: _, ...without} = boot;
    const found = await take(ports, without, {...TCG, runDir});
    expect(found).not.toHaveProperty('initrdPath');
    expect(readdirSync(join(runDir, 'boot'))).toEqual(['kernel']);
  });

  test('an initrd of one packed stream is unpacked under TCG', async () => {
    const content = Buffer.from('070701 an archive '.repeat(10_000));
    const boot = bootOf(bzImage(), gzipSync(content));
    const tcg = await take(ports, boot, {...TCG, runDir});
    expect(readFileSync(tcg.initrdPath ?? '').equals(content)).toBe(true);
    rmSync(join(runDir, 'boot'), {recursive: true});
    const kvm = await take(ports, boot, {...TCG, accelerator: 'kvm', runDir});
    expect(readFileSync(kvm.initrdPath ?? '').equals(gzipSync(content))).toBe(true);
  });

  test.each<[string, Buffer]>([
    ['not packed', Buffer.from('070701 microcode')],
    ['what is behind the stream', Buffer.concat([gzipSync(Buffer.from('a')), Buffer.from('garbage')])],
    ['cut off', gzipSync(Buffer.alloc(100_000, 'ab')).subarray(0, -9)],
    ['more than a machine can hold twice', gzipSync(Buffer.alloc(40 * 1024 ** 2))],
  ])('an initrd that goes as it is: %s', async (_name, initrd) => {
    const {initrdPath = ''} = await take(ports, bootOf(bzImage(), initrd), {...TCG, runDir});
    expect(readFileSync(initrdPath).equals(initrd)).toBe(true);
    expect(readdirSync(join(runDir, 'boot')).sort()).toEqual(['initrd', 'kernel']);
  });

  const lying = (size: number): Buffer => {
    const packed = gzipSync(vmlinux());
    packed.writeUInt32LE(size, packed.length - 4);
    return packed;
  };
  const whole = gzipSync(vmlinux());
  test.each<[string, Buffer, Partial<KernelPorts>?, number?]>([
    ['an old protocol', bzImage(whole, {version: 0x0207})],
    ['packed in an unknown way', bzImage(Buffer.alloc(100, 9))],
    [
      'no such program here',
      bzImage(whole),
      {processes: {...localPorts.processes, find: async () => undefined}},
    ],
    ['it says that it is larger than it is', bzImage(lying(50_000_000))],
    ['it is larger than it says', bzImage(lying(100_000))],
    ['it says that it is huge', bzImage(lying(0xffffffff))],
    ['damaged', bzImage(whole.subarray(0, -500))],
    ['it cannot be entered', bzImage(gzipSync(vmlinux({notes: note('GNU\0', 3, Buffer.alloc(4))})))],
    ['no room for it in the machine', bzImage(whole), {}, 16],
  ])('it unpacks itself: %s', async (_name, kernel, other = {}, memoryMib = 128) => {
    await take({...ports, ...other}, bootOf(kernel), {...TCG, memoryMib, runDir});
    expect(taken('kernel').equals(kernel)).toBe(true);
    expect(readdirSync(join(runDir, 'boot')).sort()).toEqual(['initrd', 'kernel']);
  });

  test('a cancel ends the program that unpacks, and the whole', async () => {
    const controller = new AbortController();
    const processes: KernelPorts['processes'] = {
      find: async program => program,
      output: async (_command, options) => {
        // One that takes long; the real one is given the same signal.
        const ended = localPorts.processes.output({file: 'sleep', args: ['600']}, options);
        controller.abort(new CanceledError('canceled by SIGINT'));
        return ended;
      },
    };
    const spec = {...TCG, runDir};
    const taking = takeKernel({...ports, processes}, bootOf(bzImage()), spec, controller.signal);
    await expect(taking).rejects.toThrow(CanceledError);
    expect(readdirSync(join(runDir, 'boot')).filter(name => name.startsWith('kernel'))).toEqual([]);
  });

  test('more than it says is not even written', async () => {
    const sizes: number[] = [];
    const files: KernelPorts['files'] = {
      ...localPorts.files,
      async size(path) {
        const size = await localPorts.files.size(path);
        if (path.endsWith('.whole')) sizes.push(size ?? -1);
        return size;
      },
      async remove(path) {
        if (path.endsWith('.whole')) sizes.push((await localPorts.files.size(path)) ?? -1);
        return localPorts.files.remove(path);
      },
    };
    await take({...ports, files}, bootOf(bzImage(lying(100_000))), {...TCG, runDir});
    expect(sizes.every(size => size <= 102_400)).toBe(true);
    expect(sizes.length).toBeGreaterThan(0);
  });
});

describe('bootFilesOf', () => {
  test.each<[string, string, RegExp, boolean]>([
    ['found', '__tests__/fixtures/disk/syslinux.qcow2', /starts the disk's \/boot\/vmlinuz directly/, true],
    ['no disk', 'package.json', /through its disk's boot loader \(the disk is no qcow2 image\)/, false],
    ['no file', '/nonexistent', /through its disk's boot loader \(.*ENOENT/, false],
  ])('says which way it is: %s', async (_name, path, message, isFound) => {
    said.length = 0;
    expect((await bootFilesOf(ports, path)) !== undefined).toBe(isFound);
    expect(said).toEqual([expect.stringMatching(message)]);
  });
});
