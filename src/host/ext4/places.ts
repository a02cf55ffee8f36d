import {lstat, mkdtemp, rm} from 'node:fs/promises';
import {join} from 'node:path';
import {NoImageError} from '../../base/tree.ts';
import {TEMP_DIR_PREFIX} from '../files.ts';

/** A new folder that only this user enters. @param onTemp is told its path. */
export async function makeTemp(dir: string, onTemp?: (path: string) => void): Promise<string> {
  const path = await mkdtemp(join(dir, TEMP_DIR_PREFIX));
  onTemp?.(path);
  return path;
}

/** A folder for as long as `use` works in it. */
export async function inTemp(
  dir: string,
  onTemp: ((path: string) => void) | undefined,
  use: (path: string) => Promise<void>,
): Promise<void> {
  const path = await makeTemp(dir, onTemp);
  try {
    await use(path);
  } finally {
    // Not `removeTree`: what is linked here keeps its permissions.
    await rm(path, {recursive: true, force: true});
  }
}

/** The first of `candidates` on the file system that `root` is on: hard links reach no further. @throws NoImageError when none is. */
export async function stagingDir(root: string, candidates: readonly string[]): Promise<string> {
  const {dev} = await lstat(root);
  for (const candidate of candidates) {
    const there = await lstat(candidate).catch(() => undefined);
    if (there?.isDirectory() && there.dev === dev) return candidate;
  }
  throw new NoImageError(
    `.dockerignore leaves something out, and no temporary folder is on the file system of ${root} (there are ${candidates.join(', ')})`,
  );
}
