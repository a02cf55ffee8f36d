import {lstat} from 'node:fs/promises';
import {basename} from 'node:path';
import type {OwnedResource} from '../base/events.ts';
import {TEMP_DIR_PREFIX} from './files.ts';
import {removeTree} from './merge.ts';
import {killByIdentity} from './processes.ts';

const KILL_TIMEOUT_MS = 5_000;

/**
 * Ends processes and removes folders that an earlier, killed process left behind. Processes first, since they write into the folders.
 * @returns what was found and removed, for the log.
 */
export async function cleanUp(resources: readonly OwnedResource[]): Promise<readonly string[]> {
  const done: string[] = [];
  for (const resource of resources) {
    if (resource.kind !== 'process') continue;
    if (await killByIdentity(resource.pid, resource.startTicks, KILL_TIMEOUT_MS)) {
      done.push(`ended ${resource.name} (pid ${resource.pid})`);
    }
  }
  for (const resource of resources) {
    if (resource.kind !== 'temp-dir' || !(await isOurs(resource.path))) continue;
    await removeTree(resource.path);
    done.push(`removed ${resource.path}`);
  }
  return done;
}

/** Only what is named like ours and belongs to this user is removed. */
async function isOurs(path: string): Promise<boolean> {
  if (!basename(path).replace(/^\./, '').startsWith(TEMP_DIR_PREFIX)) return false;
  const stats = await lstat(path).catch(() => undefined);
  return (stats?.isDirectory() || stats?.isFile()) === true && stats?.uid === process.getuid?.();
}
