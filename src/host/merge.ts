import {spawn} from 'node:child_process';
import {chmod, lstat, rename, rm, unlink} from 'node:fs/promises';
import {printable, readDirectory} from './tree.ts';

const SLASH = Buffer.from('/');
const OWNER_ALL = 0o700;
const SET_ID_BITS = 0o6000;

export interface Cleaned {
  /** Entries that are no directories. */
  readonly files: number;
  readonly warnings: readonly string[];
}

/**
 * Takes out of an unpacked tree what must not come from a machine that is not trusted: devices, FIFOs and sockets,
 * and, for root, the set-user-ID and set-group-ID bits. Links are left as they are and not followed.
 */
export async function cleanTree(root: string, isRoot = process.getuid?.() === 0): Promise<Cleaned> {
  const warnings: string[] = [];
  let files = 0;
  const clean = async (dir: Buffer, shown: Buffer): Promise<void> => {
    for await (const entry of readDirectory(dir)) {
      const path = join(dir, entry.name);
      const name = shown.length === 0 ? entry.name : join(shown, entry.name);
      if (entry.isDirectory()) {
        const {mode} = await lstat(path);
        const opened = (mode & OWNER_ALL) === OWNER_ALL;
        if (!opened) await chmod(path, (mode & 0o777) | OWNER_ALL);
        await clean(path, name);
        if (!opened || (isRoot && mode & SET_ID_BITS)) await chmod(path, safeMode(mode, isRoot));
      } else if (entry.isFile()) {
        files++;
        if (!isRoot) continue;
        const {mode} = await lstat(path);
        if (mode & SET_ID_BITS) await chmod(path, safeMode(mode, isRoot));
      } else if (entry.isSymbolicLink()) {
        files++;
      } else {
        await unlink(path);
        warnings.push(`${printable(name)} is a device, FIFO or socket; left out`);
      }
    }
  };
  await clean(Buffer.from(root), Buffer.alloc(0));
  return {files, warnings};
}

function safeMode(mode: number, isRoot: boolean): number {
  return mode & 0o7777 & (isRoot ? ~SET_ID_BITS : ~0);
}

/**
 * Moves all of `from` into the directory `to`, which is on the same file system. Directories are merged; anything
 * else takes the place of what is there. A symbolic link in `to` is replaced, never followed. `from` is used up.
 * @param skip a name in `to` that stays as it is.
 */
export async function mergeTree(from: string, to: string, skip = ''): Promise<void> {
  const merge = async (source: Buffer, target: Buffer, kept?: Buffer): Promise<void> => {
    for await (const entry of readDirectory(source)) {
      if (kept?.equals(entry.name)) continue;
      const path = join(source, entry.name);
      const place = join(target, entry.name);
      const there = await lstat(place).catch(absent);
      const isDirectory = entry.isDirectory();
      if (isDirectory && there?.isDirectory()) {
        await chmod(path, ((await lstat(path)).mode & 0o777) | OWNER_ALL);
        await merge(path, place);
        continue;
      }
      if (there && (isDirectory || there.isDirectory())) await removeTree(place);
      await (isDirectory ? moveDirectory(path, place) : rename(path, place));
    }
  };
  await merge(Buffer.from(from), Buffer.from(to), skip === '' ? undefined : Buffer.from(skip));
}

/** A directory that its owner may not write cannot be moved: its `..` would change (rename(2), EACCES). */
async function moveDirectory(path: Buffer, place: Buffer): Promise<void> {
  const mode = (await lstat(path)).mode & 0o7777;
  const locked = (mode & OWNER_ALL) !== OWNER_ALL;
  if (locked) await chmod(path, mode | OWNER_ALL);
  await rename(path, place);
  if (locked) await chmod(place, mode);
}

/**
 * Removes a tree, also one with directories that its owner may not write, or with paths longer than PATH_MAX, which
 * only programs that go down step by step can reach. Nothing there is no error.
 */
export async function removeTree(path: string | Buffer): Promise<void> {
  try {
    await rm(path, {recursive: true, force: true});
  } catch (error) {
    const operand = path.toString();
    await quietly('chmod', ['-R', 'u+rwX', '--', operand]);
    await quietly('rm', ['-rf', '--', operand]);
    if (await lstat(path).catch(absent)) throw error;
  }
}

function quietly(program: string, args: readonly string[]): Promise<void> {
  return new Promise(resolve => {
    const child = spawn(program, args, {stdio: 'ignore'});
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
}

function join(dir: Buffer, name: Buffer): Buffer {
  return Buffer.concat([dir, SLASH, name]);
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT') return undefined;
  throw error;
}
