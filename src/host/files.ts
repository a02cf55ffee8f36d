import {createReadStream} from 'node:fs';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  statfs,
  writeFile,
} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import type {Files} from '../base/ports.ts';
import {localProcesses} from './processes.ts';

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
  writeChunks: (path, chunks) => writeFile(path, chunks, {flag: 'wx', mode: 0o600}),
  makeDir: path => mkdir(path, {mode: 0o700}).then(() => undefined),
  async copySparse(path, dest) {
    // GNU cp (coreutils) knows reflinks, holes and copy_file_range; Node knows none of them.
    const args = ['--sparse=always', '--reflink=auto', '--', path, dest];
    const {code, stderr} = await localProcesses.output({file: 'cp', args});
    if (code !== 0) throw new Error(stderr.trim());
  },
  allocatedBytes: path => allocatedBytes(path),
  async identity(path) {
    const {dev, ino, size, mtimeNs, ctimeNs} = await stat(path, {bigint: true});
    return `file ${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
  },
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
  writeText: (path, text) => writeFile(path, text),
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

/** `st_blocks` counts units of 512 bytes (inode(7)). */
const BLOCK_BYTES = 512;

async function allocatedBytes(path: string, look: typeof lstat = stat): Promise<number> {
  const stats = await look(path);
  let bytes = stats.blocks * BLOCK_BYTES;
  if (stats.isDirectory()) {
    for (const name of await readdir(path)) bytes += await allocatedBytes(join(path, name), lstat);
  }
  return bytes;
}

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
