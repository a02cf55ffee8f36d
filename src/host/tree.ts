import type {Dir, Dirent} from 'node:fs';
import {opendir} from 'node:fs';
import {access, constants, readdir, readlink, realpath} from 'node:fs/promises';
import {messageOf, UserError} from '../base/errors.ts';
import type {Links, TreeFilter} from '../base/tree.ts';

export type EntryKind = 'directory' | 'socket' | 'other';

export interface TreeEntry {
  /** Relative to the root; the file system's bytes, which need not be UTF-8. */
  readonly path: Buffer;
  readonly kind: EntryKind;
}

/** Names asked of the system at once, so that a large directory is not one call a name. */
const NAMES_A_READ = 512;
const SLASH = Buffer.from('/');

interface PendingDirectory {
  readonly path: Buffer;
  readonly state: unknown;
  /** Not to be sent for itself, only when something in it is. */
  readonly waiting: boolean;
  readonly parent: PendingDirectory | undefined;
  announced: boolean;
}

/**
 * The entries of a tree, each directory before what is in it, one directory open at a time. A directory that the
 * filter only lets be entered is given when something in it is. An entry that vanishes on the way is left out, as
 * fsutil's walk does.
 * @param onLeftOut called for each entry that the filter leaves out.
 * @throws UserError naming the directory that cannot be read.
 */
export async function* walkTree(
  root: string,
  filter: TreeFilter | undefined,
  onLeftOut: () => void = () => undefined,
): AsyncGenerator<TreeEntry, void, undefined> {
  const top: PendingDirectory = {
    path: Buffer.alloc(0),
    state: filter?.root,
    waiting: false,
    parent: undefined,
    announced: true,
  };
  const pending: PendingDirectory[] = [top];
  for (let dir = pending.pop(); dir !== undefined; dir = pending.pop()) {
    if (!dir.waiting) yield* announce(dir);
    const inside: PendingDirectory[] = [];
    for await (const entry of entriesOf(root, dir.path)) {
      const path = dir === top ? entry.name : Buffer.concat([dir.path, SLASH, entry.name]);
      const isDirectory = entry.isDirectory();
      const verdict = filter?.visit(path, isDirectory, dir.state);
      const send = verdict?.send ?? true;
      if (isDirectory && (verdict?.descend ?? true)) {
        inside.push({path, state: verdict?.state, waiting: !send, parent: dir, announced: false});
      } else if (send) {
        yield* announce(dir);
        yield {path, kind: isDirectory ? 'directory' : entry.isSocket() ? 'socket' : 'other'};
      } else {
        onLeftOut();
      }
    }
    pending.push(...inside.reverse());
  }
}

function* announce(dir: PendingDirectory): Generator<TreeEntry, void, undefined> {
  if (dir.announced) return;
  if (dir.parent) yield* announce(dir.parent);
  dir.announced = true;
  yield {path: dir.path, kind: 'directory'};
}

/** A directory entry whose name is bytes; what `opendir` gives with `encoding: 'buffer'`. */
export type ByteEntry = Omit<Dirent, 'name'> & {readonly name: Buffer};

/** The entries of one directory as the system gives them, never all at once. @throws the system's error. */
export async function* readDirectory(path: Buffer): AsyncGenerator<ByteEntry, void, undefined> {
  const dir = await new Promise<Dir>((resolve, reject) => {
    const options = {encoding: 'buffer' as BufferEncoding, bufferSize: NAMES_A_READ};
    opendir(path as unknown as string, options, (error, opened) => (error ? reject(error) : resolve(opened)));
  });
  yield* dir as unknown as AsyncIterable<ByteEntry>;
}

async function* entriesOf(root: string, path: Buffer): AsyncGenerator<ByteEntry, void, undefined> {
  const full = path.length === 0 ? Buffer.from(root) : Buffer.concat([Buffer.from(root), SLASH, path]);
  try {
    yield* readDirectory(full);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (path.length > 0 && (code === 'ENOENT' || code === 'ENOTDIR')) return;
    throw new UserError(`cannot read the directory ${printable(full)}: ${code ?? messageOf(error)}`, {
      stage: 'context',
      input: 'context',
      hint: 'Make it readable, or leave it out with a line in .dockerignore.',
      cause: error,
    });
  }
}

/** A path for a message: control characters and bytes that are no UTF-8 written out. */
export function printable(path: Buffer): string {
  let text = '';
  for (const char of path.toString('utf8')) {
    text += /[\p{C}\uFFFD]/u.test(char) ? `\\u{${char.codePointAt(0)?.toString(16)}}` : char;
  }
  return text;
}

export const localLinks: Links = {
  realPath: path => realpath(path),
  async readLink(path) {
    try {
      return await readlink(path);
    } catch {
      return undefined;
    }
  },
  async list(dir) {
    try {
      return await readdir(dir);
    } catch {
      return [];
    }
  },
  async isWritable(path) {
    return access(path, constants.W_OK).then(
      () => true,
      () => false,
    );
  },
};
