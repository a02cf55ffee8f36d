import {createReadStream} from 'node:fs';

/** A file to be written into a tar stream: root-owned, with its bytes in memory or in a file of the host. */
export interface TarEntry {
  /** Relative, without a leading slash. */
  readonly path: string;
  readonly mode: number;
  readonly content: Buffer | {readonly file: string; readonly sizeBytes: number};
}

const BLOCK_BYTES = 512;
const NAME_BYTES = 100;
// Eleven octal digits.
const LARGEST_OCTAL_SIZE_BYTES = 0o77777777777;
// One moment for all entries keeps equal archives equal: 2020-01-01T00:00:00Z.
export const FIXED_TIME_SECONDS = 1_577_836_800;

export function textEntry(path: string, text: string, mode = 0o644): TarEntry {
  return {path, mode, content: Buffer.from(text, 'utf8')};
}

/** A tar stream of `entries` (POSIX ustar; sizes over 8 GiB as GNU's base-256), in chunks. */
export async function* tarStream(entries: readonly TarEntry[]): AsyncGenerator<Buffer> {
  for (const entry of entries) {
    const sizeBytes = Buffer.isBuffer(entry.content) ? entry.content.length : entry.content.sizeBytes;
    yield tarHeader(entry.path, entry.mode, sizeBytes);
    if (Buffer.isBuffer(entry.content)) {
      if (sizeBytes > 0) yield entry.content;
    } else {
      yield* exactly(entry.content.file, sizeBytes);
    }
    const padding = (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
    if (padding > 0) yield Buffer.alloc(padding);
  }
  yield Buffer.alloc(2 * BLOCK_BYTES);
}

/** The header of a regular file owned by root. Source: POSIX.1-2017, pax, "ustar Interchange Format". */
export function tarHeader(path: string, mode: number, sizeBytes: number): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES);
  if (Buffer.byteLength(path) > NAME_BYTES) throw new RangeError(`name too long for a tar header: ${path}`);
  header.write(path, 0, 'utf8');
  header.write(octal(mode, 8), 100);
  header.write(octal(0, 8), 108);
  header.write(octal(0, 8), 116);
  writeSize(header, sizeBytes);
  header.write(octal(FIXED_TIME_SECONDS, 12), 136);
  header.write('        ', 148);
  header.write('0', 156);
  header.write('ustar\x0000', 257);
  header.write('root', 265);
  header.write('root', 297);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`;
}

function writeSize(header: Buffer, sizeBytes: number): void {
  if (sizeBytes <= LARGEST_OCTAL_SIZE_BYTES) {
    header.write(octal(sizeBytes, 12), 124);
    return;
  }
  header[124] = 0x80;
  header.writeBigUInt64BE(BigInt(sizeBytes), 128);
}

async function* exactly(file: string, sizeBytes: number): AsyncGenerator<Buffer> {
  let readBytes = 0;
  for await (const chunk of createReadStream(file, {highWaterMark: 1024 * 1024}) as AsyncIterable<Buffer>) {
    readBytes += chunk.length;
    yield chunk;
  }
  if (readBytes !== sizeBytes)
    throw new Error(`${file} changed while it was read: ${readBytes} of ${sizeBytes} bytes`);
}
