/**
 * The layout of the boot disk: an MBR with one partition at 1 MiB, GRUB's core image in the gap before it.
 * Sources: the classical MBR partition table (entries of 16 bytes at 446, signature 55 AA at 510) and GRUB's
 * grub-core/boot/i386/pc/boot.S, whose boot code takes the first 440 bytes and loads the core from sector 1.
 */
export const SECTOR_BYTES = 512;
export const PARTITION_OFFSET_BYTES = 1024 * 1024;
export const BLOCK_BYTES = 4096;
const BOOT_CODE_BYTES = 440;
const TABLE_OFFSET_BYTES = 446;
const LINUX_TYPE = 0x83;
const ACTIVE = 0x80;
// "Too far for cylinders, heads and sectors": readers use the sector numbers instead.
const NO_CHS = [0xfe, 0xff, 0xff];

/** The label by which GRUB's configuration and fstab name the root file system. */
export const ROOT_LABEL = 'root';

/** The disk's first sector. `bootImage` is GRUB's boot.img; `diskBytes` a multiple of 1 MiB. */
export function mbr(bootImage: Uint8Array, diskBytes: number): Buffer {
  if (bootImage.length < BOOT_CODE_BYTES) throw new RangeError(`boot.img has only ${bootImage.length} bytes`);
  const sector = Buffer.alloc(SECTOR_BYTES);
  sector.set(bootImage.subarray(0, BOOT_CODE_BYTES));
  const entry = sector.subarray(TABLE_OFFSET_BYTES);
  entry[0] = ACTIVE;
  entry.set(NO_CHS, 1);
  entry[4] = LINUX_TYPE;
  entry.set(NO_CHS, 5);
  entry.writeUInt32LE(PARTITION_OFFSET_BYTES / SECTOR_BYTES, 8);
  entry.writeUInt32LE((diskBytes - PARTITION_OFFSET_BYTES) / SECTOR_BYTES, 12);
  sector.writeUInt16BE(0x55aa, 510);
  return sector;
}

/** Everything before the partition: the MBR and GRUB's core image from sector 1. */
export function bootArea(bootImage: Uint8Array, coreImage: Uint8Array, diskBytes: number): Buffer {
  const roomBytes = PARTITION_OFFSET_BYTES - SECTOR_BYTES;
  if (coreImage.length > roomBytes) {
    throw new RangeError(
      `GRUB's core image has ${coreImage.length} bytes; ${roomBytes} fit before the partition`,
    );
  }
  return Buffer.concat([mbr(bootImage, diskBytes), coreImage]);
}

/** GRUB's core image with all it needs built in, so that the disk holds no GRUB modules. */
export function grubMkimageArgs(output: string): string[] {
  const modules = [
    'biosdisk',
    'part_msdos',
    'ext2',
    'normal',
    'linux',
    'configfile',
    'serial',
    'terminal',
    'echo',
  ];
  const prefix = '(hd0,msdos1)/boot/grub';
  return ['grub-mkimage', '-O', 'i386-pc', '-p', prefix, '-o', output, ...modules, 'minicmd'];
}

/**
 * ext4 inside a raw disk file, filled from a folder; no loop device, no root. GRUB 2.06 reads neither
 * metadata_csum_seed nor orphan_file. The file is new, hence zero: nothing is left to be zeroed in the VM.
 */
export function mke2fsArgs(disk: string, rootDir: string, diskBytes: number): string[] {
  const blocks = (diskBytes - PARTITION_OFFSET_BYTES) / BLOCK_BYTES;
  const extended = `offset=${PARTITION_OFFSET_BYTES},assume_storage_prezeroed=1,lazy_itable_init=1`;
  const features = '^metadata_csum_seed,^orphan_file';
  const shape = ['-t', 'ext4', '-L', ROOT_LABEL, '-m', '0', '-b', `${BLOCK_BYTES}`, '-O', features];
  return ['mke2fs', '-q', '-F', ...shape, '-d', rootDir, '-E', extended, disk, `${blocks}`];
}

/** How e2fsprogs are told of a file system inside a disk file (`e2fsck(8)`, "?offset="). */
export function partitionOf(disk: string): string {
  return `${disk}?offset=${PARTITION_OFFSET_BYTES}`;
}

export function e2fsckArgs(disk: string): string[] {
  return ['e2fsck', '-f', '-n', partitionOf(disk)];
}

export function debugfsArgs(disk: string, script: string): string[] {
  return ['debugfs', '-w', '-f', script, partitionOf(disk)];
}

/** zstd reads and writes several times faster than zlib; QEMU knows it in qcow2 since 5.1. */
export const QCOW2_COMPRESSIONS = ['zstd', 'zlib'] as const;
export type Qcow2Compression = (typeof QCOW2_COMPRESSIONS)[number];

export function qemuImgConvertArgs(disk: string, qcow2: string, compression: Qcow2Compression): string[] {
  const options = `compression_type=${compression}`;
  return ['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-c', '-o', options, disk, qcow2];
}
