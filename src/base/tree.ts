import type {Readable} from 'node:stream';

/** Says, entry by entry from the root down, what of a tree is taken along. */
export interface TreeFilter {
  readonly root: unknown;
  /**
   * @param path relative to the tree's root, as the file system's bytes.
   * @param parent `state` that was given for the entry's directory, or `root`.
   */
  visit(
    path: Uint8Array,
    isDirectory: boolean,
    parent: unknown,
  ): {readonly send: boolean; readonly descend: boolean; readonly state: unknown};
}

/** A tree, or some files of one, on its way as a tar stream (POSIX.1-2001 "pax" format). */
export interface PackedTree {
  /** Ends when all is packed; is destroyed with the error when packing fails. Destroying it stops the work. */
  readonly stream: Readable;
  /** What has been packed; complete when the stream has ended. */
  report(): PackReport;
}

export interface PackReport {
  /** Entries that are no directories. */
  readonly files: number;
  readonly directories: number;
  /** Length of the tar stream. */
  readonly bytes: number;
  /** Entries left out by the filter; a directory that was not entered counts once. */
  readonly leftOut: number;
  /** What was not quite as expected: files that vanished or changed while they were read, sockets. */
  readonly warnings: readonly string[];
}

/** Packs files of this machine. */
export interface TreePacker {
  /** All of `root` that `filter` lets through, symbolic links as links. */
  packTree(root: string, filter: TreeFilter | undefined, onBytes?: (bytes: number) => void): PackedTree;
  /** The named files of `dir`; where a name is a symbolic link, what it points to. */
  packFiles(dir: string, names: readonly string[]): PackedTree;
}

/** What a tree holds, less what the filter leaves out. */
export interface TreeSurvey extends Omit<PackReport, 'bytes'> {
  /** Bytes of regular files that are stored: holes do not count. */
  readonly dataBytes: number;
  /** Lengths of regular files, links and holes counted in full, each rounded up to 4 KiB. */
  readonly lengthBytes: number;
  /** Lengths of all names. */
  readonly nameBytes: number;
  /** Entries of the directory that has most. */
  readonly largestDirectory: number;
}

/** A tree as a file system in a file. Disposing it removes the file. */
export interface TreeImage extends AsyncDisposable {
  readonly path: string;
}

/** Puts trees of this machine into file system images. */
export interface TreeImager {
  /** Looks at all of `root` that `filter` lets through. @throws UserError for a directory that cannot be read. */
  survey(root: string, filter: TreeFilter | undefined, signal?: AbortSignal): Promise<TreeSurvey>;
  /**
   * An ext4 image (no journal, blocks of 4 KiB) of what was surveyed: modes, mtimes to the nanosecond, links, holes and extended attributes as they are,
   * owners 0:0.
   * @param options.onTemp told each temporary folder, so that it can be removed after a crash.
   * @throws NoImageError when it cannot be made here; the tree can still be packed.
   */
  image(
    root: string,
    filter: TreeFilter | undefined,
    survey: TreeSurvey,
    options: {readonly signal?: AbortSignal; readonly onTemp?: (path: string) => void},
  ): Promise<TreeImage>;
}

/** A tree cannot be made into an image on this machine; the message says why. */
export class NoImageError extends Error {
  override readonly name = 'NoImageError';
}

/** Hands over bytes piece by piece; returns when all are handed over, throws when there is no whole. */
export type Produce = (write: (chunk: Buffer) => Promise<void>) => Promise<void>;

/** Takes what comes out of a machine that is not trusted. */
export interface ResultStore {
  /**
   * Unpacks a tar stream over what is in the directory `dest`. Nothing outside `dest` is written, whatever the stream
   * says, and nothing inside before the stream is whole.
   */
  receiveTree(dest: string, produce: Produce, options?: ReceiveOptions): Promise<ReceiveReport>;
  /** Puts bytes into the file `dest`, which has them all or is as it was. */
  receiveFile(dest: string, produce: Produce, options?: ReceiveOptions): Promise<ReceiveReport>;
  /**
   * The same for a file of known size that `fill` writes in place: it is given the path of a blank file, somewhat longer, on the file system of `dest`. Once `fill`
   * has resolved nobody may write to that file any more.
   */
  receiveBlank(
    dest: string,
    sizeBytes: number,
    fill: (path: string) => Promise<void>,
    options?: ReceiveOptions,
  ): Promise<ReceiveReport>;
}

export interface ReceiveOptions {
  /** Bytes of the stream after which it is refused. */
  readonly limitBytes?: number;
  /** Told the path of the temporary folder before it is made, so that it can be removed after a crash. */
  readonly onTemp?: (path: string) => void;
}

export interface ReceiveReport {
  readonly files: number;
  /** Length of the stream. */
  readonly bytes: number;
  readonly warnings: readonly string[];
}

/** What has to be known of paths beside what `Files` says. */
export interface Links {
  /** The path without symbolic links. @throws when something on it does not exist. */
  realPath(path: string): Promise<string>;
  /** Where a symbolic link points; undefined for anything else. */
  readLink(path: string): Promise<string | undefined>;
  /** Names in a directory; empty when it cannot be read. */
  list(dir: string): Promise<readonly string[]>;
  /** Whether this user may write something that exists. */
  isWritable(path: string): Promise<boolean>;
}
