import {type BigIntStats, closeSync, lstatSync, openSync} from 'node:fs';
import {setImmediate} from 'node:timers/promises';
import {throwIfCanceled} from '../../base/errors.ts';
import {Ext4File} from './ext4-file.ts';
import {type Inode, ROOT_INODE} from './inode.ts';

/** The directory that mke2fs makes for e2fsck. */
const LOST_AND_FOUND = 'lost+found';

export interface FinishOptions {
  /** The tree whose times and permissions count. */
  readonly source: string;
  /** The tree that mke2fs was given: the source, or a copy of a part of it. */
  readonly staged: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes an image that mke2fs filled what the tar way gives: owners 0:0; mtimes to the nanosecond and beyond 2038, of which mke2fs up to 1.47.0 keeps the low 32
 * bits of the seconds; hard links of symbolic links and devices; a staged directory's own permissions; no `lost+found` that the tree does not have. Memory does not grow with the tree.
 * What has meanwhile vanished from the source stays as mke2fs saw it.
 * @throws when the file system has a form that is not written here.
 */
export async function finishImage(path: string, {source, staged, signal}: FinishOptions): Promise<void> {
  const fd = openSync(path, 'r+');
  try {
    const image = new Ext4File(fd);
    if (statsOf(Buffer.from(`${staged}/${LOST_AND_FOUND}`)) === undefined) {
      if (image.removeEntry(ROOT_INODE, Buffer.from(LOST_AND_FOUND)))
        image.edit(ROOT_INODE, root => root.addLinks(-1));
    }
    const links = new LinkedInodes(image);
    const pending = [{inode: ROOT_INODE, path: Buffer.from(source)}];
    for (let dir = pending.pop(); dir !== undefined; dir = pending.pop()) {
      // Others get their turn between directories.
      await setImmediate();
      throwIfCanceled(signal);
      for (const {name, inode: made, relink} of image.entries(dir.inode)) {
        const child = Buffer.concat([dir.path, Buffer.from('/'), name]);
        const stats = statsOf(child);
        const inode = (stats && links.first(stats, made, relink)) ?? made;
        let isDirectory = false;
        image.edit(inode, edited => {
          isDirectory = edited.isDirectory;
          edited.disown();
          if (stats) apply(edited, stats);
        });
        if (isDirectory) pending.push({inode, path: child});
      }
    }
    image.edit(ROOT_INODE, root => root.disown());
    image.flush();
  } finally {
    closeSync(fd);
  }
}

/**
 * mke2fs makes hard links of regular files only; of a symbolic link or a device with several names it makes several. BuildKit's client looks at the number, so
 * all names get the first one. What the others had stays behind unused.
 */
class LinkedInodes {
  readonly #image: Ext4File;
  readonly #made = new Map<string, number>();

  constructor(image: Ext4File) {
    this.#image = image;
  }

  /** @returns the inode that all names of a file have. */
  first(stats: BigIntStats, made: number, relink: (inode: number) => void): number {
    if (stats.isFile() || stats.isDirectory() || stats.nlink < 2n) return made;
    const key = `${stats.dev}:${stats.ino}`;
    const first = this.#made.get(key);
    if (first === undefined) {
      this.#made.set(key, made);
      return made;
    }
    relink(first);
    this.#image.edit(first, inode => inode.addLinks(1));
    return first;
  }
}

function apply(inode: Inode, stats: BigIntStats): void {
  inode.setMtime(stats.mtimeNs);
  if (inode.isDirectory && stats.isDirectory()) inode.setPermissions(Number(stats.mode & 0o7777n));
}

function statsOf(path: Buffer): BigIntStats | undefined {
  try {
    return lstatSync(path, {bigint: true, throwIfNoEntry: false});
  } catch {
    return undefined;
  }
}
