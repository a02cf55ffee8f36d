import {NoImageError, type TreeSurvey} from '../../base/tree.ts';

export const BLOCK_BYTES = 4096;
export const INODE_BYTES = 256;
/** Inodes below this number are the file system's own (kernel documentation, "ext4 Special inodes"). */
const RESERVED_INODES = 11;
const SPARE_INODES = 32;
/** A directory's entry: eight bytes and the name, rounded up to four ("ext4 Linear Directories"). */
const ENTRY_BYTES = 8 + 3;
/** What may stay free at the end of a directory's block: less than the longest entry. */
const LONGEST_ENTRY_BYTES = 264;
/** For bitmaps, descriptors and their copies, which take 0.02 % of a file system, and blocks of extents. */
const OVERHEAD_SHARE = 0.02;
const SPARE_BYTES = 16 * 1024 ** 2;
/** Blocks have 32-bit numbers without the feature `64bit`. */
const LARGEST_BYTES = 2 ** 32 * BLOCK_BYTES;

export interface ImageSize {
  /** The file system's length; the file is sparse. */
  readonly imageBytes: number;
  readonly inodes: number;
  /** What is certainly written of it. */
  readonly storedBytes: number;
}

/**
 * A file system that certainly holds the tree. Being too large costs nothing, since nothing is stored for what is free; so each
 * inode may have a block of extended attributes of its own. @throws NoImageError for a tree that is too large for one.
 */
export function imageSize(survey: TreeSurvey): ImageSize {
  const entries = survey.files + survey.directories;
  const inodes = entries + RESERVED_INODES + SPARE_INODES;
  const directoryBytes =
    survey.directories * BLOCK_BYTES +
    Math.ceil((survey.nameBytes + entries * ENTRY_BYTES) / (BLOCK_BYTES - LONGEST_ENTRY_BYTES)) * BLOCK_BYTES;
  // A symbolic link of more than 59 bytes has a block; it is the inode's spare one that pays for it.
  const perInode = inodes * (INODE_BYTES + BLOCK_BYTES);
  const content = survey.lengthBytes + directoryBytes + perInode;
  const imageBytes = roundUp(content * (1 + OVERHEAD_SHARE) + SPARE_BYTES);
  if (imageBytes > LARGEST_BYTES) throw new NoImageError('the context is too large for an image');
  return {
    imageBytes,
    inodes,
    storedBytes: roundUp(
      survey.dataBytes + survey.files * (BLOCK_BYTES / 2) + directoryBytes + inodes * INODE_BYTES,
    ),
  };
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}
