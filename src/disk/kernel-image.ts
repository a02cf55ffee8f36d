/* Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". */
const SETUP_SECTS = 0x1f1;
const HEADER_MAGIC = 0x202;
const VERSION = 0x206;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
/** The first protocol that says where the payload is. */
const WITH_PAYLOAD = 0x0208;
/** Bytes of a kernel's file that `readKernelHeader` wants. */
export const KERNEL_HEADER_BYTES = 0x260;

/** Where a bzImage keeps the kernel proper, compressed. */
export interface Payload {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** @returns the payload's place; undefined when it is not said. @throws when it is no Linux kernel for x86. */
export function readKernelHeader(head: Buffer, sizeBytes: number): Payload | undefined {
  const isLinux =
    head.length >= KERNEL_HEADER_BYTES &&
    head.readUInt16LE(0x1fe) === 0xaa55 &&
    head.toString('latin1', HEADER_MAGIC, HEADER_MAGIC + 4) === 'HdrS';
  if (!isLinux) throw new Error('it is no Linux kernel for x86');
  if (head.readUInt16LE(VERSION) < WITH_PAYLOAD) return undefined;
  const setupSectors = head.readUInt8(SETUP_SECTS) || 4;
  const offsetBytes = (setupSectors + 1) * 512 + head.readUInt32LE(PAYLOAD_OFFSET);
  const lengthBytes = head.readUInt32LE(PAYLOAD_LENGTH);
  return lengthBytes >= 16 && offsetBytes + lengthBytes <= sizeBytes ? {offsetBytes, lengthBytes} : undefined;
}

/** How a payload is compressed: the program that unpacks it, and what of its end is not the program's. */
export interface Packing {
  readonly program: string;
  readonly args: readonly string[];
  /** All but gzip are followed by the size of what they hold (scripts/Makefile.lib, `size_append`); gzip ends with it itself. */
  readonly trailerBytes: number;
}

/** What a kernel's image or an initrd is packed with; the first bytes of what `lib/decompress.c` knows. LZO is left out: hardly any machine has a program for it. */
const PACKINGS: readonly {readonly magic: string; readonly packing: Packing}[] = [
  {magic: '1f8b', packing: {program: 'gzip', args: ['-dc'], trailerBytes: 0}},
  {magic: '28b52ffd', packing: {program: 'zstd', args: ['-dcq'], trailerBytes: 4}},
  {magic: 'fd377a585a00', packing: {program: 'xz', args: ['-dc'], trailerBytes: 4}},
  {magic: '5d0000', packing: {program: 'xz', args: ['-dc', '--format=lzma'], trailerBytes: 4}},
  {magic: '02214c18', packing: {program: 'lz4', args: ['-dcq'], trailerBytes: 4}},
  {magic: '425a68', packing: {program: 'bzip2', args: ['-dc'], trailerBytes: 4}},
];

/** @param head the payload's first bytes. */
export function packingOf(head: Buffer): Packing | undefined {
  const hex = head.toString('hex');
  return PACKINGS.find(({magic}) => hex.startsWith(magic))?.packing;
}
