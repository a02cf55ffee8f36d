import {createReadStream} from 'node:fs';
import {chmod, mkdtemp, open, readFile, rm, stat, statfs, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import type {Files} from '../base/ports.ts';

/** sockaddr_un.sun_path holds 108 bytes (unix(7)); the rest is for the socket's own name. */
const LONGEST_SOCKET_DIR_BYTES = 80;

/** All our folders outside the store begin like this. */
export const TEMP_DIR_PREFIX = 'bka-';

export const localFiles: Files = {
  async makeTempDir() {
    const base =
      [tmpdir(), '/tmp'].find(dir => Buffer.byteLength(dir) <= LONGEST_SOCKET_DIR_BYTES - 16) ?? '/tmp';
    const dir = await mkdtemp(join(base, TEMP_DIR_PREFIX));
    await chmod(dir, 0o700);
    return dir;
  },
  remove: path => rm(path, {recursive: true, force: true, maxRetries: 3}),
  write: (path, bytes) => writeFile(path, bytes, {flag: 'wx', mode: 0o600}),
  exists: async path => (await kindOf(path)) !== undefined,
  size: async path => {
    try {
      return (await stat(path)).size;
    } catch (error) {
      return absent(error);
    }
  },
  kind: kindOf,
  readText: path => readFile(path, 'utf8'),
  openRead: path => createReadStream(path),
  readRange: (path, offsetBytes, lengthBytes) => readSlice(path, () => offsetBytes, lengthBytes),
  async readTail(path, maxBytes) {
    try {
      return (await readSlice(path, size => Math.max(0, size - maxBytes), maxBytes)).toString('utf8');
    } catch (error) {
      return absent(error) ?? '';
    }
  },
  async freeBytes(path) {
    let dir = path;
    while ((await kindOf(dir)) === undefined && dirname(dir) !== dir) dir = dirname(dir);
    const {bavail, bsize} = await statfs(dir);
    return bavail * bsize;
  },
};

async function kindOf(path: string): Promise<'file' | 'directory' | 'other' | undefined> {
  try {
    const stats = await stat(path);
    return stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other';
  } catch (error) {
    return absent(error);
  }
}

function absent(error: unknown): undefined {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
  throw error;
}

async function readSlice(path: string, from: (size: number) => number, maxBytes: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(maxBytes);
    const {bytesRead} = await file.read(buffer, 0, maxBytes, from((await file.stat()).size));
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
