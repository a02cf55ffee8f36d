import {describe, expect, test} from '@jest/globals';
import {
  bootArea,
  debugfsArgs,
  e2fsckArgs,
  grubMkimageArgs,
  mbr,
  mke2fsArgs,
  qemuImgConvertArgs,
} from '../../src/forge/disk-layout.ts';

const GIB = 1024 ** 3;
const bootImage = Buffer.alloc(512, 0xab);

describe('mbr', () => {
  const sector = mbr(bootImage, 10 * GIB);

  test('takes the first 440 bytes of boot.img as boot code and no more', () => {
    expect(sector.length).toBe(512);
    expect(sector.subarray(0, 440).every(byte => byte === 0xab)).toBe(true);
    expect(sector.subarray(440, 446).equals(Buffer.alloc(6))).toBe(true);
  });

  test('has one active Linux partition from 1 MiB to the end', () => {
    const entry = sector.subarray(446, 462);
    expect(entry[0]).toBe(0x80);
    expect(entry[4]).toBe(0x83);
    expect(entry.readUInt32LE(8)).toBe(2048);
    expect(entry.readUInt32LE(12)).toBe(10 * 1024 * 2048 - 2048);
    expect(sector.subarray(462, 510).equals(Buffer.alloc(48))).toBe(true);
  });

  test('ends with the signature', () => {
    expect([sector[510], sector[511]]).toEqual([0x55, 0xaa]);
  });

  test('refuses a boot.img that is too short', () => {
    expect(() => mbr(Buffer.alloc(100), GIB)).toThrow('boot.img has only 100 bytes');
  });
});

test('the core image follows the first sector and must end before the partition', () => {
  const core = Buffer.alloc(1000, 1);
  expect(bootArea(bootImage, core, GIB).subarray(512).equals(core)).toBe(true);
  expect(() => bootArea(bootImage, Buffer.alloc(1024 * 1024), GIB)).toThrow('fit before the partition');
});

describe('arguments', () => {
  test.each([
    [
      'mke2fs',
      mke2fsArgs('/d', '/r', 10 * GIB),
      'mke2fs -q -F -t ext4 -L root -m 0 -b 4096 -O ^metadata_csum_seed,^orphan_file -d /r -E offset=1048576,assume_storage_prezeroed=1,lazy_itable_init=1 /d 2621184',
    ],
    [
      'grub-mkimage',
      grubMkimageArgs('/c'),
      'grub-mkimage -O i386-pc -p (hd0,msdos1)/boot/grub -o /c biosdisk part_msdos ext2 normal linux configfile serial terminal echo minicmd',
    ],
    ['e2fsck', e2fsckArgs('d'), 'e2fsck -f -n d?offset=1048576'],
    ['debugfs', debugfsArgs('d', 's'), 'debugfs -w -f s d?offset=1048576'],
    [
      'qemu-img',
      qemuImgConvertArgs('d', 'q', 'zstd'),
      'qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd d q',
    ],
  ])('%s', (_name, argv, expected) => {
    expect(argv.join(' ')).toBe(expected);
  });
});
