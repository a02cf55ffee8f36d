import {createHash} from 'node:crypto';
import {closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync} from 'node:fs';
import {setImmediate} from 'node:timers/promises';

const SLASH = Buffer.from('/');
const CHUNK = Buffer.alloc(1024 * 1024);

/**
 * A directory as lines, in the order of their paths' bytes: path, type, permissions and mtime in nanoseconds; of a file its size and the digest of its contents,
 * of a link its target; and the first name of the same inode. Devices, FIFOs and sockets do not come out of a machine and are left out.
 * Connections to machines are answered between two directories.
 */
export async function treeLines(dir: string): Promise<readonly string[]> {
  const firstNames = new Map<bigint, string>();
  const lines: string[] = [];
  const visit = async (parent: Buffer): Promise<void> => {
    await setImmediate();
    const names = readdirSync(Buffer.concat([Buffer.from(`${dir}/`), parent]), {encoding: 'buffer'});
    for (const name of names.sort(Buffer.compare)) {
      const path = parent.length === 0 ? name : Buffer.concat([parent, SLASH, name]);
      const full = Buffer.concat([Buffer.from(`${dir}/`), path]);
      const stats = lstatSync(full, {bigint: true});
      const shown = JSON.stringify(path.toString('latin1'));
      const type = stats.isDirectory()
        ? 'd'
        : stats.isFile()
          ? 'f'
          : stats.isSymbolicLink()
            ? 'l'
            : undefined;
      if (type === undefined) continue;
      const common = `${shown}|${type}|${Number(stats.mode & 0o7777n).toString(8)}|${stats.mtimeNs}`;
      if (type === 'd') {
        lines.push(common);
        await visit(path);
        continue;
      }
      const first = firstNames.get(stats.ino) ?? shown;
      firstNames.set(stats.ino, first);
      const content =
        type === 'f'
          ? `${stats.size}|${digestOf(full)}`
          : JSON.stringify(readlinkSync(full, {encoding: 'buffer'}).toString('latin1'));
      lines.push(`${common}|${content}|${stats.nlink}|${first}`);
    }
  };
  await visit(Buffer.alloc(0));
  return lines;
}

function digestOf(path: Buffer): string {
  const hash = createHash('sha256');
  const fd = openSync(path, 'r');
  try {
    for (let read = readSync(fd, CHUNK); read > 0; read = readSync(fd, CHUNK))
      hash.update(CHUNK.subarray(0, read));
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}

const MAX_SHOWN = 20;

/** What differs, and not two trees of a hundred thousand lines side by side; undefined when nothing does. */
export function differences(actual: readonly string[], expected: readonly string[]): unknown {
  const [has, wanted] = [new Set(actual), new Set(expected)];
  const surplus = actual.filter(line => !wanted.has(line));
  const missing = expected.filter(line => !has.has(line));
  if (surplus.length + missing.length === 0 && actual.length === expected.length) return undefined;
  return {
    lines: [actual.length, expected.length],
    surplus: [surplus.length, ...surplus.slice(0, MAX_SHOWN)],
    missing: [missing.length, ...missing.slice(0, MAX_SHOWN)],
  };
}
