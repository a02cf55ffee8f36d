import {execFileSync} from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {cleanTree, mergeTree, removeTree} from '../../src/host/merge.ts';

const isRoot = process.getuid?.() === 0;
let dir: string;
let from: string;
let to: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'merge-test-'));
  from = join(dir, 'from');
  to = join(dir, 'to');
  mkdirSync(from);
  mkdirSync(to);
});
afterEach(() => {
  execFileSync('chmod', ['-R', 'u+rwX', dir]);
  rmSync(dir, {recursive: true, force: true});
});

function make(root: string, tree: Readonly<Record<string, string>>): void {
  for (const [path, content] of Object.entries(tree)) {
    mkdirSync(join(root, path, '..'), {recursive: true});
    writeFileSync(join(root, path), content);
  }
}
const read = (path: string): string => readFileSync(join(dir, path), 'utf8');

describe('mergeTree', () => {
  test('adds, replaces and keeps', async () => {
    make(to, {keep: 'old', same: 'old', 'd/keep': 'old', 'd/same': 'old'});
    make(from, {same: 'new', 'd/same': 'new', 'd/new': 'new', 'e/f/g': 'new'});
    await mergeTree(from, to);
    expect(['keep', 'same', 'd/keep', 'd/same', 'd/new', 'e/f/g'].map(path => read(`to/${path}`))).toEqual([
      'old',
      'new',
      'old',
      'new',
      'new',
      'new',
    ]);
  });

  test('a link at the destination is replaced, never followed', async () => {
    make(dir, {'outside/f': 'mine', victim: 'mine'});
    symlinkSync(join(dir, 'outside'), join(to, 'd'));
    symlinkSync(join(dir, 'victim'), join(to, 'f'));
    symlinkSync(join(dir, 'outside'), join(to, 'x'));
    make(from, {'d/f': 'evil', f: 'evil', x: 'evil'});
    await mergeTree(from, to);
    expect([read('outside/f'), read('victim')]).toEqual(['mine', 'mine']);
    expect(lstatSync(join(to, 'd')).isDirectory()).toBe(true);
    expect([read('to/d/f'), read('to/f'), read('to/x')]).toEqual(['evil', 'evil', 'evil']);
  });

  test('a file takes the place of a directory and the other way round', async () => {
    make(to, {'a/b/c': 'old', b: 'old'});
    make(from, {a: 'new', 'b/c': 'new'});
    await mergeTree(from, to);
    expect([read('to/a'), read('to/b/c')]).toEqual(['new', 'new']);
  });

  test('links come over as they are, hard links stay one file', async () => {
    make(from, {'d/f': 'x'});
    linkSync(join(from, 'd/f'), join(from, 'hard'));
    symlinkSync('/etc/passwd', join(from, 'd/abs'));
    mkdirSync(join(to, 'd'));
    await mergeTree(from, to);
    expect(readlinkSync(join(to, 'd/abs'))).toBe('/etc/passwd');
    expect(statSync(join(to, 'hard')).ino).toBe(statSync(join(to, 'd/f')).ino);
  });

  test('a directory without rights keeps its mode', async () => {
    make(from, {'locked/f': 'x'});
    chmodSync(join(from, 'locked'), 0o555);
    await mergeTree(from, to);
    expect(lstatSync(join(to, 'locked')).mode & 0o7777).toBe(0o555);
    expect(read('to/locked/f')).toBe('x');
  });

  test('names are bytes; the name to skip stays as it is', async () => {
    writeFileSync(Buffer.from(`${from}/b\xff\n`, 'latin1'), 'x');
    make(from, {'.temp/evil': 'x'});
    make(to, {'.temp/mine': 'x'});
    await mergeTree(from, to, '.temp');
    expect(existsSync(Buffer.from(`${to}/b\xff\n`, 'latin1'))).toBe(true);
    expect(existsSync(join(to, '.temp/evil'))).toBe(false);
    expect(existsSync(join(to, '.temp/mine'))).toBe(true);
  });
});

describe('cleanTree', () => {
  test('removes special files and counts the rest', async () => {
    make(from, {'d/f': 'x', g: 'x'});
    symlinkSync('nowhere', join(from, 'link'));
    execFileSync('mkfifo', [join(from, 'd/fifo')]);
    if (isRoot) execFileSync('mknod', [join(from, 'null'), 'c', '1', '3']);
    const {files, warnings} = await cleanTree(from);
    expect(files).toBe(3);
    expect([...warnings].sort()).toEqual(
      ['d/fifo', ...(isRoot ? ['null'] : [])].map(name => `${name} is a device, FIFO or socket; left out`),
    );
    expect(existsSync(join(from, 'd/fifo'))).toBe(false);
  });

  test('root gets no set-ID bits; another user keeps what is his own', async () => {
    const modes = () => ['f', 'd'].map(name => lstatSync(join(from, name)).mode & 0o7777);
    make(from, {f: '', 'd/g': ''});
    chmodSync(join(from, 'f'), 0o6755);
    chmodSync(join(from, 'd'), 0o2775);
    await cleanTree(from, false);
    expect(modes()).toEqual([0o6755, 0o2775]);
    await cleanTree(from, true);
    expect(modes()).toEqual([0o755, 0o775]);
  });

  test('does not follow links', async () => {
    make(dir, {'outside/suid': ''});
    chmodSync(join(dir, 'outside/suid'), 0o4755);
    symlinkSync('../outside', join(from, 'link'));
    symlinkSync('../outside/suid', join(from, 'file'));
    await cleanTree(from, true);
    expect(lstatSync(join(dir, 'outside/suid')).mode & 0o7777).toBe(0o4755);
  });

  test('enters a directory without rights and gives it its mode back', async () => {
    make(from, {'locked/f': ''});
    chmodSync(join(from, 'locked'), 0);
    expect((await cleanTree(from)).files).toBe(1);
    expect(lstatSync(join(from, 'locked')).mode & 0o7777).toBe(0);
  });
});

describe('removeTree', () => {
  test('removes what has no rights, and paths longer than PATH_MAX', async () => {
    make(from, {'locked/d/f': ''});
    chmodSync(join(from, 'locked'), 0o555);
    const name = 'n'.repeat(250);
    execFileSync('sh', [
      '-c',
      `cd "$0" && i=0 && while [ $i -lt 20 ]; do mkdir ${name} && cd -P ${name} || exit 1; i=$((i+1)); done`,
      from,
    ]);
    await removeTree(from);
    expect(existsSync(from)).toBe(false);
  });

  test('nothing there is no error; a link is removed, not followed', async () => {
    await removeTree(join(dir, 'none'));
    make(to, {f: 'mine'});
    symlinkSync(to, join(dir, 'link'));
    await removeTree(join(dir, 'link'));
    expect([existsSync(join(dir, 'link')), read('to/f')]).toEqual([false, 'mine']);
  });
});
