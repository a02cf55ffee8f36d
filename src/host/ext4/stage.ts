import {spawn} from 'node:child_process';
import {linkSync, mkdirSync} from 'node:fs';
import {setImmediate} from 'node:timers/promises';
import {messageOf, throwIfCanceled} from '../../base/errors.ts';
import {NoImageError, type TreeFilter} from '../../base/tree.ts';
import {tarEnv} from '../tar.ts';
import {printable, walkTree} from '../tree.ts';

/** How many links are made before others get their turn. */
const LINKS_A_TURN = 500;

/**
 * Makes the part of a tree that a filter lets through a tree of its own: its directories anew, with their extended attributes, and hard links to everything else.
 * Nothing is copied. Permissions are wide enough to remove it again; times are those of now.
 * @param stage an empty directory on the same file system.
 * @throws NoImageError when something cannot be linked (another mount, too many links, a file of someone else under `fs.protected_hardlinks`, proc(5)).
 */
export async function stageTree(
  root: string,
  filter: TreeFilter | undefined,
  stage: string,
  signal?: AbortSignal,
): Promise<void> {
  const directories: Buffer[] = [];
  let links = 0;
  for await (const {path, kind} of walkTree(root, filter)) {
    throwIfCanceled(signal);
    const place = Buffer.concat([Buffer.from(`${stage}/`), path]);
    try {
      if (kind === 'directory') {
        mkdirSync(place, {mode: 0o700});
        directories.push(path);
      } else {
        linkSync(Buffer.concat([Buffer.from(`${root}/`), path]), place);
      }
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOENT') continue;
      throw new NoImageError(`${printable(path)} cannot be linked: ${code ?? messageOf(error)}`);
    }
    if (++links % LINKS_A_TURN === 0) await setImmediate();
  }
  if (directories.length > 0) await copyAttributes(root, stage, directories, signal);
}

/** Extended attributes of the directories, by tar: Node has no call for them. */
async function copyAttributes(
  root: string,
  stage: string,
  directories: readonly Buffer[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const attributes = ['--xattrs', '--xattrs-include=*', '--acls'];
  const packed = start('tar', [
    ...['--create', '--file=-', '--format=posix', '--no-recursion', '--mode=u+rwx', ...attributes],
    ...['--null', '--verbatim-files-from', '--no-unquote', `--directory=${root}`, '--files-from=-'],
  ]);
  const unpacked = start('tar', [
    ...['--extract', '--file=-', '--same-permissions', '--delay-directory-restore', ...attributes],
    ...['--absolute-names', `--directory=${stage}`],
  ]);
  const stop = (): void => {
    packed.child.kill('SIGKILL');
    unpacked.child.kill('SIGKILL');
  };
  signal?.addEventListener('abort', stop, {once: true});
  packed.child.stdout.pipe(unpacked.child.stdin);
  packed.child.stdin.end(Buffer.concat(directories.flatMap(path => [path, Buffer.from([0])])));
  try {
    const ends = await Promise.all([packed.ended, unpacked.ended]);
    throwIfCanceled(signal);
    const bad = ends.find(end => end.code !== 0);
    if (bad) throw new NoImageError(`directories cannot be staged: tar ended with ${bad.code}: ${bad.said}`);
  } finally {
    signal?.removeEventListener('abort', stop);
    stop();
  }
}

function start(program: string, args: readonly string[]) {
  const child = spawn(program, args, {env: tarEnv(), stdio: ['pipe', 'pipe', 'pipe']});
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-1_000);
  });
  // The one that ends first says why.
  child.stdin.on('error', () => undefined);
  const ended = new Promise<{code: number | string | null; said: string}>(resolve => {
    child.once('error', error => resolve({code: messageOf(error), said}));
    child.once('close', (code, killedBy) => resolve({code: code ?? killedBy, said}));
  });
  return {child, ended};
}
