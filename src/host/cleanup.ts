import {lstat} from 'node:fs/promises';
import {basename} from 'node:path';
import {CONTAINER_PREFIX, LOADED_IMAGE_PREFIX} from '../base/docker.ts';
import type {OwnedResource} from '../base/events.ts';
import type {Output} from '../base/ports.ts';
import {localDocker} from './docker.ts';
import {TEMP_DIR_PREFIX} from './files.ts';
import {removeTree} from './merge.ts';
import {killByIdentity, localProcesses} from './processes.ts';

const KILL_TIMEOUT_MS = 5_000;
const DOCKER_TIMEOUT_MS = 60_000;

/**
 * Ends processes and containers and removes folders that an earlier, killed process left behind. Processes first, since they write into the folders.
 * @returns what was found and removed, for the log.
 */
export async function cleanUp(resources: readonly OwnedResource[]): Promise<readonly string[]> {
  const done: string[] = [];
  // The youngest first: a forward ends by itself when its machine does.
  for (const resource of [...resources].reverse()) {
    if (resource.kind !== 'process') continue;
    if (await killByIdentity(resource.pid, resource.startTicks, KILL_TIMEOUT_MS)) {
      done.push(`ended ${resource.name} (pid ${resource.pid})`);
    }
  }
  for (const resource of resources) {
    if (resource.kind === 'container') done.push(...(await removeContainer(resource)));
  }
  for (const resource of resources) {
    if (resource.kind !== 'temp-dir' || !(await isOurs(resource.path))) continue;
    await removeTree(resource.path);
    done.push(`removed ${resource.path}`);
  }
  return done;
}

/** Only what is named like ours is removed; a machine without docker has no containers. */
async function removeContainer({
  name,
  image,
}: Extract<OwnedResource, {kind: 'container'}>): Promise<readonly string[]> {
  if (!name.startsWith(CONTAINER_PREFIX)) return [];
  const done: string[] = [];
  const {stdout} = await runDocker(['rm', '--force', '--volumes', name]);
  // Docker repeats the name of what it has removed.
  if (stdout.trim() === name) done.push(`removed the container ${name}`);
  if (image?.startsWith(LOADED_IMAGE_PREFIX) && (await runDocker(['image', 'rm', image])).code === 0) {
    done.push(`removed the image ${image} from docker`);
  }
  return done;
}

async function runDocker(args: readonly string[]): Promise<Pick<Output, 'code' | 'stdout'>> {
  const nothing = {code: undefined, stdout: ''};
  const command = await localDocker(process.env).command(args);
  if (!command) return nothing;
  return localProcesses.output(command, {timeoutMs: DOCKER_TIMEOUT_MS}).catch(() => nothing);
}

/** Only what is named like ours and belongs to this user is removed. */
async function isOurs(path: string): Promise<boolean> {
  if (!basename(path).replace(/^\./, '').startsWith(TEMP_DIR_PREFIX)) return false;
  const stats = await lstat(path).catch(() => undefined);
  return (stats?.isDirectory() || stats?.isFile()) === true && stats?.uid === process.getuid?.();
}
