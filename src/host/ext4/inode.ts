/** The root directory's inode (kernel documentation, "ext4 Special inodes"). */
export const ROOT_INODE = 2;

// Offsets of fields in an inode: kernel documentation, "ext4 Index Nodes". Numbers are little-endian.
const MODE = 0;
const UID = 2;
const MTIME = 16;
const GID = 24;
const LINKS = 26;
const UID_HIGH = 120;
const GID_HIGH = 122;
const MTIME_EXTRA = 136;
/** What a block map needs to know. */
const SIZE = 4;
const FLAGS = 32;
const BLOCKS = 40;
const BLOCKS_BYTES = 60;
const EXTENTS_FLAG = 0x80000;

const TYPE_MASK = 0o170000;
const TYPE_DIRECTORY = 0o040000;
const NANOSECONDS = 1_000_000_000n;
/** Seconds are a signed 32-bit number and two more bits above it. */
const EARLIEST_SECONDS = -(2n ** 31n);
const LATEST_SECONDS = EARLIEST_SECONDS + 2n ** 34n - 1n;

/** One inode of 256 bytes, as a view on the image's bytes. */
export class Inode {
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isDirectory(): boolean {
    return (this.#bytes.readUInt16LE(MODE) & TYPE_MASK) === TYPE_DIRECTORY;
  }

  get sizeBytes(): number {
    return this.#bytes.readUInt32LE(SIZE);
  }

  get hasExtents(): boolean {
    return (this.#bytes.readUInt32LE(FLAGS) & EXTENTS_FLAG) !== 0;
  }

  /** The root of the extent tree. */
  get blockMap(): Buffer {
    return this.#bytes.subarray(BLOCKS, BLOCKS + BLOCKS_BYTES);
  }

  disown(): void {
    for (const at of [UID, GID, UID_HIGH, GID_HIGH]) this.#bytes.writeUInt16LE(0, at);
  }

  /** @param mode the lower twelve bits of a mode. */
  setPermissions(mode: number): void {
    const type = this.#bytes.readUInt16LE(MODE) & TYPE_MASK;
    this.#bytes.writeUInt16LE(type | mode, MODE);
  }

  /** @param ns since 1970; what ext4 cannot hold (before 1901, after 2446) becomes the nearest that it can. */
  setMtime(ns: bigint): void {
    const fraction = ((ns % NANOSECONDS) + NANOSECONDS) % NANOSECONDS;
    let seconds = (ns - fraction) / NANOSECONDS;
    if (seconds < EARLIEST_SECONDS) seconds = EARLIEST_SECONDS;
    if (seconds > LATEST_SECONDS) seconds = LATEST_SECONDS;
    const low = BigInt.asIntN(32, seconds);
    const epoch = (seconds - low) / 2n ** 32n;
    this.#bytes.writeInt32LE(Number(low), MTIME);
    this.#bytes.writeUInt32LE(Number((fraction << 2n) | epoch), MTIME_EXTRA);
  }

  /** @param change by how much the number of its names has changed. */
  addLinks(change: number): void {
    this.#bytes.writeUInt16LE(this.#bytes.readUInt16LE(LINKS) + change, LINKS);
  }
}
