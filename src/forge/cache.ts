import {createHash} from 'node:crypto';
import {mkdir, mkdtemp, readdir, rename, rm, stat} from 'node:fs/promises';
import {join} from 'node:path';

/** A key for everything that decides a result: the first 16 hex digits of its JSON's SHA-256. */
export function recipeKey(recipe: unknown): string {
  return createHash('sha256').update(JSON.stringify(recipe)).digest('hex').slice(0, 16);
}

/**
 * The folder of a kept result, made by `make` when it is not there yet. A folder appears complete or not at
 * all: it is made under a temporary name and renamed. Two forges may make the same one; the first wins and
 * the second uses the first's.
 */
export async function kept(
  cacheDir: string,
  name: string,
  make: (dir: string) => Promise<void>,
  onReuse: () => void = () => {},
): Promise<string> {
  const dir = join(cacheDir, name);
  if (await isDirectory(dir)) {
    onReuse();
    return dir;
  }
  return await withTempDir(cacheDir, `${name}.making-`, async temp => {
    const making = join(temp, 'result');
    await mkdir(making);
    await make(making);
    try {
      await rename(making, dir);
    } catch (error) {
      if (!(await isDirectory(dir))) throw error;
    }
    return dir;
  });
}

/** Runs `use` with a new folder inside `parent`, which is gone afterwards however `use` ends. */
export async function withTempDir<T>(
  parent: string,
  prefix: string,
  use: (dir: string) => Promise<T>,
): Promise<T> {
  await mkdir(parent, {recursive: true});
  const dir = await mkdtemp(join(parent, prefix));
  try {
    return await use(dir);
  } finally {
    await rm(dir, {recursive: true, force: true, maxRetries: 3});
  }
}

// No forge works on one thing for this long.
const STALE_MS = 24 * 60 * 60 * 1000;

/** Removes what a forge that was killed outright left in the cache: folders under a temporary name, a day old. */
export async function sweep(cacheDir: string, nowMs: number): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    if (!/^(rootfs|disk|qemu|module|refresh|.*\.making)-[A-Za-z0-9]{6}$/.test(name)) continue;
    const dir = join(cacheDir, name);
    const found = await stat(dir).catch(() => undefined);
    if (found && nowMs - found.mtimeMs > STALE_MS) await rm(dir, {recursive: true, force: true});
  }
}

export async function isDirectory(path: string): Promise<boolean> {
  return await stat(path).then(
    found => found.isDirectory(),
    () => false,
  );
}

export async function isFile(path: string): Promise<boolean> {
  return await stat(path).then(
    found => found.isFile(),
    () => false,
  );
}
