import {readSync, writeSync} from 'node:fs';
import {Inode} from './inode.ts';
import {BLOCK_BYTES, INODE_BYTES} from './layout.ts';

// Kernel documentation, "ext4 Data Structures and Algorithms"; offsets in the superblock, which stands at byte 1024.
const SUPERBLOCK_AT = 1024;
const SUPERBLOCK_BYTES = 1024;
const MAGIC = 0xef53;
const EXTENT_MAGIC = 0xf30a;
/** FILETYPE, EXTENTS, FLEX_BG: anything else incompatible has another form. */
const KNOWN_INCOMPAT = 0x2 | 0x40 | 0x200;
/** GDT_CSUM, METADATA_CSUM: sums that would have to be kept right. */
const CHECKSUMS = 0x10 | 0x400;
const DESCRIPTOR_BYTES = 32;

/** Inodes that are read and written at once. */
const CHUNK_INODES = 256;
const MAX_CHUNKS = 64;

export interface DirectoryEntry {
  readonly name: Buffer;
  readonly inode: number;
  /** Lets the name stand for another inode; link counts are the caller's business. */
  relink(inode: number): void;
}

interface Chunk {
  readonly at: number;
  readonly bytes: Buffer;
  dirty: boolean;
}

/** The inodes and directories of an ext4 file system without checksums, 64-bit block numbers and journal. */
export class Ext4File {
  readonly #fd: number;
  readonly #inodesPerGroup: number;
  readonly #inodes: number;
  /** The first byte of each group's inode table. */
  readonly #tables: readonly number[];
  readonly #chunks = new Map<number, Chunk>();

  /** @throws when it is another kind of file system. */
  constructor(fd: number) {
    this.#fd = fd;
    const superblock = this.#read(SUPERBLOCK_AT, SUPERBLOCK_BYTES);
    const has = {
      magic: superblock.readUInt16LE(56),
      blockBytes: 1024 << superblock.readUInt32LE(24),
      inodeBytes: superblock.readUInt16LE(88),
      incompat: superblock.readUInt32LE(96),
      readOnlyCompat: superblock.readUInt32LE(100),
    };
    const known =
      has.magic === MAGIC &&
      has.blockBytes === BLOCK_BYTES &&
      has.inodeBytes === INODE_BYTES &&
      (has.incompat & ~KNOWN_INCOMPAT) === 0 &&
      (has.readOnlyCompat & CHECKSUMS) === 0;
    if (!known) throw new Error(`not the expected kind of ext4: ${JSON.stringify(has)}`);
    this.#inodes = superblock.readUInt32LE(0);
    this.#inodesPerGroup = superblock.readUInt32LE(40);
    const groups = Math.ceil(this.#inodes / this.#inodesPerGroup);
    const descriptors = this.#read(BLOCK_BYTES, groups * DESCRIPTOR_BYTES);
    this.#tables = Array.from(
      {length: groups},
      (_, group) => descriptors.readUInt32LE(group * DESCRIPTOR_BYTES + 8) * BLOCK_BYTES,
    );
  }

  /** Changes one inode; on the disk after `flush`. */
  edit<T>(inode: number, change: (inode: Inode) => T): T {
    const {chunk, view} = this.#inode(inode);
    chunk.dirty = true;
    return change(view);
  }

  /** What is in a directory, without `.` and `..`. */
  *entries(directory: number): Generator<DirectoryEntry, void, undefined> {
    for (const at of this.#blocks(directory)) {
      for (const {name, inode, at: offset} of entriesOf(this.#read(at, BLOCK_BYTES))) {
        const text = name.toString('latin1');
        if (inode === 0 || text === '.' || text === '..') continue;
        yield {name, inode, relink: other => this.#writeNumber(other, at + offset)};
      }
    }
  }

  /**
   * Takes a name out of a directory; its inode stays behind unused.
   * @returns false when there is no such name.
   */
  removeEntry(directory: number, name: Buffer): boolean {
    for (const at of this.#blocks(directory)) {
      const block = this.#read(at, BLOCK_BYTES);
      let before: RawEntry | undefined;
      for (const entry of entriesOf(block)) {
        if (entry.inode !== 0 && entry.name.equals(name)) {
          // The entry before takes its room; a block's first entry has none before and becomes an unused one.
          if (before) block.writeUInt16LE(before.length + entry.length, before.at + 4);
          else block.writeUInt32LE(0, entry.at);
          writeSync(this.#fd, block, 0, BLOCK_BYTES, at);
          return true;
        }
        before = entry;
      }
    }
    return false;
  }

  flush(): void {
    for (const chunk of this.#chunks.values()) this.#write(chunk);
  }

  #inode(inode: number): {chunk: Chunk; view: Inode} {
    if (inode < 1 || inode > this.#inodes) throw new Error(`there is no inode ${inode}`);
    const group = Math.floor((inode - 1) / this.#inodesPerGroup);
    const index = (inode - 1) % this.#inodesPerGroup;
    const first = index - (index % CHUNK_INODES);
    // A table's last piece ends with it: behind it lie other things.
    const count = Math.min(CHUNK_INODES, this.#inodesPerGroup - first);
    const chunk = this.#chunk((this.#tables[group] as number) + first * INODE_BYTES, count);
    const offset = (index - first) * INODE_BYTES;
    return {chunk, view: new Inode(chunk.bytes.subarray(offset, offset + INODE_BYTES))};
  }

  /** A piece of an inode table; a few are kept, the least recently used goes first. */
  #chunk(at: number, inodes: number): Chunk {
    const kept = this.#chunks.get(at);
    const chunk = kept ?? {at, bytes: this.#read(at, inodes * INODE_BYTES), dirty: false};
    this.#chunks.delete(at);
    this.#chunks.set(at, chunk);
    if (this.#chunks.size > MAX_CHUNKS) {
      const [oldest] = this.#chunks.values();
      this.#write(oldest as Chunk);
      this.#chunks.delete((oldest as Chunk).at);
    }
    return chunk;
  }

  #writeNumber(value: number, at: number): void {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    writeSync(this.#fd, bytes, 0, bytes.length, at);
  }

  #write(chunk: Chunk): void {
    if (chunk.dirty) writeSync(this.#fd, chunk.bytes, 0, chunk.bytes.length, chunk.at);
    chunk.dirty = false;
  }

  #read(at: number, bytes: number): Buffer {
    const buffer = Buffer.alloc(bytes);
    if (readSync(this.#fd, buffer, 0, bytes, at) !== bytes)
      throw new Error('the image ends before its file system');
    return buffer;
  }

  /** Where a directory's blocks lie, in its order. */
  *#blocks(directory: number): Generator<number, void, undefined> {
    const {view} = this.#inode(directory);
    if (!view.isDirectory || !view.hasExtents)
      throw new Error(`inode ${directory} is no directory of extents`);
    let left = Math.ceil(view.sizeBytes / BLOCK_BYTES);
    for (const {start, blocks} of this.#extents(Buffer.from(view.blockMap))) {
      for (let block = 0; block < blocks && left > 0; block++, left--) yield (start + block) * BLOCK_BYTES;
    }
  }

  *#extents(node: Buffer): Generator<{start: number; blocks: number}, void, undefined> {
    if (node.readUInt16LE(0) !== EXTENT_MAGIC) throw new Error('a damaged extent tree');
    const count = node.readUInt16LE(2);
    const depth = node.readUInt16LE(6);
    for (let at = 12; at < 12 * (count + 1); at += 12) {
      if (depth > 0) yield* this.#extents(this.#read(node.readUInt32LE(at + 4) * BLOCK_BYTES, BLOCK_BYTES));
      else yield {start: node.readUInt32LE(at + 8), blocks: node.readUInt16LE(at + 4)};
    }
  }
}

interface RawEntry {
  readonly name: Buffer;
  readonly inode: number;
  readonly at: number;
  readonly length: number;
}

function* entriesOf(block: Buffer): Generator<RawEntry, void, undefined> {
  for (let at = 0; at < block.length; ) {
    const length = block.readUInt16LE(at + 4);
    if (length < 8 || at + length > block.length) throw new Error('a damaged directory');
    const name = Buffer.from(block.subarray(at + 8, at + 8 + block.readUInt8(at + 6)));
    yield {at, length, name, inode: block.readUInt32LE(at)};
    at += length;
  }
}
