import {createHash} from 'node:crypto';
import {gzipSync} from 'node:zlib';
import {describe, expect, test} from '@jest/globals';
import {KERNEL_HEADER_BYTES, packingOf, readKernelHeader} from '../../src/disk/kernel-image.ts';
import {pvhKernel} from '../../src/disk/pvh.ts';
import {addressNote, bzImage, ENTRY_ADDRESS, note, vmlinux} from '../support/kernel-image.ts';

const MEMORY_BYTES = 128 * 1024 ** 2;

const fileOf = (bytes: Buffer) => ({
  sizeBytes: bytes.length,
  read: async (offset: number, length: number) => bytes.subarray(offset, offset + length),
});

describe('bzImage', () => {
  const header = (bytes: Buffer) => readKernelHeader(bytes.subarray(0, KERNEL_HEADER_BYTES), bytes.length);

  test('its payload is where it says', () => {
    const packed = gzipSync(vmlinux());
    const image = bzImage(packed);
    const payload = header(image);
    if (!payload) throw new Error('no payload');
    const {offsetBytes, lengthBytes} = payload;
    expect(image.subarray(offsetBytes, offsetBytes + lengthBytes).equals(packed)).toBe(true);
  });

  test.each<[string, Buffer]>([
    ['an old protocol', bzImage(undefined, {version: 0x0207})],
    ['a payload beyond its end', bzImage().subarray(0, 2000)],
    ['no payload', bzImage(Buffer.alloc(0))],
  ])('unpacks itself: %s', (_name, image) => expect(header(image)).toBeUndefined());

  test.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['cut off', bzImage().subarray(0, 600)],
    ['an uncompressed kernel', vmlinux()],
    ['zeros', Buffer.alloc(5000)],
  ])('is none: %s', (_name, image) => expect(() => header(image)).toThrow(/no Linux kernel for x86/));

  test.each([
    ['1f8b0800', 'gzip', 0],
    ['28b52ffda4', 'zstd', 4],
    ['fd377a585a000001', 'xz', 4],
    ['5d00008000', 'xz', 4],
    ['02214c18', 'lz4', 4],
    ['425a6839', 'bzip2', 4],
  ])('%s is packed by %s', (hex, program, trailerBytes) => {
    expect(packingOf(Buffer.from(hex, 'hex'))).toMatchObject({program, trailerBytes});
  });

  test('what is not known is not unpacked', () => {
    expect(packingOf(Buffer.from('894c5a4f', 'hex'))).toBeUndefined();
    expect(packingOf(Buffer.alloc(0))).toBeUndefined();
  });
});

async function made(bytes: Buffer, memoryBytes = MEMORY_BYTES): Promise<Buffer | undefined> {
  const chunks = await pvhKernel(fileOf(bytes), memoryBytes);
  if (!chunks) return undefined;
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** What a loader of ELF files finds: each segment's address, memory and bytes, and the notes. */
function loaded(elf: Buffer) {
  const at = Number(elf.readBigUInt64LE(32));
  return Array.from({length: elf.readUInt16LE(56)}, (_, i) => {
    const entry = elf.subarray(at + i * 56, at + (i + 1) * 56);
    const [offset, size] = [8, 32].map(field => Number(entry.readBigUInt64LE(field))) as [number, number];
    return {
      type: entry.readUInt32LE(0),
      virtual: entry.readBigUInt64LE(16),
      physical: Number(entry.readBigUInt64LE(24)),
      memory: Number(entry.readBigUInt64LE(40)),
      sha256: sha256(elf.subarray(offset, offset + size)),
    };
  });
}

describe('PVH', () => {
  test('all segments stay where they were, and the entry note is the only one', async () => {
    const original = vmlinux();
    const elf = await made(original);
    if (!elf) throw new Error('it can be entered');
    const load = (all: ReturnType<typeof loaded>) => all.filter(({type}) => type === 1);
    expect(load(loaded(elf))).toEqual(load(loaded(original)));
    expect(loaded(elf).filter(({type}) => type === 4)).toMatchObject([
      {sha256: sha256(addressNote(ENTRY_ADDRESS))},
    ]);
    // No names of symbols, nothing that says where they would be.
    expect(elf.readBigUInt64LE(40)).toBe(0n);
  });

  test.each<[string, Buffer]>([
    ['no note', vmlinux({notes: note('GNU\0', 3, Buffer.alloc(20))})],
    ["another's note of that number", vmlinux({notes: note('Not\0', 18, Buffer.alloc(8))})],
    ['a note that is cut off', vmlinux({notes: addressNote().subarray(0, 18)})],
    ['a note that says too much', vmlinux({notes: Buffer.from('ffffffffffffffff12000000', 'hex')})],
    ['another machine', vmlinux({machine: 183})],
    ['no ELF', Buffer.alloc(100)],
    ['nothing', Buffer.alloc(0)],
  ])('cannot be entered: %s', async (_name, bytes) => expect(await made(bytes)).toBeUndefined());

  test.each<[string, Buffer, number]>([
    ['it ends early', vmlinux().subarray(0, 1000), MEMORY_BYTES],
    ['its headers end early', vmlinux().subarray(0, 100), MEMORY_BYTES],
    ['more memory than there is', vmlinux(), 32 * 1024 ** 2],
    [
      'less memory than bytes',
      vmlinux({segments: [{address: 1 << 20, bytes: Buffer.alloc(100), memory: 10}]}),
      MEMORY_BYTES,
    ],
    ['no segment', vmlinux({segments: []}), MEMORY_BYTES],
  ])('is damaged: %s', async (_name, bytes, memoryBytes) => {
    await expect(made(bytes, memoryBytes)).rejects.toThrow(/damaged/);
  });
});
