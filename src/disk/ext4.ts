import type {BlockRange} from '../base/disk.ts';

/* All layouts: Linux, Documentation/filesystems/ext4. */
const SUPERBLOCK_OFFSET = 1024;
const SUPERBLOCK_BYTES = 1024;
const MAGIC = 0xef53;
const INCOMPAT_64BIT = 0x80;
/** FILETYPE, EXTENTS, 64BIT, MMP, FLEX_BG, CSUM_SEED, LARGEDIR: none changes how a clean file system is read by name. */
const READABLE = 0x2 | 0x40 | INCOMPAT_64BIT | 0x100 | 0x200 | 0x2000 | 0x4000;
const ROOT_INODE = 2;
const EXTENTS_FLAG = 0x80000;
const ENCRYPTED_OR_INLINE = 0x800 | 0x10000000;
const EXTENT_MAGIC = 0xf30a;
const MAX_EXTENT_DEPTH = 5;
/** Each names hundreds of extents; a tree that says it has more is made to be walked for ever. */
const MAX_EXTENT_NODES = 1000;
const UNWRITTEN = 32768;
const FORMAT_MASK = 0xf000;
const DIRECTORY = 0x4000;
const REGULAR = 0x8000;
const SYMLINK = 0xa000;
/** Linux's own limit (path_resolution(7)). */
const MAX_SYMLINKS = 40;
/** Of directories, for all look-ups in one file system: many thousand names. A disk could be made to be searched for ever. */
const MAX_LOOKUP_BYTES = 64 * 1024 ** 2;
const CHUNK_BYTES = 1024 ** 2;

/** A regular file. */
export interface FileInside {
  readonly sizeBytes: number;
  /** Up to `lengthBytes` from `offsetBytes`; shorter at the file's end. */
  read(offsetBytes: number, lengthBytes: number): Promise<Buffer>;
  /** All of it. */
  chunks(): AsyncGenerator<Buffer>;
}

interface Inode {
  readonly format: number;
  readonly sizeBytes: number;
  /** `i_block`: the extent tree's root, or a short symbolic link. */
  readonly block: Buffer;
  readonly hasExtents: boolean;
}

interface Extent {
  readonly firstBlock: number;
  readonly blocks: number;
  /** Undefined for zeros. */
  readonly diskBlock: number | undefined;
}

/** An ext4 file system that was unmounted cleanly, to be read by path. */
export class Ext4 {
  readonly #range: BlockRange;
  readonly #blockBytes: number;
  readonly #inodeBytes: number;
  readonly #inodesPerGroup: number;
  readonly #inodes: number;
  readonly #descriptorBytes: number;
  readonly #descriptorsBlock: number;
  #lookupBytes = 0;

  private constructor(range: BlockRange, superblock: Buffer) {
    this.#range = range;
    this.#blockBytes = 1024 << superblock.readUInt32LE(24);
    this.#inodes = superblock.readUInt32LE(0);
    this.#inodesPerGroup = superblock.readUInt32LE(40);
    this.#inodeBytes = superblock.readUInt32LE(76) === 0 ? 128 : superblock.readUInt16LE(88);
    const is64Bit = (superblock.readUInt32LE(96) & INCOMPAT_64BIT) !== 0;
    this.#descriptorBytes = is64Bit ? superblock.readUInt16LE(254) : 32;
    // In the block after the superblock's, which is not always the first data block (bigalloc).
    this.#descriptorsBlock = Math.floor(SUPERBLOCK_OFFSET / this.#blockBytes) + 1;
  }

  /** @returns undefined when there is no such file system. @throws when it cannot be read as it stands. */
  static async open(range: BlockRange): Promise<Ext4 | undefined> {
    if (range.sizeBytes < SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES) return undefined;
    const superblock = await range.read(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES);
    if (superblock.readUInt16LE(56) !== MAGIC) return undefined;
    const unknown = superblock.readUInt32LE(96) & ~READABLE;
    if (unknown !== 0)
      throw new Error(`the ext4 file system has features that are not read here (0x${unknown.toString(16)})`);
    const fs = new Ext4(range, superblock);
    const isSound =
      superblock.readUInt32LE(24) <= 6 &&
      fs.#inodesPerGroup > 0 &&
      fs.#inodeBytes >= 128 &&
      fs.#inodeBytes <= fs.#blockBytes &&
      fs.#descriptorBytes >= 32 &&
      fs.#descriptorBytes <= fs.#blockBytes;
    if (!isSound) throw new Error('the ext4 file system is damaged');
    return fs;
  }

  /** The regular file at an absolute path, symbolic links followed; undefined when there is none. */
  async find(path: string): Promise<FileInside | undefined> {
    const inode = await this.#resolve(path);
    if (inode?.format !== REGULAR) return undefined;
    const extents = await this.#extents(inode);
    const read = (offset: number, length: number) => this.#read(inode, extents, offset, length);
    return {
      sizeBytes: inode.sizeBytes,
      read,
      async *chunks() {
        for (let at = 0; at < inode.sizeBytes; at += CHUNK_BYTES) yield await read(at, CHUNK_BYTES);
      },
    };
  }

  async #resolve(path: string): Promise<Inode | undefined> {
    let names = split(path);
    let trail: readonly Inode[] = [await this.#inode(ROOT_INODE)];
    for (let links = 0; ; ) {
      const inode = trail.at(-1);
      const [name, ...rest] = names;
      if (name === undefined) return inode;
      if (inode?.format !== DIRECTORY) return undefined;
      names = rest;
      if (name === '.') continue;
      if (name === '..') {
        trail = trail.length > 1 ? trail.slice(0, -1) : trail;
        continue;
      }
      const number = await this.#lookup(inode, name);
      if (number === undefined) return undefined;
      const next = await this.#inode(number);
      if (next.format !== SYMLINK) {
        trail = [...trail, next];
        continue;
      }
      if (++links > MAX_SYMLINKS) throw new Error(`too many symbolic links at ${path}`);
      const target = await this.#linkTarget(next);
      if (target.startsWith('/')) trail = trail.slice(0, 1);
      names = [...split(target), ...names];
    }
  }

  async #linkTarget(inode: Inode): Promise<string> {
    if (inode.sizeBytes < 60 && !inode.hasExtents) return inode.block.toString('utf8', 0, inode.sizeBytes);
    if (inode.sizeBytes > this.#blockBytes)
      throw new Error('the ext4 file system is damaged: a symbolic link');
    return (await this.#read(inode, await this.#extents(inode), 0, inode.sizeBytes)).toString('utf8');
  }

  /** A directory's blocks can all be read as a list, whether it has an index or not. */
  async #lookup(dir: Inode, name: string): Promise<number | undefined> {
    const wanted = Buffer.from(name);
    const extents = await this.#extents(dir);
    for (let at = 0; at < dir.sizeBytes; at += this.#blockBytes) {
      this.#lookupBytes += this.#blockBytes;
      if (this.#lookupBytes > MAX_LOOKUP_BYTES) throw new Error('its directories are too large');
      const block = await this.#read(dir, extents, at, this.#blockBytes);
      for (let pos = 0; pos + 8 <= block.length; ) {
        const length = block.readUInt16LE(pos + 4);
        if (length < 8 || length % 4 !== 0) break;
        const number = block.readUInt32LE(pos);
        const end = pos + 8 + block.readUInt8(pos + 6);
        if (number !== 0 && block.subarray(pos + 8, end).equals(wanted)) return number;
        pos += length;
      }
    }
    return undefined;
  }

  async #inode(number: number): Promise<Inode> {
    if (number < 1 || number > this.#inodes)
      throw new Error('the ext4 file system is damaged: an inode number');
    const group = Math.floor((number - 1) / this.#inodesPerGroup);
    const descriptor = await this.#range.read(
      this.#descriptorsBlock * this.#blockBytes + group * this.#descriptorBytes,
      this.#descriptorBytes,
    );
    const high = this.#descriptorBytes >= 64 ? descriptor.readUInt32LE(40) : 0;
    const table = (high * 2 ** 32 + descriptor.readUInt32LE(8)) * this.#blockBytes;
    const index = (number - 1) % this.#inodesPerGroup;
    const inode = await this.#range.read(table + index * this.#inodeBytes, 128);
    const flags = inode.readUInt32LE(32);
    if (flags & ENCRYPTED_OR_INLINE) throw new Error('a file is encrypted or within its inode');
    return {
      format: inode.readUInt16LE(0) & FORMAT_MASK,
      sizeBytes: inode.readUInt32LE(108) * 2 ** 32 + inode.readUInt32LE(4),
      block: inode.subarray(40, 100),
      hasExtents: (flags & EXTENTS_FLAG) !== 0,
    };
  }

  async #extents(inode: Inode): Promise<readonly Extent[]> {
    if (!inode.hasExtents) throw new Error('a file has a block map in place of extents');
    return this.#extentsOf(inode.block, MAX_EXTENT_DEPTH, {nodesLeft: MAX_EXTENT_NODES});
  }

  async #extentsOf(node: Buffer, depthLeft: number, budget: {nodesLeft: number}): Promise<readonly Extent[]> {
    const entries = node.readUInt16LE(2);
    const depth = node.readUInt16LE(6);
    const isSound =
      node.readUInt16LE(0) === EXTENT_MAGIC && depth <= depthLeft && 12 + entries * 12 <= node.length;
    if (!isSound || budget.nodesLeft-- <= 0)
      throw new Error('the ext4 file system is damaged: an extent tree');
    const all: Extent[] = [];
    for (let at = 12; at < 12 + entries * 12; at += 12) {
      if (depth === 0) {
        all.push(leaf(node, at));
        continue;
      }
      const child = node.readUInt16LE(at + 8) * 2 ** 32 + node.readUInt32LE(at + 4);
      const below = await this.#range.read(child * this.#blockBytes, this.#blockBytes);
      all.push(...(await this.#extentsOf(below, depth - 1, budget)));
    }
    return all;
  }

  async #read(inode: Inode, extents: readonly Extent[], offset: number, length: number): Promise<Buffer> {
    const end = Math.min(offset + length, inode.sizeBytes);
    const bytes = Buffer.alloc(Math.max(0, end - offset));
    for (const {firstBlock, blocks, diskBlock} of extents) {
      const start = firstBlock * this.#blockBytes;
      const from = Math.max(start, offset);
      const to = Math.min(start + blocks * this.#blockBytes, end);
      if (from >= to || diskBlock === undefined) continue;
      const part = await this.#range.read(diskBlock * this.#blockBytes + from - start, to - from);
      part.copy(bytes, from - offset);
    }
    return bytes;
  }
}

function leaf(node: Buffer, at: number): Extent {
  const length = node.readUInt16LE(at + 4);
  const isUnwritten = length > UNWRITTEN;
  return {
    firstBlock: node.readUInt32LE(at),
    blocks: isUnwritten ? length - UNWRITTEN : length,
    diskBlock: isUnwritten ? undefined : node.readUInt16LE(at + 6) * 2 ** 32 + node.readUInt32LE(at + 8),
  };
}

function split(path: string): readonly string[] {
  return path.split('/').filter(name => name !== '');
}
