import {execFileSync, spawnSync} from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {CanceledError} from '../../src/base/errors.ts';
import {NoImageError, type TreeFilter, type TreeSurvey} from '../../src/base/tree.ts';
import {treeImager} from '../../src/host/ext4/imager.ts';
import {Inode} from '../../src/host/ext4/inode.ts';
import {imageSize} from '../../src/host/ext4/layout.ts';

let dir: string;
let root: string;
let outside: string;
const tmp = process.env.TMPDIR;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ext4-test-'));
  root = join(dir, 'tree');
  outside = join(dir, 'tmp');
  mkdirSync(root);
  mkdirSync(outside);
  process.env.TMPDIR = outside;
});
afterEach(() => {
  if (tmp === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = tmp;
  rmSync(dir, {recursive: true, force: true});
});

const imager = (mke2fs?: string) => treeImager({stagingDirs: () => [outside], mke2fs});

function make(files: Readonly<Record<string, string>>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), {recursive: true});
    writeFileSync(join(root, path), content);
  }
}

/** e2fsprogs' own reader. */
function debugfs(image: string, command: string): string {
  return execFileSync('debugfs', ['-R', command, image], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

const hex = (value: number): string => value.toString(16).padStart(8, '0');

/** Names in a directory of an image. */
function names(image: string, path = '/'): string[] {
  return debugfs(image, `ls -p ${path}`)
    .split('\n')
    .map(line => line.split('/')[5] ?? '')
    .filter(name => !['', '.', '..'].includes(name))
    .sort();
}

/** What e2fsck has against an image, beside what taking lost+found (inode 11) out of the root directory leaves behind. */
function complaints(image: string): string[] {
  const {stdout} = spawnSync('e2fsck', ['-f', '-n', image], {encoding: 'utf8'});
  expect(stdout).toContain('Pass 5');
  return stdout
    .split('\n')
    .slice(0, -4)
    .filter(line => line !== '' && !/^Pass \d/.test(line) && !OF_LOST_AND_FOUND.test(line));
}

const OF_LOST_AND_FOUND =
  /lost\+found|^Unconnected directory inode 11 |^Connect to |^'\.\.' in \.\.\. \(11\) |^Inode (?:2|11) ref count |^Fix\? no$|^Unattached inode 11$|WARNING: Filesystem still has errors/;

const without = (...left: string[]): TreeFilter => ({
  root: undefined,
  visit: (path, isDirectory) => {
    const send = !left.includes(Buffer.from(path).toString());
    return {send, descend: isDirectory && send, state: undefined};
  },
});

async function withImage(
  filter: TreeFilter | undefined,
  look: (path: string) => void | Promise<void>,
): Promise<TreeSurvey> {
  const survey = await imager().survey(root, filter);
  const image = await imager().image(root, filter, survey, {});
  try {
    await look(image.path);
  } finally {
    await image[Symbol.asyncDispose]();
  }
  expect(readdirSync(outside)).toEqual([]);
  return survey;
}

describe('an image', () => {
  test('has what the tree has, owners 0:0, mtimes to the nanosecond and beyond 2038', async () => {
    make({a: 'content', 'd/e/f': 'x', suid: ''});
    linkSync(join(root, 'a'), join(root, 'd/a'));
    symlinkSync('nowhere', join(root, 'link'));
    chmodSync(join(root, 'suid'), 0o4751);
    chmodSync(join(root, 'd'), 0o1777);
    if (process.getuid?.() === 0) execFileSync('chown', ['1234:70000', join(root, 'a')]);
    execFileSync('touch', ['-d', '2100-01-01 00:00:00.123456789 UTC', join(root, 'a')]);
    execFileSync('touch', ['-d', '1969-12-31 23:59:58.5 UTC', join(root, 'suid')]);
    execFileSync('touch', ['-h', '-d', '2001-02-03 04:05:06.000000001 UTC', join(root, 'link')]);
    execFileSync('touch', ['-d', '2010-01-01 00:00:00.25 UTC', join(root, 'd')]);
    await withImage(undefined, image => {
      expect(names(image)).toEqual(['a', 'd', 'link', 'suid']);
      expect(names(image, '/d')).toEqual(['a', 'e']);
      expect(debugfs(image, 'cat /a')).toBe('content');
      const a = debugfs(image, 'stat /a');
      expect(a).toMatch(/User: +0 +Group: +0 /);
      expect(a).toMatch(/Links: 2 /);
      expect(a).toContain(`mtime: 0x${hex(Date.UTC(2100, 0, 1) / 1000)}:${hex(123_456_789 * 4 + 1)}`);
      expect(debugfs(image, 'stat /suid')).toMatch(/Mode: +04751[\s\S]*mtime: 0xfffffffe:77359400 /);
      expect(debugfs(image, 'stat /link')).toMatch(/Type: symlink[\s\S]*mtime: 0x3a7b8372:00000004 /);
      expect(debugfs(image, 'stat /d')).toMatch(/Mode: +01777[\s\S]*mtime: 0x4b3d3b00:3b9aca00 /);
      expect(complaints(image)).toEqual([]);
    });
  });

  test('has no more than the filter lets through, and linking leaves the tree as it was', async () => {
    make({a: 'a', b: 'b', 'd/a': '', 'd/b': '', 'left/x': 'x'});
    chmodSync(join(root, 'd'), 0o555);
    execFileSync('touch', ['-d', '2001-02-03 04:05:06.5 UTC', join(root, 'd')]);
    const before = execFileSync('find', ['.', '-printf', '%P %m %T@ %n\n'], {cwd: root, encoding: 'utf8'});
    const survey = await withImage(without('b', 'd/b', 'left'), image => {
      expect(names(image)).toEqual(['a', 'd']);
      expect(names(image, '/d')).toEqual(['a']);
      expect(debugfs(image, 'stat /d')).toMatch(/Mode: +0555[\s\S]*mtime: 0x3a7b8372:77359400 /);
      expect(debugfs(image, 'stat /a')).toMatch(/Links: 1 /);
      expect(complaints(image)).toEqual([]);
    });
    expect(survey).toMatchObject({files: 2, directories: 1, leftOut: 3, dataBytes: expect.any(Number)});
    const after = execFileSync('find', ['.', '-printf', '%P %m %T@ %n\n'], {cwd: root, encoding: 'utf8'});
    expect(after).toBe(before);
  });

  test('keeps a lost+found that the tree has', async () => {
    make({'lost+found/mine': 'x', a: ''});
    await withImage(undefined, image => expect(names(image, '/lost+found')).toEqual(['mine']));
    await withImage(without('a'), image => expect(names(image)).toEqual(['lost+found']));
    await withImage(without('lost+found'), image => expect(names(image)).toEqual(['a']));
  });

  test.each([
    ['empty', 0, 0],
    ['many small files', 3_000, 10],
    ['files just over a block', 500, 4_097],
    ['some large files', 6, 9_000_000],
  ])(
    'has room: %s',
    async (_, files, bytes) => {
      for (let i = 0; i < files; i++) {
        if (i % 100 === 0) mkdirSync(join(root, `d${i}`));
        writeFileSync(join(root, `d${i - (i % 100)}`, `${'n'.repeat(i % 240)}-${i}`), Buffer.alloc(bytes, i));
      }
      const survey = await withImage(undefined, image => expect(complaints(image)).toEqual([]));
      expect(survey.files).toBe(files);
    },
    60_000,
  );

  test('has room for many long names, for attributes of their own and for a large hole', async () => {
    for (let i = 0; i < 400; i++) writeFileSync(join(root, `${'n'.repeat(250)}${i}`), '');
    truncateSync(join(root, `${'n'.repeat(250)}0`), 2 ** 36);
    const script =
      'import os,sys\nfor i, e in enumerate(os.scandir(sys.argv[1])): os.setxattr(e.path, "user.x", bytes([i % 256]) * 2000)';
    execFileSync('python3', ['-c', script, root]);
    await withImage(undefined, image => {
      expect(complaints(image)).toEqual([]);
      expect(debugfs(image, `stat ${'n'.repeat(250)}7`)).toContain('user.x (2000)');
      expect(lstatSync(image).blocks * 512).toBeLessThan(64 * 1024 * 1024);
    });
  }, 60_000);
});

describe('no image', () => {
  async function refusal(
    mke2fs?: string,
    options: {stagingDirs?: string[]; filter?: TreeFilter} = {},
  ): Promise<NoImageError> {
    const own = treeImager({stagingDirs: () => options.stagingDirs ?? [outside], mke2fs});
    const survey = await own.survey(root, options.filter);
    const error = await own.image(root, options.filter, survey, {}).then(
      () => undefined,
      error => error,
    );
    expect(error).toBeInstanceOf(NoImageError);
    expect(readdirSync(outside)).toEqual([]);
    return error as NoImageError;
  }

  function program(script: string): string {
    const path = join(dir, 'mke2fs');
    writeFileSync(path, `#!/bin/sh\n${script}\n`, {mode: 0o755});
    return path;
  }

  test.each([
    ['is not there', undefined, /ENOENT/],
    [
      'ends badly',
      'echo "mke2fs: invalid option -- d" >&2; exit 1',
      /ended with 1: mke2fs: invalid option -- d/,
    ],
    ['is killed', 'kill -9 $$', /ended with SIGKILL/],
    ['does nothing', 'exit 0', /not the expected kind of ext4/],
    [
      'makes another kind',
      'for last; do :; done; shift $(($# - 2)); exec /sbin/mke2fs -q -F -b 1024 "$1"',
      /not the expected kind/,
    ],
  ])('when mke2fs %s', async (_, script, message) => {
    make({a: ''});
    expect((await refusal(script === undefined ? join(dir, 'none') : program(script))).message).toMatch(
      message,
    );
  });

  test('when the tree grows while it is read', async () => {
    make({a: 'a'});
    const grow = program(`head -c 100000000 /dev/urandom > '${root}/b'; exec /sbin/mke2fs "$@"`);
    expect((await refusal(grow)).message).toMatch(/mke2fs ended with/);
  });

  test('when something is left out and no folder is on the same file system', async () => {
    make({a: '', b: ''});
    expect(
      (await refusal(undefined, {stagingDirs: ['/proc', '/nowhere'], filter: without('b')})).message,
    ).toContain('is on the file system of');
  });

  test('of a tree that is larger than ext4 can be', async () => {
    const survey = {...(await imager().survey(root, undefined)), lengthBytes: 2 ** 44};
    await expect(imager().image(root, undefined, survey, {})).rejects.toBeInstanceOf(NoImageError);
  });

  test('once it is canceled; mke2fs is ended', async () => {
    make({a: ''});
    const controller = new AbortController();
    const pidFile = join(dir, 'pid');
    const slow = imager(program(`echo $$ > '${pidFile}'; exec sleep 600`));
    const making = slow.image(root, undefined, await slow.survey(root, undefined), {
      signal: controller.signal,
    });
    while (!existsSync(pidFile)) await new Promise(resolve => setTimeout(resolve, 10));
    controller.abort(new CanceledError('stop'));
    await expect(making).rejects.toBeInstanceOf(CanceledError);
    expect(readdirSync(outside)).toEqual([]);
  });
});

test('an image is never too small on paper', () => {
  const survey: TreeSurvey = {
    files: 100_000,
    directories: 1_000,
    dataBytes: 2 ** 30,
    lengthBytes: 2 ** 30,
    nameBytes: 2_000_000,
    leftOut: 0,
    largestDirectory: 1_000,
    warnings: [],
  };
  const {imageBytes, inodes, storedBytes} = imageSize(survey);
  expect(imageBytes % 4096).toBe(0);
  expect(inodes).toBeGreaterThan(101_000);
  expect(imageBytes).toBeGreaterThan(storedBytes);
  expect(storedBytes).toBeGreaterThan(survey.dataBytes);
});

test.each([
  ['0', 0n, 0, 0],
  ['a nanosecond before 1970', -1n, -1, 999_999_999 * 4],
  ['2038-01-19 03:14:08', 2n ** 31n * 1_000_000_000n, -(2 ** 31), 1],
  ['the last that ext4 knows', (3n * 2n ** 32n + 2n ** 31n - 1n) * 1_000_000_000n + 7n, 2 ** 31 - 1, 31],
  ['later', 10n ** 20n, 2 ** 31 - 1, 3],
  ['1901 and earlier', -(10n ** 20n), -(2 ** 31), 0],
])('mtime %s', (_, ns, seconds, extra) => {
  const bytes = Buffer.alloc(256);
  new Inode(bytes).setMtime(ns);
  expect([bytes.readInt32LE(16), bytes.readUInt32LE(136)]).toEqual([seconds, extra]);
});
