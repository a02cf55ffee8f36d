import {mkdir, mkdtemp, rm, symlink, writeFile} from 'node:fs/promises';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import type {TreeFilter} from '../../src/base/tree.ts';
import {localLinks, printable, type TreeEntry, walkTree} from '../../src/host/tree.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'tree-test-'));
});
afterEach(() => rm(dir, {recursive: true, force: true}));

async function make(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    if (path.endsWith('/')) await mkdir(join(dir, path), {recursive: true});
    else await writeFile(join(dir, path), path);
  }
}

async function walked(
  filter?: TreeFilter,
): Promise<{entries: TreeEntry[]; shown: string[]; leftOut: number}> {
  const entries: TreeEntry[] = [];
  let leftOut = 0;
  for await (const entry of walkTree(dir, filter, () => leftOut++)) entries.push(entry);
  const shown = entries
    .map(({path, kind}) => path.toString('latin1') + (kind === 'directory' ? '/' : ''))
    .sort();
  return {entries, shown, leftOut};
}

/** Sends and enters what `rule` says of a path; the state is the directory's path, to see that it is handed down. */
function rule(send: (path: string) => boolean, descend: (path: string) => boolean = () => true): TreeFilter {
  return {
    root: '',
    visit(path, isDirectory, parent) {
      const text = Buffer.from(path).toString('latin1');
      expect(parent).toBe(text.includes('/') ? text.slice(0, text.lastIndexOf('/')) : '');
      return {send: send(text), descend: isDirectory && descend(text), state: text};
    },
  };
}

describe('walkTree', () => {
  test('gives everything, directories first, links not followed', async () => {
    await make(['a', 'd/', 'd/e/', 'd/e/f', 'empty/']);
    await symlink('d', join(dir, 'link'));
    await symlink('nowhere', join(dir, 'dangling'));
    const {entries, shown} = await walked();
    expect(shown).toEqual(['a', 'd/', 'd/e/', 'd/e/f', 'dangling', 'empty/', 'link']);
    const order = entries.map(entry => entry.path.toString());
    expect(order.indexOf('d')).toBeLessThan(order.indexOf('d/e'));
    expect(order.indexOf('d/e')).toBeLessThan(order.indexOf('d/e/f'));
  });

  test('gives names as bytes, whatever they are', async () => {
    const names = [
      'new\nline',
      '-dash',
      '--checkpoint=1',
      'back\\slash',
      'b\xff\xfe',
      '"quoted"',
      ' ',
      'ünï',
    ];
    for (const name of names) await writeFile(Buffer.from(`${dir}/${name}`, 'latin1'), '');
    expect((await walked()).shown).toEqual([...names].sort());
  });

  test('tells sockets', async () => {
    const server = createServer();
    await new Promise<void>(resolve => server.listen(join(dir, 's'), resolve));
    expect((await walked()).entries).toEqual([{path: Buffer.from('s'), kind: 'socket'}]);
    await new Promise(resolve => server.close(resolve));
  });

  test('leaves out what the filter says, and does not enter what it need not', async () => {
    await make(['a', 'skip/', 'skip/x', 'skip/y', 'd/', 'd/a', 'd/b']);
    const {shown, leftOut} = await walked(
      rule(
        path => path !== 'skip' && path !== 'd/b',
        path => path !== 'skip',
      ),
    );
    expect(shown).toEqual(['a', 'd/', 'd/a']);
    expect(leftOut).toBe(2);
  });

  test('gives a directory that is only entered when something in it is sent', async () => {
    await make(['d/', 'd/e/', 'd/e/yes', 'd/e/no', 'n/', 'n/m/', 'n/m/no']);
    const {shown, entries} = await walked(rule(path => path.endsWith('yes')));
    expect(shown).toEqual(['d/', 'd/e/', 'd/e/yes']);
    expect(entries.map(entry => entry.path.toString())).toEqual(['d', 'd/e', 'd/e/yes']);
  });

  test('an entry that vanishes meanwhile is no error', async () => {
    await make(['a', 'd/', 'd/x']);
    const seen: string[] = [];
    for await (const entry of walkTree(dir, undefined)) {
      seen.push(entry.path.toString());
      await rm(join(dir, 'd'), {recursive: true, force: true});
    }
    expect(seen).not.toContain('d/x');
  });

  test('a root that is not there is an error that names it', async () => {
    await expect(walkTree(join(dir, 'none'), undefined).next()).rejects.toMatchObject({
      name: 'UserError',
      message: expect.stringContaining(join(dir, 'none')) as unknown as string,
      input: 'context',
    });
  });

  test('50,000 files need little memory', async () => {
    for (let d = 0; d < 50; d++) {
      await mkdir(join(dir, `d${d}`));
      for (let f = 0; f < 1000; f += 100) {
        await Promise.all(Array.from({length: 100}, (_, i) => writeFile(join(dir, `d${d}/f${f + i}`), '')));
      }
    }
    globalThis.gc?.();
    const before = process.memoryUsage().heapUsed;
    let peak = 0;
    let count = 0;
    for await (const _ of walkTree(dir, undefined)) {
      if (++count % 1000 === 0) peak = Math.max(peak, process.memoryUsage().heapUsed);
    }
    expect(count).toBe(50_050);
    expect(peak - before).toBeLessThan(64 * 1024 * 1024);
  });
});

test('printable writes control characters and broken UTF-8 out', () => {
  expect(printable(Buffer.from('a\x1b[2J\nü'))).toBe('a\\u{1b}[2J\\u{a}ü');
  expect(printable(Buffer.from([0x61, 0xff]))).toBe('a\\u{fffd}');
});

test('localLinks', async () => {
  await make(['f', 'd/']);
  await symlink('f', join(dir, 'l'));
  expect(await localLinks.readLink(join(dir, 'l'))).toBe('f');
  expect(await localLinks.readLink(join(dir, 'f'))).toBeUndefined();
  expect(await localLinks.readLink(join(dir, 'none'))).toBeUndefined();
  expect([...(await localLinks.list(dir))].sort()).toEqual(['d', 'f', 'l']);
  expect(await localLinks.list(join(dir, 'none'))).toEqual([]);
  expect(await localLinks.isWritable(join(dir, 'f'))).toBe(true);
  expect(await localLinks.isWritable(join(dir, 'none'))).toBe(false);
});
