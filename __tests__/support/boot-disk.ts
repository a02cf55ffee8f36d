import {execFileSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import type {BlockRange} from '../../src/base/disk.ts';
import {bzImage} from './kernel-image.ts';

const MIB = 1024 ** 2;

/** As d2vm writes it, which is what published archives are made with. */
export const SYSLINUX_CFG = `DEFAULT linux
  SAY Now booting the kernel from SYSLINUX...
 LABEL linux
  KERNEL /boot/vmlinuz
  APPEND ro initrd=/boot/initrd.img root=UUID=1b1b7c5e-1d2e-4d5e-8f00-0123456789ab net.ifnames=0 rootfstype=ext4 console=tty0 console=ttyS0,115200n8 
`;
export const SYSLINUX_COMMAND_LINE = `BOOT_IMAGE=/boot/vmlinuz ro initrd=/boot/initrd.img root=UUID=1b1b7c5e-1d2e-4d5e-8f00-0123456789ab net.ifnames=0 rootfstype=ext4 console=tty0 console=ttyS0,115200n8`;

/** As the forge writes it. */
export const GRUB_CFG = `serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
linux /vmlinuz root=LABEL=root ro console=ttyS0,115200
initrd /initrd.img
boot
`;
export const GRUB_COMMAND_LINE = 'BOOT_IMAGE=/vmlinuz root=LABEL=root ro console=ttyS0,115200';

/** An initrd that does not compress, and does not end with a block. */
export const INITRD = Buffer.from(Array.from({length: 20_001}, (_, i) => (i * i * 31 + (i >> 7)) & 255));
/** Its payload is nothing: what a compressor writes depends on its version, and disks that were made with it are kept. */
export const KERNEL = bzImage(INITRD.subarray(0, 12_000));

/** A file's bytes, or `{link}`. */
export type Tree = Readonly<Record<string, Buffer | string | {readonly link: string}>>;

export const SYSLINUX_TREE: Tree = {
  'boot/syslinux.cfg': SYSLINUX_CFG,
  'boot/vmlinuz': KERNEL,
  'boot/initrd.img': INITRD,
  'etc/hostname': 'localhost\n',
};

export const GRUB_TREE: Tree = {
  'boot/grub/grub.cfg': GRUB_CFG,
  'boot/vmlinuz-6.1.0-9-amd64': KERNEL,
  'boot/initrd.img-6.1.0-9-amd64': INITRD,
  vmlinuz: {link: 'boot/vmlinuz-6.1.0-9-amd64'},
  'initrd.img': {link: '/boot/../boot/./initrd.img-6.1.0-9-amd64'},
};

export interface BootDiskOptions {
  readonly table?: 'mbr' | 'gpt' | 'none';
  /** One file system each. */
  readonly trees: readonly Tree[];
  readonly mke2fs?: readonly string[];
  readonly convert?: readonly string[];
  readonly partitionMib?: number;
}

/** A qcow2 disk with file systems on it, by mke2fs and qemu-img. */
export function makeBootDisk(dest: string, options: BootDiskOptions): void {
  const {table = 'mbr', trees, mke2fs = [], convert = ['-c'], partitionMib = 8} = options;
  const dir = mkdtempSync(join(tmpdir(), 'boot-disk-'));
  try {
    const raw = join(dir, 'raw');
    const firstMib = table === 'none' ? 0 : 1;
    const starts = trees.map((_, index) => (firstMib + index * partitionMib) * MIB);
    const sizeMib = firstMib + trees.length * partitionMib + 1;
    execFileSync('truncate', ['-s', `${sizeMib}M`, raw]);
    if (table !== 'none')
      writeFileSync(raw, tableOf(table, starts, partitionMib * MIB, sizeMib * MIB), {flag: 'r+'});
    trees.forEach((tree, index) => {
      const root = join(dir, `root-${index}`);
      writeTree(root, tree);
      execFileSync('mke2fs', [
        ...['-q', '-F', '-t', 'ext4', '-d', root, '-E', `offset=${starts[index]}`, ...mke2fs],
        ...[raw, `${partitionMib}m`],
      ]);
    });
    execFileSync('qemu-img', ['convert', '-O', 'qcow2', ...convert, raw, dest]);
  } finally {
    rmSync(dir, {recursive: true});
  }
}

function writeTree(root: string, tree: Tree): void {
  mkdirSync(root);
  for (const [name, content] of Object.entries(tree)) {
    mkdirSync(dirname(join(root, name)), {recursive: true});
    if (typeof content === 'object' && 'link' in content) symlinkSync(content.link, join(root, name));
    else writeFileSync(join(root, name), content);
  }
}

/** The first bytes of a disk with equal partitions at these places. */
export function tableOf(
  kind: 'mbr' | 'gpt',
  starts: readonly number[],
  partBytes: number,
  diskBytes: number,
): Buffer {
  const bytes = Buffer.alloc(34 * 512);
  bytes.writeUInt16LE(0xaa55, 510);
  const mbrEntry = (index: number, type: number, first: number, sectors: number): void => {
    const at = 446 + index * 16;
    bytes.writeUInt8(type, at + 4);
    bytes.writeUInt32LE(first, at + 8);
    bytes.writeUInt32LE(sectors, at + 12);
  };
  if (kind === 'mbr') {
    for (const [index, start] of starts.entries()) mbrEntry(index, 0x83, start / 512, partBytes / 512);
    return bytes;
  }
  mbrEntry(0, 0xee, 1, diskBytes / 512 - 1);
  bytes.write('EFI PART', 512, 'latin1');
  bytes.writeBigUInt64LE(2n, 512 + 72);
  bytes.writeUInt32LE(128, 512 + 80);
  bytes.writeUInt32LE(128, 512 + 84);
  // The second entry stays empty: gaps are allowed.
  for (const [index, start] of starts.entries()) {
    const at = 1024 + (index === 0 ? 0 : index + 1) * 128;
    bytes.write('af3dc60f838472478e793d69d8477de4', at, 'hex');
    bytes.writeBigUInt64LE(BigInt(start / 512), at + 32);
    bytes.writeBigUInt64LE(BigInt((start + partBytes) / 512 - 1), at + 40);
  }
  return bytes;
}

/** Bytes as a disk. */
export function diskOfBytes(bytes: Buffer): BlockRange {
  return {
    sizeBytes: bytes.length,
    async read(offsetBytes, lengthBytes) {
      if (offsetBytes < 0 || lengthBytes < 0 || offsetBytes + lengthBytes > bytes.length)
        throw new Error('beyond its end');
      return bytes.subarray(offsetBytes, offsetBytes + lengthBytes);
    },
  };
}
