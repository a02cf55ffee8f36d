import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {type BootFiles, findBootFiles} from '../../src/disk/boot-files.ts';
import type {FileInside} from '../../src/disk/ext4.ts';
import {openQcow2} from '../../src/disk/qcow2.ts';
import {localFiles} from '../../src/host/files.ts';
import {unpack} from '../../src/host/unpack.ts';
import {GRUB_COMMAND_LINE, INITRD, KERNEL, SYSLINUX_COMMAND_LINE} from '../support/boot-disk.ts';

// Made by mke2fs and qemu-img; __tests__/vm/boot-disk.itg.ts makes many more.
const SYSLINUX = '__tests__/fixtures/disk/syslinux.qcow2';
const GRUB = '__tests__/fixtures/disk/grub.qcow2';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'boot-files-'));
});
afterAll(() => rmSync(dir, {recursive: true}));

const find = async (path: string): Promise<BootFiles> =>
  findBootFiles(await openQcow2(localFiles, unpack, path));

async function bytesOf(file: FileInside | undefined): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of file?.chunks() ?? []) parts.push(chunk);
  return Buffer.concat(parts);
}

test('an MBR, deflate, clusters of 4 KiB, SYSLINUX', async () => {
  const boot = await find(SYSLINUX);
  expect(boot).toMatchObject({commandLine: SYSLINUX_COMMAND_LINE, config: '/boot/syslinux.cfg'});
  expect(boot.kernel.path).toBe('/boot/vmlinuz');
  expect((await bytesOf(boot.kernel)).equals(KERNEL)).toBe(true);
  expect((await bytesOf(boot.initrd)).equals(INITRD)).toBe(true);
});

test('a GPT, zstd, clusters of 8 KiB, blocks of 1 KiB, symbolic links, GRUB on the second partition', async () => {
  const boot = await find(GRUB);
  expect(boot).toMatchObject({commandLine: GRUB_COMMAND_LINE, config: '/boot/grub/grub.cfg'});
  expect((await bytesOf(boot.kernel)).equals(KERNEL)).toBe(true);
  expect((await bytesOf(boot.initrd)).equals(INITRD)).toBe(true);
});

test('parts of a file, and what is beyond its end', async () => {
  const {kernel} = await find(SYSLINUX);
  expect((await kernel.read(1000, 5000)).equals(KERNEL.subarray(1000, 6000))).toBe(true);
  expect((await kernel.read(KERNEL.length - 3, 100)).equals(KERNEL.subarray(-3))).toBe(true);
  expect((await kernel.read(KERNEL.length + 1, 100)).length).toBe(0);
});

describe('an image that is not read', () => {
  test.each<[string, (bytes: Buffer) => Buffer | undefined, RegExp]>([
    ['no qcow2', () => Buffer.from('x'), /no qcow2 image/],
    ['a backing file', bytes => void bytes.writeBigUInt64BE(200n, 8), /features that are not read/],
    ['a key', bytes => void bytes.writeUInt32BE(1, 32), /features that are not read/],
    ['an unknown feature', bytes => void bytes.writeBigUInt64BE(1n << 9n, 72), /features that are not read/],
    ['another version', bytes => void bytes.writeUInt32BE(4, 4), /features that are not read/],
    ['odd clusters', bytes => void bytes.writeUInt32BE(40, 20), /features that are not read/],
    ['a short first table', bytes => void bytes.writeUInt32BE(0, 36), /first table is too short/],
    ['cut off', bytes => bytes.subarray(0, 20_000), /truncated|compressed cluster|buffer/],
  ])('%s', async (_name, change, reason) => {
    const bytes = readFileSync(SYSLINUX);
    const path = join(dir, 'changed.qcow2');
    writeFileSync(path, change(bytes) ?? bytes);
    await expect(find(path)).rejects.toThrow(reason);
  });

  test('an unknown compression', async () => {
    const bytes = readFileSync(GRUB);
    bytes.writeUInt8(7, 104);
    writeFileSync(join(dir, 'changed.qcow2'), bytes);
    await expect(find(join(dir, 'changed.qcow2'))).rejects.toThrow(/features that are not read/);
  });

  test('nothing is read beyond a disk', async () => {
    const disk = await openQcow2(localFiles, unpack, SYSLINUX);
    await expect(disk.read(disk.sizeBytes - 1, 2)).rejects.toThrow(/the disk has 8388608 bytes/);
    await expect(disk.read(-1, 2)).rejects.toThrow(/the disk has 8388608 bytes/);
  });
});

describe('a file system that is not read', () => {
  /** A change of the file system's bytes, which lie 1 MiB into the disk. */
  async function changed(change: (fs: Buffer) => void): Promise<BootFiles> {
    const disk = await openQcow2(localFiles, unpack, SYSLINUX);
    const bytes = await disk.read(0, disk.sizeBytes);
    change(bytes.subarray(1024 ** 2));
    return findBootFiles({sizeBytes: bytes.length, read: async (at, n) => bytes.subarray(at, at + n)});
  }
  const superblock = 1024;

  test('it is, unchanged', async () => expect((await changed(() => undefined)).config).toBeTruthy());

  test.each<[string, (fs: Buffer) => void, RegExp]>([
    ['not unmounted', fs => void fs.writeUInt32LE(fs.readUInt32LE(1120) | 4, 1120), /not read here \(0x4\)/],
    ['data in inodes', fs => void fs.writeUInt32LE(fs.readUInt32LE(1120) | 0x8000, 1120), /\(0x8000\)/],
    ['another', fs => void fs.writeUInt16LE(0, superblock + 56), /no boot loader configuration/],
    ['no inodes', fs => void fs.writeUInt32LE(0, superblock + 40), /damaged/],
    ['huge blocks', fs => void fs.writeUInt32LE(20, superblock + 24), /damaged/],
    ['few inodes', fs => void fs.writeUInt32LE(1, superblock), /damaged: an inode number/],
  ])('%s', async (_name, change, reason) => {
    await expect(changed(change)).rejects.toThrow(reason);
  });

  test('a directory that says it is huge is not searched for ever', async () => {
    // Inode 2, the root directory: a hole of 4 GiB reads as empty blocks.
    const huge = changed(fs => {
      const blockBytes = 1024 << fs.readUInt32LE(superblock + 24);
      const descriptors = (Math.floor(superblock / blockBytes) + 1) * blockBytes;
      const table = fs.readUInt32LE(descriptors + 8) * blockBytes;
      fs.writeUInt32LE(0xfffff000, table + fs.readUInt16LE(superblock + 88) + 4);
    });
    await expect(huge).rejects.toThrow('its directories are too large');
  });

  // A seed of its own, so that a failure can be looked at.
  test('bytes that are changed at random end in an error or in a result, soon', async () => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const disk = await openQcow2(localFiles, unpack, SYSLINUX);
    const original = await disk.read(0, disk.sizeBytes);
    const used = [...original.keys()].filter(at => original[at] !== 0 && at < 1024 ** 2 + 600_000);
    let [failed, read] = [0, 0];
    for (let round = 0; round < 150; round++) {
      const bytes = Buffer.from(original);
      for (let i = 0; i < 60; i++) bytes[used[random(used.length)] ?? 0] = random(256);
      const range = {
        sizeBytes: bytes.length,
        async read(at: number, n: number) {
          if (!(at >= 0 && n >= 0 && at + n <= bytes.length)) throw new Error('beyond');
          return bytes.subarray(at, at + n);
        },
      };
      try {
        const boot = await findBootFiles(range);
        await boot.kernel.read(0, 1000);
        await boot.initrd?.read(0, 1000);
        read++;
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        // A RangeError of Buffer's would mean that something was believed unseen.
        expect((error as Error).name).toBe('Error');
        failed++;
      }
    }
    expect(failed).toBeGreaterThan(10);
    expect(read).toBeGreaterThan(10);
  });
});
