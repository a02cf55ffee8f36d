import type {BlockRange, Packing, Unpack} from '../base/disk.ts';
import type {Files} from '../base/ports.ts';

const MAGIC = 0x514649fb;
const OFFSET_MASK = 0x00fffffffffffe00n;
const COMPRESSED = 1n << 62n;
const READS_AS_ZEROS = 1n;
const DIRTY = 1n;
const COMPRESSION_TYPE = 1n << 3n;
const PACKINGS: readonly Packing[] = ['deflate', 'zstd'];
/** L2 tables that are remembered; one maps 512 MiB of a disk with QEMU's default clusters. */
const MAX_TABLES = 32;

/**
 * Opens a qcow2 image (QEMU, docs/interop/qcow2) for reading what a guest would read from it.
 * @throws when it needs more than itself: a backing or data file, a key; or has subclusters.
 */
export async function openQcow2(
  files: Pick<Files, 'readRange'>,
  unpack: Unpack,
  path: string,
): Promise<BlockRange> {
  const head = await files.readRange(path, 0, 112);
  if (head.length < 72 || head.readUInt32BE(0) !== MAGIC) throw new Error('the disk is no qcow2 image');
  const version = head.readUInt32BE(4);
  const features = version >= 3 && head.length >= 80 ? head.readBigUInt64BE(72) : 0n;
  const clusterBits = head.readUInt32BE(20);
  const packing = PACKINGS[features & COMPRESSION_TYPE ? (head[104] ?? -1) : 0];
  const isPlain =
    packing !== undefined &&
    (version === 2 || version === 3) &&
    clusterBits >= 9 &&
    clusterBits <= 21 &&
    head.readBigUInt64BE(8) === 0n &&
    head.readUInt32BE(32) === 0 &&
    (features & ~(DIRTY | COMPRESSION_TYPE)) === 0n;
  if (!isPlain) throw new Error('the qcow2 image has features that are not read here');
  const sizeBytes = Number(head.readBigUInt64BE(24));
  const table = {offset: Number(head.readBigUInt64BE(40)), entries: head.readUInt32BE(36)};
  const image = new Clusters(files, path, clusterBits, table, (packed, size) =>
    unpack(packing, packed, size),
  );
  return {
    sizeBytes,
    async read(offsetBytes, lengthBytes) {
      if (offsetBytes < 0 || lengthBytes < 0 || offsetBytes + lengthBytes > sizeBytes)
        throw new Error(`the disk has ${sizeBytes} bytes, and no ${lengthBytes} at ${offsetBytes}`);
      return image.read(offsetBytes, lengthBytes);
    },
  };
}

class Clusters {
  readonly #files: Pick<Files, 'readRange'>;
  readonly #path: string;
  readonly #bits: number;
  readonly #bytes: number;
  readonly #l1: {readonly offset: number; readonly entries: number};
  readonly #unpack: (packed: Buffer, sizeBytes: number) => Promise<Buffer>;
  readonly #l2 = new Map<number, Promise<Buffer | undefined>>();

  constructor(
    files: Pick<Files, 'readRange'>,
    path: string,
    bits: number,
    l1: {readonly offset: number; readonly entries: number},
    unpack: (packed: Buffer, sizeBytes: number) => Promise<Buffer>,
  ) {
    this.#files = files;
    this.#path = path;
    this.#bits = bits;
    this.#bytes = 2 ** bits;
    this.#l1 = l1;
    this.#unpack = unpack;
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const pieces: Promise<Buffer>[] = [];
    const end = offsetBytes + lengthBytes;
    for (let at = offsetBytes; at < end; ) {
      const within = at % this.#bytes;
      const length = Math.min(this.#bytes - within, end - at);
      pieces.push(this.#piece(Math.floor(at / this.#bytes), within, length));
      at += length;
    }
    return Buffer.concat(await Promise.all(pieces));
  }

  async #piece(cluster: number, within: number, length: number): Promise<Buffer> {
    const perTable = this.#bytes / 8;
    const table = await this.#table(Math.floor(cluster / perTable));
    const entry = table?.readBigUInt64BE((cluster % perTable) * 8) ?? 0n;
    if (entry & COMPRESSED) return (await this.#unpacked(entry)).subarray(within, within + length);
    const offset = Number(entry & OFFSET_MASK);
    if (offset === 0 || entry & READS_AS_ZEROS) return Buffer.alloc(length);
    return this.#exactly(offset + within, length);
  }

  /** "Compressed Clusters Descriptor": where it begins, and how many more sectors of 512 bytes it touches. */
  async #unpacked(entry: bigint): Promise<Buffer> {
    const offsetBits = BigInt(62 - (this.#bits - 8));
    const offset = Number(entry & ((1n << offsetBits) - 1n));
    const moreSectors = Number((entry & (COMPRESSED - 1n)) >> offsetBits);
    const length = (moreSectors + 1) * 512 - (offset % 512);
    // The file may end before the last sector does.
    return this.#unpack(await this.#files.readRange(this.#path, offset, length), this.#bytes);
  }

  #table(index: number): Promise<Buffer | undefined> {
    const known = this.#l2.get(index);
    if (known) return known;
    const table = this.#readTable(index);
    if (this.#l2.size >= MAX_TABLES) this.#l2.clear();
    this.#l2.set(index, table);
    return table;
  }

  async #readTable(index: number): Promise<Buffer | undefined> {
    if (index >= this.#l1.entries)
      throw new Error('the qcow2 image is damaged: its first table is too short');
    const entry = (await this.#exactly(this.#l1.offset + index * 8, 8)).readBigUInt64BE();
    const offset = Number(entry & OFFSET_MASK);
    return offset === 0 ? undefined : this.#exactly(offset, this.#bytes);
  }

  async #exactly(offset: number, length: number): Promise<Buffer> {
    const bytes = await this.#files.readRange(this.#path, offset, length);
    if (bytes.length < length) throw new Error('the qcow2 image is truncated');
    return bytes;
  }
}
