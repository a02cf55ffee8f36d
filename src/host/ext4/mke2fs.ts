import {spawn} from 'node:child_process';
import {accessSync, constants} from 'node:fs';
import {open} from 'node:fs/promises';
import {delimiter, join} from 'node:path';
import {throwIfCanceled} from '../../base/errors.ts';
import {NoImageError} from '../../base/tree.ts';
import {BLOCK_BYTES, type ImageSize, INODE_BYTES} from './layout.ts';

const MAX_STDERR_CHARS = 1_000;

/** Only what kernels have mounted since 3.0, and nothing that would have to be kept right in two places (ext4(5)). */
const FEATURES = [
  'none',
  'dir_nlink',
  'ext_attr',
  'extent',
  'extra_isize',
  'filetype',
  'huge_file',
  'large_file',
  'sparse_super',
];

/** mke2fs's arguments for a file that is there and empty (mke2fs(8)). */
export function mke2fsArgs(path: string, tree: string, {imageBytes, inodes}: ImageSize): readonly string[] {
  return [
    ...['-q', '-F', '-O', FEATURES.join(',')],
    ...['-b', String(BLOCK_BYTES), '-I', String(INODE_BYTES), '-N', String(inodes), '-m', '0'],
    // The file is new: there is nothing to discard and nothing old to be found in it.
    ...['-E', 'nodiscard,lazy_itable_init=1,root_owner=0:0'],
    ...['-d', tree, path, String(imageBytes / BLOCK_BYTES)],
  ];
}

/**
 * Makes the file `path`, an ext4 image with all that is in `tree`.
 * @throws NoImageError with what mke2fs said: it gives up at the first file that it cannot read.
 */
export async function fillImage(
  program: string,
  path: string,
  tree: string,
  size: ImageSize,
  signal?: AbortSignal,
): Promise<void> {
  throwIfCanceled(signal);
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(size.imageBytes);
  } finally {
    await file.close();
  }
  const child = spawn(program, mke2fsArgs(path, tree, size), {
    // This machine's defaults are not ours.
    env: {...process.env, LC_ALL: 'C', MKE2FS_CONFIG: '/dev/null'},
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const stop = (): void => void child.kill('SIGKILL');
  signal?.addEventListener('abort', stop, {once: true});
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-MAX_STDERR_CHARS);
  });
  try {
    const code = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status, killedBy) => resolve(status ?? killedBy));
    });
    throwIfCanceled(signal);
    if (code === 0) return;
    const why = said
      .split('\n')
      .filter(line => line.trim() !== '' && !/^Warning: the fs_type/.test(line))
      .slice(-2)
      .join('; ');
    throw new NoImageError(`mke2fs ended with ${code}: ${why}`);
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/** mke2fs on PATH, or where systems keep it for root. */
export function findMke2fs(): string | undefined {
  const dirs = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return dirs
    .filter(dir => dir !== '')
    .map(dir => join(dir, 'mke2fs'))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
