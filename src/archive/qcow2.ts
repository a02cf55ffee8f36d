import {UserError} from '../base/errors.ts';
import type {Files} from '../base/ports.ts';

const MAGIC = 0x514649fb;
const HEADER_BYTES = 104;
const OFFSET_MASK = 0x00fffffffffffe00n;
const COMPRESSED = 1n << 62n;
const CORRUPT = 1n << 1n;
const EXTERNAL_DATA = 1n << 2n;
const EXTENDED_L2 = 1n << 4n;
/** QEMU's own limit for the L1 table (block/qcow2.h, QCOW_MAX_L1_SIZE): 32 MiB. */
const MAX_L1_ENTRIES = 4 * 1024 * 1024;

/** True when a file begins like a qcow2 image (QEMU, docs/interop/qcow2). */
export function looksLikeQcow2(head: Buffer): boolean {
  return head.length >= 4 && head.readUInt32BE(0) === MAGIC;
}

/**
 * Checks that a qcow2 image stands on its own and is whole: no backing file and no external data file (either would let an image
 * from the internet name files of this machine), not marked corrupt, every table and cluster within the file.
 * @param name What to call it, where its path would say nothing to the user.
 * @throws UserError that says what is wrong with it.
 */
export async function checkQcow2(
  files: Pick<Files, 'size' | 'readRange'>,
  path: string,
  input: string,
  name = path,
): Promise<{virtualBytes: number}> {
  const fail = (what: string, hint: string): never => {
    throw new UserError(`${name} is no usable BuildKit archive: ${what}`, {input, stage: 'archive', hint});
  };
  const sizeBytes = (await files.size(path)) ?? 0;
  const head = await files.readRange(path, 0, HEADER_BYTES);
  if (!looksLikeQcow2(head)) return fail('it does not begin like a qcow2 image', 'name a qcow2 disk');
  if (head.length < 72) return fail(`it ends within its header (${sizeBytes} bytes)`, RELOAD);
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3)
    return fail(`qcow2 version ${version}; 2 and 3 are known`, 'convert it with qemu-img');
  const features = version === 3 && head.length >= 80 ? head.readBigUInt64BE(72) : 0n;
  if (head.readBigUInt64BE(8) !== 0n)
    return fail('it has a backing file', 'flatten it: qemu-img convert -O qcow2 IN OUT');
  if (features & EXTERNAL_DATA)
    return fail('it has an external data file', 'flatten it: qemu-img convert -O qcow2 IN OUT');
  if (features & CORRUPT) return fail('it is marked corrupt', 'repair it: qemu-img check -r all FILE');
  if (head.readUInt32BE(32) !== 0) return fail('it is encrypted', 'decrypt it with qemu-img convert');
  const clusterBits = head.readUInt32BE(20);
  const l1Entries = head.readUInt32BE(36);
  if (clusterBits < 9 || clusterBits > 21 || l1Entries > MAX_L1_ENTRIES)
    return fail('its header is damaged', RELOAD);
  const end = await highestOffset(files, path, {
    l1Offset: Number(head.readBigUInt64BE(40)),
    l1Entries,
    clusterBits,
    entryBytes: features & EXTENDED_L2 ? 16 : 8,
    sizeBytes,
  });
  if (end >= sizeBytes) {
    return fail(`it is truncated: it refers to byte ${end}, but has ${sizeBytes} bytes`, RELOAD);
  }
  return {virtualBytes: Number(head.readBigUInt64BE(24))};
}

const RELOAD = 'get it again: the download or copy was cut off';

interface Tables {
  readonly l1Offset: number;
  readonly l1Entries: number;
  readonly clusterBits: number;
  readonly entryBytes: number;
  readonly sizeBytes: number;
}

/** The highest offset in the file at which a table or a cluster begins. */
async function highestOffset(files: Pick<Files, 'readRange'>, path: string, tables: Tables): Promise<number> {
  const l1 = await files.readRange(path, tables.l1Offset, tables.l1Entries * 8);
  let highest = tables.l1Offset + tables.l1Entries * 8 - 1;
  if (highest >= tables.sizeBytes) return highest;
  for (let i = 0; i + 8 <= l1.length; i += 8) {
    const l2Offset = Number(l1.readBigUInt64BE(i) & OFFSET_MASK);
    if (l2Offset === 0) continue;
    highest = Math.max(highest, l2Offset);
    if (l2Offset >= tables.sizeBytes) return l2Offset;
    const l2 = await files.readRange(path, l2Offset, 2 ** tables.clusterBits);
    highest = Math.max(highest, highestCluster(l2, tables));
  }
  return highest;
}

function highestCluster(l2: Buffer, {clusterBits, entryBytes}: Tables): number {
  const compressedMask = (1n << BigInt(62 - (clusterBits - 8))) - 1n;
  let highest = 0n;
  for (let i = 0; i + 8 <= l2.length; i += entryBytes) {
    const entry = l2.readBigUInt64BE(i);
    const offset = entry & COMPRESSED ? entry & compressedMask : entry & OFFSET_MASK;
    if (offset > highest) highest = offset;
  }
  return Number(highest);
}
