import type {BlockRange} from '../base/disk.ts';

const SECTOR_BYTES = 512;
const MBR_SIGNATURE = 0xaa55;
const PROTECTIVE = 0xee;
/** Extended partitions (CHS, LBA, Linux) hold others. */
const EXTENDED: readonly number[] = [0x05, 0x0f, 0x85];
const MAX_GPT_ENTRIES = 128;
/** A disk that boots has its files on one of the first. */
const MAX_PARTITIONS = 16;

/**
 * The partitions of a disk, in the table's order: the primary ones of an MBR, or those of a GPT (UEFI 2.10, chapter 5). A disk without either is one
 * range by itself.
 */
export async function partitions(disk: BlockRange): Promise<readonly BlockRange[]> {
  if (disk.sizeBytes < 2 * SECTOR_BYTES) return [];
  const mbr = await disk.read(0, SECTOR_BYTES);
  if (mbr.readUInt16LE(510) !== MBR_SIGNATURE) return [disk];
  const entries = [0, 1, 2, 3].map(index => {
    const at = 446 + index * 16;
    return {type: mbr.readUInt8(at + 4), first: mbr.readUInt32LE(at + 8), sectors: mbr.readUInt32LE(at + 12)};
  });
  const found = entries.some(({type}) => type === PROTECTIVE)
    ? await gptEntries(disk)
    : entries.filter(({type}) => type !== 0 && !EXTENDED.includes(type));
  return found
    .slice(0, MAX_PARTITIONS)
    .flatMap(({first, sectors}) => part(disk, first * SECTOR_BYTES, sectors * SECTOR_BYTES) ?? []);
}

async function gptEntries(disk: BlockRange): Promise<readonly {first: number; sectors: number}[]> {
  const header = await disk.read(SECTOR_BYTES, SECTOR_BYTES);
  if (header.toString('latin1', 0, 8) !== 'EFI PART') return [];
  const [table, count, size] = [
    Number(header.readBigUInt64LE(72)),
    Math.min(header.readUInt32LE(80), MAX_GPT_ENTRIES),
    header.readUInt32LE(84),
  ];
  if (size < 128 || size > 4096) return [];
  const bytes = await disk.read(table * SECTOR_BYTES, count * size);
  return Array.from({length: count}, (_, index) => bytes.subarray(index * size, (index + 1) * size))
    .filter(entry => entry.subarray(0, 16).some(byte => byte !== 0))
    .map(entry => {
      const first = Number(entry.readBigUInt64LE(32));
      return {first, sectors: Number(entry.readBigUInt64LE(40)) - first + 1};
    });
}

/** Undefined for one that is not within the disk. */
function part(disk: BlockRange, startBytes: number, sizeBytes: number): BlockRange | undefined {
  if (startBytes <= 0 || sizeBytes <= 0 || startBytes + sizeBytes > disk.sizeBytes) return undefined;
  return {
    sizeBytes,
    async read(offsetBytes, lengthBytes) {
      if (offsetBytes < 0 || lengthBytes < 0 || offsetBytes + lengthBytes > sizeBytes)
        throw new Error(`the partition has ${sizeBytes} bytes, and no ${lengthBytes} at ${offsetBytes}`);
      return disk.read(startBytes + offsetBytes, lengthBytes);
    },
  };
}
