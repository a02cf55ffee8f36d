import {posix} from 'node:path';

/** One thing to put into the disk: a file of the host, owned by root, or a symbolic link. */
export type Injection =
  | {readonly kind: 'file'; readonly source: string; readonly target: string; readonly mode: number}
  | {readonly kind: 'link'; readonly target: string; readonly to: string};

/** Folders that the base system has already; `debugfs` knows no `mkdir -p`. */
export const BASE_FOLDERS: ReadonlySet<string> = new Set([
  '/',
  '/etc',
  '/etc/systemd',
  '/etc/systemd/system',
  '/etc/systemd/system/multi-user.target.wants',
  '/etc/systemd/system/sockets.target.wants',
  '/usr',
  '/usr/local',
  '/usr/local/bin',
  '/usr/local/lib',
  '/usr/local/lib/systemd',
  '/usr/local/lib/systemd/system',
]);

// What debugfs can take as one word of a command; sources are our own temporary names, targets are checked.
const WORD = /^[A-Za-z0-9@%+=:,./_-]+$/;

/**
 * A `debugfs -w -f` script. `replaced` are targets that exist and give way. Sources must be in the working
 * folder or have plain names: debugfs splits at blanks.
 * @throws RangeError on a path that debugfs would read as something else.
 */
export function debugfsScript(injections: readonly Injection[], replaced: ReadonlySet<string>): string {
  const lines: string[] = [];
  const folders = new Set(BASE_FOLDERS);
  for (const item of injections) {
    for (const word of [item.target, item.kind === 'file' ? item.source : item.to]) {
      if (!WORD.test(word)) throw new RangeError(`no plain path for debugfs: ${JSON.stringify(word)}`);
    }
    for (const folder of missingFolders(item.target, folders)) lines.push(`mkdir ${folder}`);
    if (replaced.has(item.target)) lines.push(`rm ${item.target}`);
    if (item.kind === 'link') {
      lines.push(`symlink ${item.target} ${item.to}`);
      continue;
    }
    lines.push(`write ${item.source} ${item.target}`);
    // The owner of a written file is 0:0; its mode would be the source's.
    lines.push(`set_inode_field ${item.target} mode 0${(0o100000 | item.mode).toString(8)}`);
  }
  return `${lines.join('\n')}\n`;
}

function missingFolders(target: string, known: Set<string>): string[] {
  const missing: string[] = [];
  for (let folder = posix.dirname(target); !known.has(folder); folder = posix.dirname(folder)) {
    missing.unshift(folder);
    known.add(folder);
  }
  return missing;
}

/**
 * What debugfs complained about; it exits with 0 whatever happens, and says its own version on the first line
 * of standard error.
 */
export function debugfsComplaints(stderr: string): string[] {
  return stderr.split('\n').filter(line => line.trim() !== '' && !/^debugfs \d/.test(line));
}
