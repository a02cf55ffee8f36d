import {createHash} from 'node:crypto';
import {createReadStream} from 'node:fs';
import {lstat, readdir, readlink} from 'node:fs/promises';
import {join} from 'node:path';

/** Reads a file or folder whole: its size in bytes and the digest of its content. @throws when it is not there, or `signal` is aborted. */
export async function measure(
  path: string,
  signal?: AbortSignal,
): Promise<{sizeBytes: number; contentDigest: string}> {
  const stats = await lstat(path);
  if (stats.isFile()) {
    return {sizeBytes: stats.size, contentDigest: `sha256:${await fileDigest(path, signal)}`};
  }
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const line of treeLines(path, '', signal)) {
    hash.update(`${JSON.stringify(line.fields)}\n`);
    sizeBytes += line.sizeBytes;
  }
  return {sizeBytes, contentDigest: `sha256:${hash.digest('hex')}`};
}

/** What makes a folder what it is, in a fixed order: names, kinds, modes, link targets and the files' digests; no times, no owners. */
async function* treeLines(
  root: string,
  dir: string,
  signal?: AbortSignal,
): AsyncGenerator<{fields: readonly (string | number)[]; sizeBytes: number}> {
  for (const name of (await readdir(join(root, dir))).sort()) {
    const relative = join(dir, name);
    const path = join(root, relative);
    const stats = await lstat(path);
    const modeBits = stats.mode & 0o7777;
    if (stats.isDirectory()) {
      yield {fields: ['dir', relative, modeBits], sizeBytes: 0};
      yield* treeLines(root, relative, signal);
    } else if (stats.isSymbolicLink()) {
      yield {fields: ['link', relative, await readlink(path)], sizeBytes: 0};
    } else if (stats.isFile()) {
      yield {fields: ['file', relative, modeBits, await fileDigest(path, signal)], sizeBytes: stats.size};
    } else {
      yield {fields: ['other', relative, stats.mode], sizeBytes: 0};
    }
  }
}

async function fileDigest(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, {highWaterMark: 1024 * 1024, ...(signal && {signal})})) {
    hash.update(chunk);
  }
  return hash.digest('hex');
}
