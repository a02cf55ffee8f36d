import {closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {findBootFiles} from '../../src/disk/boot-files.ts';
import {Ext4, type FileInside} from '../../src/disk/ext4.ts';
import {partitions} from '../../src/disk/partitions.ts';
import {openQcow2} from '../../src/disk/qcow2.ts';
import {localFiles} from '../../src/host/files.ts';
import {unpack} from '../../src/host/unpack.ts';
import {
  type BootDiskOptions,
  GRUB_COMMAND_LINE,
  GRUB_TREE,
  INITRD,
  KERNEL,
  makeBootDisk,
  SYSLINUX_CFG,
  SYSLINUX_COMMAND_LINE,
  SYSLINUX_TREE,
} from '../support/boot-disk.ts';

// Disks as mke2fs and qemu-img make them, in all the ways that matter to a reader.

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'itg-boot-disk-'));
});
afterAll(() => rmSync(dir, {recursive: true}));

async function opened(options: BootDiskOptions) {
  const path = join(dir, 'disk.qcow2');
  rmSync(path, {force: true});
  makeBootDisk(path, options);
  return openQcow2(localFiles, unpack, path);
}

const find = async (options: BootDiskOptions) => findBootFiles(await opened(options));

async function bytesOf(file: FileInside | undefined): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of file?.chunks() ?? []) parts.push(chunk);
  return Buffer.concat(parts);
}

const zstd = ['-c', '-o', 'compression_type=zstd'];
const split = [
  {'syslinux.cfg': SYSLINUX_CFG.replaceAll('/boot/', '/'), vmlinuz: KERNEL, 'initrd.img': INITRD},
  {'etc/hostname': 'localhost\n'},
];

describe('the kernel, the initrd and the command line of', () => {
  const syslinux = SYSLINUX_COMMAND_LINE;
  test.each<[string, Omit<BootDiskOptions, 'trees'> & Partial<BootDiskOptions>, string]>([
    ["mke2fs's and qemu-img's defaults", {}, syslinux],
    ['blocks of 1 KiB', {mke2fs: ['-b', '1024']}, syslinux],
    ['blocks of 2 KiB, small inodes', {mke2fs: ['-b', '2048', '-I', '128']}, syslinux],
    ['no 64-bit, no groups, no checksums', {mke2fs: ['-O', '^64bit,^flex_bg,^metadata_csum']}, syslinux],
    ['checksums with a seed', {mke2fs: ['-O', 'metadata_csum,metadata_csum_seed']}, syslinux],
    ['clusters of blocks', {mke2fs: ['-O', 'bigalloc']}, syslinux],
    ['no journal, no index', {mke2fs: ['-O', '^has_journal,^dir_index']}, syslinux],
    ['large directories, protection from two mounts', {mke2fs: ['-O', 'large_dir,mmp']}, syslinux],
    ['many groups', {mke2fs: ['-b', '1024', '-g', '1024']}, syslinux],
    ['a GPT, zstd', {table: 'gpt', convert: zstd}, syslinux],
    ['no table', {table: 'none'}, syslinux],
    ['nothing compressed', {convert: []}, syslinux],
    ['qcow2 of old', {convert: ['-c', '-o', 'compat=0.10']}, syslinux],
    ['small clusters', {convert: ['-c', '-o', 'cluster_size=512']}, syslinux],
    ['large clusters', {convert: ['-c', '-o', 'cluster_size=2M']}, syslinux],
    ['large clusters, zstd', {convert: ['-c', '-o', 'cluster_size=2M,compression_type=zstd']}, syslinux],
    ['GRUB and symbolic links', {trees: [GRUB_TREE]}, GRUB_COMMAND_LINE],
    ['a /boot of its own', {trees: split, table: 'gpt'}, syslinux.replaceAll('/boot/', '/')],
  ])('%s', async (_name, options, commandLine) => {
    const boot = await find({trees: [SYSLINUX_TREE], ...options});
    expect(boot.commandLine).toBe(commandLine);
    expect((await bytesOf(boot.kernel)).equals(KERNEL)).toBe(true);
    expect((await bytesOf(boot.initrd)).equals(INITRD)).toBe(true);
  });

  test.each<[string, Omit<BootDiskOptions, 'trees'> & Partial<BootDiskOptions>, RegExp]>([
    ['block maps', {mke2fs: ['-O', '^extents,^64bit']}, /a block map in place of extents/],
    ['data in inodes', {mke2fs: ['-O', 'inline_data']}, /features that are not read here \(0x8000\)/],
    ['scattered descriptors', {mke2fs: ['-O', '^resize_inode,meta_bg']}, /not read here \(0x10\)/],
    ['clusters in parts', {convert: ['-o', 'extended_l2=on']}, /the qcow2 image has features/],
    ['nothing to boot', {trees: [{'etc/hostname': 'a'}]}, /no boot loader configuration/],
    ['two loaders', {trees: [{...SYSLINUX_TREE, ...GRUB_TREE}]}, /two boot loader configurations/],
    ['loaders on two partitions', {trees: [SYSLINUX_TREE, GRUB_TREE]}, /two boot loader configurations/],
    [
      'a kernel that is not there',
      {trees: [{'boot/syslinux.cfg': SYSLINUX_CFG}]},
      /^\/boot\/syslinux\.cfg of the disk: it names \/boot\/vmlinuz, which is not there$/,
    ],
    [
      'a kernel that is a directory',
      {trees: [{...GRUB_TREE, vmlinuz: {link: 'boot/grub'}}]},
      /names \/vmlinuz, which is not there/,
    ],
    [
      'links that go round',
      {trees: [{...GRUB_TREE, vmlinuz: {link: 'a'}, a: {link: 'vmlinuz'}}]},
      /too many symbolic links/,
    ],
    ['no kernel', {trees: [{...SYSLINUX_TREE, 'boot/vmlinuz': 'x'.repeat(999)}]}, /no Linux kernel for x86/],
    ['an empty initrd', {trees: [{...SYSLINUX_TREE, 'boot/initrd.img': ''}]}, /has 0 bytes/],
    [
      'a huge configuration',
      {trees: [{...SYSLINUX_TREE, 'boot/syslinux.cfg': '#\n'.repeat(40_000)}]},
      /has 80000 bytes/,
    ],
  ])('are left to the boot loader: %s', async (_name, options, reason) => {
    await expect(find({trees: [SYSLINUX_TREE], ...options})).rejects.toThrow(reason);
  });
});

test('files among thousands, with holes, in many pieces, behind links', async () => {
  const many = Object.fromEntries(
    Array.from({length: 5000}, (_, i) => [`many/a-name-that-takes-some-room-${i}`, `${i}`]),
  );
  const sparse = join(dir, 'sparse');
  const handle = openSync(sparse, 'w');
  ftruncateSync(handle, 3_000_001);
  for (let i = 0; i < 40; i++) writeSync(handle, `piece ${i}`, i * 70_000);
  closeSync(handle);
  const disk = await opened({
    trees: [
      {
        ...many,
        [`long/${'l'.repeat(200)}`]: 'behind a long link',
        link: {link: `/long/${'l'.repeat(200)}`},
        'up/link': {link: '../../../many/../link'},
        sparse: readFileSync(sparse),
      },
    ],
    mke2fs: ['-b', '1024', '-N', '8000'],
    partitionMib: 32,
  });
  const [part] = await partitions(disk);
  const fs = part && (await Ext4.open(part));
  if (!fs) throw new Error('there is no file system');
  for (const i of [0, 1, 2499, 4999]) {
    const found = await fs.find(`/many/a-name-that-takes-some-room-${i}`);
    expect((await bytesOf(found)).toString()).toBe(`${i}`);
  }
  expect(await fs.find('/many/a-name-that-takes-some-room-')).toBeUndefined();
  expect((await bytesOf(await fs.find('up/link'))).toString()).toBe('behind a long link');
  expect((await bytesOf(await fs.find('/sparse'))).equals(readFileSync(sparse))).toBe(true);
  expect(await fs.find('/sparse/more')).toBeUndefined();
  expect(await fs.find('/many')).toBeUndefined();
});
