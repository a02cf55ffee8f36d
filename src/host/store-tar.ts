/** The parts of the tar format that say where a file's content lies (POSIX pax(1), "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"). */
export const TAR_BLOCK_BYTES = 512;

export interface TarHeader {
  readonly name: string;
  readonly sizeBytes: number;
  readonly type: string;
}

export function isEndOfTar(block: Buffer): boolean {
  return block.every(byte => byte === 0);
}

/** Reads a header block of 512 bytes; what is no number gives a size of 0. */
export function readHeader(block: Buffer): TarHeader {
  const isUstar = block.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isUstar ? text(block, 345, 155) : '';
  const name = text(block, 0, 100);
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    sizeBytes: number(block.subarray(124, 136)),
    type: String.fromCharCode(block[156] ?? 0),
  };
}

/** `LENGTH KEY=VALUE\n` records of a pax extended header. */
export function paxRecords(content: Buffer): Readonly<Record<string, string>> {
  const records: Record<string, string> = {};
  for (let at = 0; at < content.length; ) {
    const space = content.indexOf(0x20, at);
    const lengthBytes = space < 0 ? 0 : Number(content.toString('latin1', at, space));
    if (!(lengthBytes > space - at)) break;
    const [key = '', ...value] = content.toString('utf8', space + 1, at + lengthBytes - 1).split('=');
    records[key] = value.join('=');
    at += lengthBytes;
  }
  return records;
}

function text(block: Buffer, offset: number, lengthBytes: number): string {
  const field = block.subarray(offset, offset + lengthBytes);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? lengthBytes : end);
}

/** Octal digits, or, when the first bit is set, a big-endian number in the rest (GNU, star). */
function number(field: Buffer): number {
  if ((field[0] ?? 0) & 0x80) return Number(BigInt(`0x${field.subarray(1).toString('hex')}`));
  return (
    Number.parseInt(
      field
        .toString('latin1')
        .replace(/[\0 ]+/g, ' ')
        .trim() || '0',
      8,
    ) || 0
  );
}
