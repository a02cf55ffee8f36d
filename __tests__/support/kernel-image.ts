import {gzipSync} from 'node:zlib';

/** What an uncompressed kernel of these tests has to say. */
export interface FakeVmlinux {
  readonly segments?: readonly {readonly address: number; readonly bytes: Buffer; readonly memory?: number}[];
  /** Notes as they stand in the file; Xen's entry note by default. */
  readonly notes?: Buffer;
  readonly machine?: number;
}

export const ENTRY_ADDRESS = 0x1000850;

/** A note of an ELF file. */
export function note(name: string, type: number, desc: Buffer): Buffer {
  const pad = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
  const head = Buffer.alloc(12);
  head.writeUInt32LE(Buffer.byteLength(name), 0);
  head.writeUInt32LE(desc.length, 4);
  head.writeUInt32LE(type, 8);
  return Buffer.concat([head, pad(Buffer.from(name)), pad(desc)]);
}

export function addressNote(address = ENTRY_ADDRESS): Buffer {
  const desc = Buffer.alloc(8);
  desc.writeBigUInt64LE(BigInt(address));
  return note('Xen\0', 18, desc);
}

/** An ELF file with loadable segments and notes, as a kernel's is. */
export function vmlinux({segments = SEGMENTS, notes, machine = 62}: FakeVmlinux = {}): Buffer {
  const text = notes ?? Buffer.concat([note('Xen\0', 6, Buffer.from('linux\0')), addressNote()]);
  const header = Buffer.alloc(64);
  header.write('7f454c46020101', 0, 'hex');
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(machine, 18);
  header.writeBigUInt64LE(0x1000000n, 24);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(segments.length + 1, 56);
  let offset = 64 + 56 * (segments.length + 1);
  const program = (type: number, address: number, size: number, memory: number): Buffer => {
    const entry = Buffer.alloc(56);
    entry.writeUInt32LE(type, 0);
    entry.writeUInt32LE(5, 4);
    entry.writeBigUInt64LE(BigInt(offset), 8);
    entry.writeBigUInt64LE(0xffffffff80000000n + BigInt(address), 16);
    entry.writeBigUInt64LE(BigInt(address), 24);
    entry.writeBigUInt64LE(BigInt(size), 32);
    entry.writeBigUInt64LE(BigInt(memory), 40);
    offset += size;
    return entry;
  };
  const programs = [
    ...segments.map(({address, bytes, memory = bytes.length}) => program(1, address, bytes.length, memory)),
    program(4, 0, text.length, text.length),
  ];
  return Buffer.concat([header, ...programs, ...segments.map(({bytes}) => bytes), text]);
}

const SEGMENTS = [
  {address: 0x1000000, bytes: Buffer.from('the text of a kernel')},
  {address: 0x2000000, bytes: Buffer.alloc(1_200_000, 'data'), memory: 2_000_000},
];

/** A bzImage around a payload; `packed` is gzip by default. */
export function bzImage(packed: Buffer = gzipSync(vmlinux()), {version = 0x020f, sectors = 2} = {}): Buffer {
  const setup = Buffer.alloc((sectors + 1) * 512);
  setup.writeUInt8(sectors, 0x1f1);
  setup.writeUInt16LE(0xaa55, 0x1fe);
  setup.write('HdrS', 0x202, 'latin1');
  setup.writeUInt16LE(version, 0x206);
  setup.writeUInt32LE(100, 0x248);
  setup.writeUInt32LE(packed.length, 0x24c);
  return Buffer.concat([setup, Buffer.alloc(100, 'x'), packed, Buffer.alloc(50, 'y')]);
}
