import {execFileSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {chmodSync, linkSync, mkdirSync, symlinkSync, truncateSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

const isRoot = process.getuid?.() === 0;

/** Names that programs trip over, as bytes. */
const NAMES = [
  'new\nline',
  '-rf',
  'back\\slash',
  '*',
  ' ',
  '"',
  "'",
  '#c',
  'b\xff\xfe',
  'tab\t',
  '\x01',
  '@',
  'lost+found.txt',
];

/** Runs Python for what Node has no calls for: extended attributes, sockets, holes with data between. */
function python(script: string, ...args: string[]): void {
  execFileSync('python3', ['-c', script, ...args]);
}

/** Entries of every kind that a context can have, in `dir`, which exists. */
export function makeOddTree(dir: string): void {
  const at = (name: string): string => join(dir, name);
  for (const name of NAMES) writeFileSync(Buffer.from(`${dir}/${name}`, 'latin1'), name);
  mkdirSync(at('ünï/漢字🐧'), {recursive: true});
  writeFileSync(at('ünï/漢字🐧/ñ'), 'u');
  const deep = `${`${'y'.repeat(200)}/`.repeat(4)}${'z'.repeat(255)}`;
  mkdirSync(join(at(deep), '..'), {recursive: true});
  writeFileSync(at(deep), 'deep');
  mkdirSync(at('empty/inner'), {recursive: true});
  mkdirSync(at('hard'));
  writeFileSync(at('hard/one'), 'one inode, three names');
  linkSync(at('hard/one'), at('hard/two'));
  linkSync(at('hard/one'), at('three'));
  symlinkSync('hard/one', at('link'));
  symlinkSync('/nowhere/at all', at('dangling'));
  symlinkSync('../../up', at('up'));
  symlinkSync('empty', at('to-directory'));
  symlinkSync(`${'long/'.repeat(100)}end`, at('long-link'));
  symlinkSync(Buffer.from('l\xff', 'latin1'), at('odd-link'));
  linkSync(at('long-link'), at('hard/same-link'));
  execFileSync('mkfifo', [at('fifo')]);
  writeFileSync(at('all-hole'), '');
  truncateSync(at('all-hole'), 4 * 1024 * 1024);
  const modes = {setuid: 0o4755, setgid: 0o2755, sticky: 0o1644, none: 0o000, 'read-only': 0o444};
  for (const [name, mode] of Object.entries(modes)) {
    writeFileSync(at(name), name);
    chmodSync(at(name), mode);
  }
  for (const [name, mode] of Object.entries({'d-sticky': 0o1777, 'd-setgid': 0o2775, 'd-locked': 0o555})) {
    mkdirSync(at(name));
    writeFileSync(at(`${name}/f`), name);
    chmodSync(at(name), mode);
  }
  // Root reads it; others would not get as far as the images.
  if (!isRoot) chmodSync(at('none'), 0o400);
  python(
    `
import os, socket, sys
os.chdir(sys.argv[1])
with open('holes', 'wb') as f:
    for i in range(9):
        f.seek(i * 300000)
        f.write(bytes([i]) * 5000)
    f.truncate(3000000)
os.setxattr('hard/one', 'user.note', b'\\x00\\xff\\n')
os.setxattr('setuid', 'user.large', b'x' * 900)
os.setxattr('empty', 'user.of-a-directory', b'd')
if os.getuid() == 0:
    os.setxattr('setgid', 'security.capability', bytes.fromhex('0000000200040000000000000000000000000000'))
    os.chown('sticky', 1234, 70000)
    os.mknod('null-device', 0o20666, os.makedev(1, 3))
s = socket.socket(socket.AF_UNIX)
s.bind('socket')
`,
    dir,
  );
  const times = {
    'hard/one': '2001-02-03 04:05:06.123456789 UTC',
    setuid: '1969-12-31 23:59:58.5 UTC',
    sticky: '2100-01-01 00:00:00.000000001 UTC',
    '-rf': '2038-01-19 03:14:08 UTC',
    link: '2010-01-01 00:00:00.25 UTC',
    'd-sticky': '1999-01-01 00:00:00.999999999 UTC',
    // Go's int64 nanoseconds end in 2262.
    'd-locked': '2250-01-01 00:00:00.5 UTC',
    // What stands for it in a tar has milliseconds only.
    socket: '2020-01-01 00:00:00.25 UTC',
  };
  for (const [name, time] of Object.entries(times)) execFileSync('touch', ['-h', '-d', time, at(name)]);
}

/** `files` regular files of `bytesEach`, a hundred in a directory; contents differ, and do not compress. */
export function makeManyFiles(dir: string, files: number, bytesEach: number): void {
  const block = createHash('sha512').update(dir).digest();
  const body = Buffer.alloc(bytesEach);
  for (let at = 0; at < bytesEach; at += block.length) {
    createHash('sha512').update(block).update(String(at)).digest().copy(body, at);
  }
  for (let i = 0; i < files; i++) {
    const parent = join(dir, 'many', String(Math.floor(i / 10_000)), String(Math.floor(i / 100) % 100));
    if (i % 100 === 0) mkdirSync(parent, {recursive: true});
    body.write(`${i} `, 0, 'latin1');
    writeFileSync(join(parent, `file-${i}`), body);
  }
}
