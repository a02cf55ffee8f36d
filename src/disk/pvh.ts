import type {FileInside} from './ext4.ts';

/* ELF-64 Object File Format; the note is Xen's way to say where a kernel is entered directly (xen/include/public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY). */
const ELF_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const X86_64 = 62;
const PT_LOAD = 1;
const PT_NOTE = 4;
const PHYS32_ENTRY = 18;
const MAX_SEGMENTS = 16;
const MAX_NOTES_BYTES = 64 * 1024;
const CHUNK_BYTES = 1024 ** 2;

interface Segment {
  readonly flags: number;
  readonly offset: number;
  readonly virtualAddress: bigint;
  readonly physicalAddress: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

/**
 * The loadable part of an uncompressed kernel as an ELF file of its own, for a boot loader that enters it directly (PVH). QEMU's loader thus sees nothing that the
 * kernel's file says about itself but where its segments go, and that was looked at.
 * @param memoryBytes what the machine has; all must lie in it.
 * @returns undefined when the kernel cannot be entered so. @throws when the file is damaged.
 */
export async function pvhKernel(
  vmlinux: Pick<FileInside, 'sizeBytes' | 'read'>,
  memoryBytes: number,
): Promise<AsyncGenerator<Buffer> | undefined> {
  const header = await vmlinux.read(0, ELF_HEADER_BYTES);
  const isKernel =
    header.length === ELF_HEADER_BYTES &&
    header.toString('hex', 0, 6) === '7f454c460201' &&
    header.readUInt16LE(18) === X86_64 &&
    header.readUInt16LE(54) === PROGRAM_HEADER_BYTES;
  const count = header.length === ELF_HEADER_BYTES ? header.readUInt16LE(56) : 0;
  if (!isKernel || count === 0 || count > MAX_SEGMENTS) return undefined;
  const table = await vmlinux.read(Number(header.readBigUInt64LE(32)), count * PROGRAM_HEADER_BYTES);
  if (table.length < count * PROGRAM_HEADER_BYTES)
    throw new Error('the kernel is damaged: its program headers');
  const headers = Array.from({length: count}, (_, index) =>
    table.subarray(index * PROGRAM_HEADER_BYTES, (index + 1) * PROGRAM_HEADER_BYTES),
  );
  const segments = headers.filter(entry => entry.readUInt32LE(0) === PT_LOAD).map(segment);
  const isWithin = segments.every(
    ({offset, physicalAddress, fileBytes, memoryBytes: size}) =>
      fileBytes <= size && offset + fileBytes <= vmlinux.sizeBytes && physicalAddress + size <= memoryBytes,
  );
  if (segments.length === 0 || !isWithin) throw new Error('the kernel is damaged: a segment');
  for (const entry of headers.filter(candidate => candidate.readUInt32LE(0) === PT_NOTE)) {
    const {offset, fileBytes} = segment(entry);
    const address = entryAddress(await vmlinux.read(offset, Math.min(fileBytes, MAX_NOTES_BYTES)));
    if (address !== undefined) return elf(vmlinux, segments, address, header.readBigUInt64LE(24));
  }
  return undefined;
}

function segment(entry: Buffer): Segment {
  return {
    flags: entry.readUInt32LE(4),
    offset: Number(entry.readBigUInt64LE(8)),
    virtualAddress: entry.readBigUInt64LE(16),
    physicalAddress: Number(entry.readBigUInt64LE(24)),
    fileBytes: Number(entry.readBigUInt64LE(32)),
    memoryBytes: Number(entry.readBigUInt64LE(40)),
  };
}

function entryAddress(notes: Buffer): number | undefined {
  for (let at = 0; at + 12 <= notes.length; ) {
    const [nameBytes, descBytes, type] = [0, 4, 8].map(field => notes.readUInt32LE(at + field)) as [
      number,
      number,
      number,
    ];
    const name = at + 12;
    const desc = name + align4(nameBytes);
    if (desc + descBytes > notes.length) return undefined;
    if (type === PHYS32_ENTRY && notes.toString('latin1', name, name + nameBytes) === 'Xen\0') {
      // Its width is the kernel's pointers'; the address itself is of 32 bits.
      return descBytes >= 4 ? notes.readUInt32LE(desc) : undefined;
    }
    at = desc + align4(descBytes);
  }
  return undefined;
}

async function* elf(
  vmlinux: Pick<FileInside, 'read'>,
  segments: readonly Segment[],
  address: number,
  entry: bigint,
): AsyncGenerator<Buffer> {
  const note = Buffer.alloc(24);
  note.writeUInt32LE(4, 0);
  note.writeUInt32LE(8, 4);
  note.writeUInt32LE(PHYS32_ENTRY, 8);
  note.write('Xen\0', 12, 'latin1');
  note.writeBigUInt64LE(BigInt(address), 16);
  const noteOffset = ELF_HEADER_BYTES + (segments.length + 1) * PROGRAM_HEADER_BYTES;
  let offset = noteOffset + note.length;
  const placed = segments.map(part => {
    const at = offset;
    offset += part.fileBytes;
    return programHeader(PT_LOAD, {...part, offset: at});
  });
  const header = Buffer.alloc(ELF_HEADER_BYTES);
  header.write('7f454c46020101', 0, 'hex');
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(X86_64, 18);
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(entry, 24);
  header.writeBigUInt64LE(BigInt(ELF_HEADER_BYTES), 32);
  header.writeUInt16LE(ELF_HEADER_BYTES, 52);
  header.writeUInt16LE(PROGRAM_HEADER_BYTES, 54);
  header.writeUInt16LE(segments.length + 1, 56);
  const noteHeader = programHeader(PT_NOTE, {
    flags: 4,
    offset: noteOffset,
    virtualAddress: 0n,
    physicalAddress: 0,
    fileBytes: note.length,
    memoryBytes: note.length,
  });
  yield Buffer.concat([header, ...placed, noteHeader, note]);
  for (const part of segments) {
    for (let done = 0; done < part.fileBytes; done += CHUNK_BYTES) {
      yield await vmlinux.read(part.offset + done, Math.min(CHUNK_BYTES, part.fileBytes - done));
    }
  }
}

function programHeader(type: number, part: Segment): Buffer {
  const header = Buffer.alloc(PROGRAM_HEADER_BYTES);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(part.flags, 4);
  header.writeBigUInt64LE(BigInt(part.offset), 8);
  header.writeBigUInt64LE(part.virtualAddress, 16);
  header.writeBigUInt64LE(BigInt(part.physicalAddress), 24);
  header.writeBigUInt64LE(BigInt(part.fileBytes), 32);
  header.writeBigUInt64LE(BigInt(part.memoryBytes), 40);
  header.writeBigUInt64LE(4n, 48);
  return header;
}

function align4(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
