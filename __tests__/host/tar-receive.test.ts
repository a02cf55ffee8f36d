import {execFileSync} from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import type {Produce} from '../../src/base/tree.ts';
import {resultStore} from '../../src/host/tar-receive.ts';

const isRoot = process.getuid?.() === 0;
const store = resultStore();
let dir: string;
let dest: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'receive-test-'));
  dest = join(dir, 'ws/out');
  mkdirSync(join(dir, 'ws'));
  mkdirSync(join(dir, 'outside'));
  writeFileSync(join(dir, 'outside/victim'), 'mine');
});
afterEach(() => {
  execFileSync('chmod', ['-R', 'u+rwX', dir]);
  rmSync(dir, {recursive: true, force: true});
});

interface Member {
  readonly name: string;
  readonly type?: string;
  readonly link?: string;
  readonly data?: string;
  readonly mode?: number;
  /** Claimed size when it is not the data's. */
  readonly size?: number;
}

/** A tar stream with anything in it (ustar, POSIX.1-1988). */
function tar(members: readonly Member[]): Buffer {
  const blocks = members.flatMap(member => {
    const data = Buffer.from(member.data ?? '', 'latin1');
    return [header(member, data.length), data, Buffer.alloc((512 - (data.length % 512)) % 512)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

function header({name, type = '0', link = '', mode = 0o644, size}: Member, length: number): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, at: number, width: number) =>
    block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1');
  block.write(name, 0, 100, 'latin1');
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size ?? length, 124, 12);
  octal(1_000_000_000, 136, 12);
  block.write('        ', 148);
  block.write(type, 156);
  block.write(link, 157, 100, 'latin1');
  block.write('ustar\x0000', 257);
  octal(1, 329, 8);
  octal(3, 337, 8);
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return block;
}

/** A pax record that overrides a field of the next member. */
function pax(key: string, value: string): Member {
  let record = '';
  for (let length = 1; record.length !== length; length++) record = `${length} ${key}=${value}\n`;
  return {name: 'pax', type: 'x', data: record};
}

const from =
  (bytes: Buffer, pieceBytes = 4096): Produce =>
  async write => {
    for (let at = 0; at < bytes.length; at += pieceBytes) await write(bytes.subarray(at, at + pieceBytes));
  };

/** Everything under the test's folder but the destination: must stay as it was. */
function surroundings(): string {
  const found = execFileSync('find', [dir, '-path', dest, '-prune', '-o', '-printf', '%P|%y|%m|%l\\n'], {
    encoding: 'latin1',
  });
  return found.split('\n').sort().join('\n') + readFileSync(join(dir, 'outside/victim'), 'utf8');
}

const inside = (): string[] =>
  existsSync(dest)
    ? execFileSync('find', [dest, '-mindepth', '1', '-printf', '%P|%y\\0'], {encoding: 'latin1'})
        .split('\0')
        .filter(Boolean)
        .sort()
    : [];

describe('receiveTree', () => {
  test('unpacks a real tar with all that belongs to it', async () => {
    const source = join(dir, 'source');
    mkdirSync(join(source, 'd/empty'), {recursive: true});
    for (const name of ['d/f', 'new\nline', 'b\xff', '-x'])
      writeFileSync(Buffer.from(`${source}/${name}`, 'latin1'), name);
    symlinkSync('/abs/target', join(source, 'abs'));
    symlinkSync('../up', join(source, 'd/up'));
    execFileSync('ln', [join(source, 'd/f'), join(source, 'hard')]);
    chmodSync(join(source, 'd/f'), 0o751);
    utimesSync(join(source, 'd/f'), 1.5e9, 1.5e9);
    chmodSync(join(source, 'd/empty'), 0o555);
    const bytes = execFileSync('tar', ['-C', source, '--format=posix', '-cf', '-', '.']);
    const report = await store.receiveTree(dest, from(bytes));
    expect(inside()).toEqual(
      ['-x|f', 'abs|l', 'b\xff|f', 'd/empty|d', 'd/f|f', 'd/up|l', 'd|d', 'hard|f', 'new\nline|f'].sort(),
    );
    const {mode, mtimeMs, ino} = statSync(join(dest, 'd/f'));
    expect([mode & 0o7777, mtimeMs, ino]).toEqual([0o751, 1.5e12, statSync(join(dest, 'hard')).ino]);
    expect([readlinkSync(join(dest, 'abs')), readlinkSync(join(dest, 'd/up'))]).toEqual([
      '/abs/target',
      '../up',
    ]);
    expect(lstatSync(join(dest, 'd/empty')).mode & 0o777).toBe(0o555);
    expect(report).toEqual({bytes: bytes.length, files: 7, warnings: []});
  });

  test('merges into what is there, through a destination that is a link', async () => {
    mkdirSync(join(dir, 'real/d'), {recursive: true});
    writeFileSync(join(dir, 'real/d/keep'), 'old');
    symlinkSync('../real', dest);
    await store.receiveTree(
      dest,
      from(
        tar([
          {name: 'd/', type: '5', mode: 0o755},
          {name: 'd/new', data: 'x'},
        ]),
      ),
    );
    expect(readdirSync(join(dir, 'real/d')).sort()).toEqual(['keep', 'new']);
    expect(readdirSync(join(dir, 'real'))).toEqual(['d']);
  });

  const evil: [name: string, members: (outside: string) => Member[]][] = [
    [
      'a name that climbs out',
      () => [
        {name: '../evil', data: 'x'},
        {name: 'd/../../evil', data: 'x'},
      ],
    ],
    [
      'an absolute name',
      outside => [
        {name: `${outside}/evil`, data: 'x'},
        {name: `${outside}/victim`, data: 'x'},
      ],
    ],
    [
      'a file through an absolute link',
      outside => [
        {name: 'd', type: '2', link: outside},
        {name: 'd/victim', data: 'x'},
      ],
    ],
    [
      'a file through a link that climbs',
      () => [
        {name: 'd', type: '2', link: '../../../outside'},
        {name: 'd/victim', data: 'x'},
      ],
    ],
    [
      'a file through a chain of links',
      () => [
        {name: 'a', type: '2', link: '..'},
        {name: 'b', type: '2', link: 'a/..'},
        {name: 'c', type: '2', link: 'b/../outside'},
        {name: 'c/victim', data: 'x'},
      ],
    ],
    [
      'a link for a directory that exists',
      outside => [
        {name: 'd/', type: '5', mode: 0o755},
        {name: 'd', type: '2', link: outside},
        {name: 'd/victim', data: 'x'},
      ],
    ],
    [
      'overwriting through a link of the same name',
      outside => [
        {name: 'f', type: '2', link: `${outside}/victim`},
        {name: 'f', data: 'x'},
      ],
    ],
    [
      'a hard link to the outside',
      outside => [
        {name: 'h', type: '1', link: `${outside}/victim`},
        {name: 'h', data: 'x'},
      ],
    ],
    [
      'a hard link that climbs',
      () => [
        {name: 'h', type: '1', link: '../../../outside/victim'},
        {name: 'h', data: 'x'},
      ],
    ],
    [
      'a hard link through a link',
      outside => [
        {name: 'd', type: '2', link: outside},
        {name: 'h', type: '1', link: 'd/victim'},
        {name: 'h', data: 'x'},
      ],
    ],
    [
      'a hard link to a link, then its mode',
      outside => [
        {name: 's', type: '2', link: `${outside}/victim`},
        {name: 'h', type: '1', link: 's'},
        {name: 'h', data: 'x', mode: 0o777},
      ],
    ],
    ['a climbing name in a pax record', () => [pax('path', '../evil'), {name: 'ok', data: 'x'}]],
    [
      'an absolute link name in a pax record',
      outside => [
        pax('linkpath', `${outside}/victim`),
        {name: 'h', type: '1', link: 'x'},
        {name: 'h', data: 'x'},
      ],
    ],
    [
      'a directory entry for the outside',
      () => [
        {name: '../', type: '5', mode: 0o777},
        {name: '..', type: '5', mode: 0o777},
      ],
    ],
  ];
  test.each(evil)('%s is harmless', async (_name, members) => {
    const before = surroundings();
    await store
      .receiveTree(dest, from(tar(members(join(dir, 'outside')))))
      .catch(error => expect(error).toBeInstanceOf(Error));
    expect(surroundings()).toBe(before);
    expect(inside().filter(name => name.startsWith('bka-'))).toEqual([]);
  });

  test('links of an earlier result do not lead a later one out', async () => {
    const outside = join(dir, 'outside');
    await store.receiveTree(dest, from(tar([{name: 'd', type: '2', link: outside}])));
    await store.receiveTree(
      dest,
      from(
        tar([
          {name: 'd/', type: '5', mode: 0o755},
          {name: 'd/victim', data: 'x'},
        ]),
      ),
    );
    expect(readFileSync(join(outside, 'victim'), 'utf8')).toBe('mine');
    expect(inside()).toEqual(['d/victim|f', 'd|d']);
  });

  test('devices, FIFOs and set-ID bits stay behind', async () => {
    const {files, warnings} = await store.receiveTree(
      dest,
      from(
        tar([
          {name: 'fifo', type: '6'},
          {name: 'char', type: '3'},
          {name: 'block', type: '4'},
          {name: 'suid', data: 'x', mode: 0o6755},
          {name: 'ok', data: 'x'},
        ]),
      ),
    );
    expect(inside()).toEqual(['ok|f', 'suid|f']);
    expect(statSync(join(dest, 'suid')).mode & 0o6000).toBe(isRoot ? 0 : 0o6000);
    expect(files).toBe(2);
    expect(warnings.map(text => text.split(/[ :]/)[0]?.replace('./', '')).sort()).toEqual([
      'block',
      'char',
      'fifo',
    ]);
  });

  test('a top directory without rights does no harm', async () => {
    await store.receiveTree(
      dest,
      from(
        tar([
          {name: './', type: '5', mode: 0},
          {name: './f', data: 'x'},
        ]),
      ),
    );
    expect(inside()).toEqual(['f|f']);
  });

  const broken: [name: string, bytes: Buffer][] = [
    ['what is no tar', Buffer.alloc(20_000, 'no tar ')],
    ['a truncated file', tar([{name: 'f', data: 'x'.repeat(5000)}]).subarray(0, 3000)],
    ['a size beyond the end', tar([{name: 'f', data: 'x', size: 8_000_000_000}])],
  ];
  test.each(broken)('%s leaves nothing behind', async (_name, bytes) => {
    mkdirSync(dest);
    writeFileSync(join(dest, 'f'), 'old');
    await expect(store.receiveTree(dest, from(bytes))).rejects.toThrow(/tar/);
    expect(inside()).toEqual(['f|f']);
    expect(readFileSync(join(dest, 'f'), 'utf8')).toBe('old');
  });

  test('a stream that breaks off leaves nothing behind', async () => {
    const bytes = tar([{name: 'f', data: 'x'.repeat(100_000)}]);
    const temps: string[] = [];
    const produce: Produce = async write => {
      await write(bytes.subarray(0, 50_000));
      throw new Error('the link is lost');
    };
    const receiving = store.receiveTree(dest, produce, {onTemp: path => void temps.push(path)});
    await expect(receiving).rejects.toThrow('the link is lost');
    expect(inside()).toEqual([]);
    expect(temps).toHaveLength(1);
    expect(temps[0]?.startsWith(`${dest}/bka-`)).toBe(true);
  });

  test('a full disk is told, and the machine need not go on sending', async () => {
    const program = join(dir, 'tar');
    writeFileSync(
      program,
      '#!/bin/sh\nhead -c 100000 >/dev/null\necho "tar: f: Cannot write: No space left on device" >&2\nexit 2\n',
      {mode: 0o755},
    );
    let sent = 0;
    const produce: Produce = async write => {
      for (; sent < 1_000_000_000; sent += 100_000) await write(Buffer.alloc(100_000));
    };
    await expect(resultStore(program).receiveTree(dest, produce)).rejects.toMatchObject({
      name: 'UserError',
      message: 'no space left: f: Cannot write: No space left on device',
    });
    expect(sent).toBeLessThan(100_000_000);
    expect(inside()).toEqual([]);
  });

  test('a limit is kept', async () => {
    const bytes = tar([{name: 'f', data: 'x'.repeat(100_000)}]);
    const receiving = store.receiveTree(dest, from(bytes), {limitBytes: 10_000});
    await expect(receiving).rejects.toMatchObject({name: 'UserError', input: 'outputs'});
    expect(inside()).toEqual([]);
  });

  test('no tar on this machine', async () => {
    const receiving = resultStore(join(dir, 'no-tar')).receiveTree(dest, from(tar([])));
    await expect(receiving).rejects.toMatchObject({
      name: 'UserError',
      message: expect.stringContaining('no-tar'),
    });
  });
});

describe('receiveFile', () => {
  test('writes a new file with its folders, and replaces an old one', async () => {
    const path = join(dir, 'ws/a/b/image.tar');
    expect(await store.receiveFile(path, from(Buffer.from('first')))).toEqual({
      bytes: 5,
      files: 1,
      warnings: [],
    });
    await store.receiveFile(path, from(Buffer.alloc(300_000, 'x'), 7777));
    expect(readFileSync(path, 'utf8')).toBe('x'.repeat(300_000));
    expect(readdirSync(join(dir, 'ws/a/b'))).toEqual(['image.tar']);
  });

  test('a link in its place is replaced, not written through', async () => {
    symlinkSync(join(dir, 'outside/victim'), join(dir, 'ws/image.tar'));
    await store.receiveFile(join(dir, 'ws/image.tar'), from(Buffer.from('new')));
    expect(readFileSync(join(dir, 'outside/victim'), 'utf8')).toBe('mine');
    expect(readFileSync(join(dir, 'ws/image.tar'), 'utf8')).toBe('new');
  });

  test.each([
    ['breaks off', new Error('lost'), 'lost'],
    ['finds no room', Object.assign(new Error('ENOSPC'), {code: 'ENOSPC'}), 'no space left on the device'],
  ])('a stream that %s leaves the old file', async (_name, error, message) => {
    const path = join(dir, 'ws/image.tar');
    writeFileSync(path, 'old');
    const produce: Produce = async write => {
      await write(Buffer.from('half'));
      throw error;
    };
    await expect(store.receiveFile(path, produce)).rejects.toThrow(message as string);
    expect([readFileSync(path, 'utf8'), readdirSync(join(dir, 'ws'))]).toEqual(['old', ['image.tar']]);
  });

  test('a directory in its place, a file on its way, and a limit are errors', async () => {
    const userError = {name: 'UserError', input: 'outputs'};
    await expect(store.receiveFile(join(dir, 'ws'), from(Buffer.from('x')))).rejects.toMatchObject(userError);
    await expect(
      store.receiveFile(join(dir, 'outside/victim/x'), from(Buffer.from('x'))),
    ).rejects.toMatchObject(userError);
    await expect(
      store.receiveFile(join(dir, 'ws/f'), from(Buffer.alloc(100)), {limitBytes: 10}),
    ).rejects.toMatchObject(userError);
    expect(readdirSync(join(dir, 'ws'))).toEqual([]);
  });
});
