import {appendFileSync, existsSync, mkdtempSync, rmSync, utimesSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, jest, test} from '@jest/globals';
import {Store} from '../../src/archive/store.ts';
import {cacheCommand} from '../../src/cli/cache-command.ts';
import {openStoreFolder} from '../../src/host/store.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'cache-command-'));
});
afterEach(() => {
  jest.restoreAllMocks();
  rmSync(dir, {recursive: true, force: true});
});

const openStore = (folder: string): Store =>
  new Store({folder: openStoreFolder(folder), nowMs: Date.now, emit: () => undefined});

async function run(...argv: readonly string[]): Promise<{exit: number; out: string}> {
  let out = '';
  jest.spyOn(process.stdout, 'write').mockImplementation(text => {
    out += text;
    return true;
  });
  try {
    return {exit: await cacheCommand([...argv, '--store', dir], openStore), out};
  } finally {
    jest.restoreAllMocks();
  }
}

/** @returns the path of a disk of `mebibytes` that was last used so many hours ago. */
async function put(digit: string, mebibytes: number, hoursAgo: number, label?: string): Promise<string> {
  const store = openStore(dir);
  const {path} = await store.getOrMake(
    {kind: 'disks', digest: `sha256:${digit.repeat(64)}`},
    async dest => {
      writeFileSync(dest, Buffer.alloc(mebibytes * 1024 ** 2, digit));
      return undefined;
    },
    label === undefined ? {} : {label},
  );
  await store.close();
  const then = Date.now() / 1000 - hoursAgo * 3600;
  utimesSync(path.replace(/\.qcow2$/, '.json'), then, then);
  return path;
}

describe('cache list', () => {
  test('says of an empty store that it is empty', async () => {
    expect(await run('list')).toEqual({exit: 0, out: `0 entries, 0.0 MiB in ${dir}\n`});
  });

  test('shows the last used first', async () => {
    await put('a', 2, 100, 'buildkit-v0.20.2');
    await put('b', 1, 3);
    writeFileSync(join(dir, 'disks', `${'c'.repeat(64)}.qcow2`), 'half');
    expect((await run('list')).out.split('\n')).toEqual([
      'disk  sha256:cccccccccccc  0.0 MiB  used just now    not complete',
      'disk  sha256:bbbbbbbbbbbb  1.0 MiB  used 3 h ago',
      'disk  sha256:aaaaaaaaaaaa  2.0 MiB  used 4 days ago  buildkit-v0.20.2',
      `3 entries, 3.0 MiB in ${dir}`,
      '',
    ]);
  });

  test('as JSON', async () => {
    const path = await put('a', 1, 0, 'x');
    const [entry] = JSON.parse((await run('list', '--json')).out) as [Record<string, unknown>];
    expect(entry).toMatchObject({
      kind: 'disks',
      digest: `sha256:${'a'.repeat(64)}`,
      path,
      label: 'x',
      sizeBytes: 1024 ** 2,
      complete: true,
    });
  });
});

describe('cache prune', () => {
  test('keeps the last used that fit', async () => {
    const [old, young] = [await put('a', 2, 9), await put('b', 1, 1)];
    expect(await run('prune', '--max-size', '2M')).toEqual({
      exit: 0,
      out: 'removed 1 entry, 2.0 MiB; 1 entry, 1.0 MiB left\n',
    });
    expect([old, young].map(existsSync)).toEqual([false, true]);
  });

  test('removes what was not used for long', async () => {
    await put('a', 1, 9);
    await put('b', 1, 1);
    expect((await run('prune', '--unused-for', '8h')).out).toBe(
      'removed 1 entry, 1.0 MiB; 1 entry, 1.0 MiB left\n',
    );
  });

  test('everything', async () => {
    await put('a', 1, 9);
    expect((await run('prune', '--max-size', '0')).out).toBe(
      'removed 1 entry, 1.0 MiB; 0 entries, 0.0 MiB left\n',
    );
  });
});

describe('cache verify', () => {
  test('is content with what is whole', async () => {
    await put('a', 1, 0);
    expect(await run('verify')).toEqual({
      exit: 0,
      out: 'ok  disk  sha256:aaaaaaaaaaaa\n1 entry, 1.0 MiB, 0 not whole\n',
    });
  });

  test('names and removes what is damaged, and says so by its exit code', async () => {
    const path = await put('a', 1, 0);
    appendFileSync(path, '!');
    expect(await run('verify')).toEqual({
      exit: 3,
      out: 'damaged  disk  sha256:aaaaaaaaaaaa  it has 1048577 bytes instead of 1048576; removed\n1 entry, 1.0 MiB, 1 not whole\n',
    });
    expect(existsSync(path)).toBe(false);
  });
});

test.each<[readonly string[], string]>([
  [[], 'nothing is not allowed; allowed: list, prune, verify'],
  [['clear'], '"clear" is not allowed'],
  [['list', 'all'], '"list all" is not allowed'],
  [['list', '--max-size', '1G'], '--max-size is for prune'],
  [['prune', '--max-size', 'much'], 'max-size: "much" is not allowed'],
  [['prune', '--unused-for', 'ever'], 'unused-for: "ever" is not allowed'],
  [['prune', '--force'], '--force'],
])('bad usage %j', async (argv, message) => {
  await expect(cacheCommand([...argv, '--store', dir], openStore)).rejects.toThrow(message);
});
