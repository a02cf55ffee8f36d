import {spawn} from 'node:child_process';
import {createHash} from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {Store} from '../../src/archive/store.ts';
import {CanceledError} from '../../src/base/errors.ts';
import type {JobEvent} from '../../src/base/events.ts';
import type {StoreFolder, StoreKey, StoreKind} from '../../src/base/store.ts';
import {openStoreFolder} from '../../src/host/store.ts';

let dir: string;
let events: JobEvent[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'store-test-'));
  events = [];
});
afterEach(() => rmSync(dir, {recursive: true, force: true}));

const key = (digit: string, kind: StoreKind = 'disks'): StoreKey => ({
  kind,
  digest: `sha256:${digit.repeat(64)}`,
});
const warnings = (): string[] => events.flatMap(event => (event.kind === 'warning' ? [event.message] : []));

function open(options: {maxBytes?: number; folder?: Partial<StoreFolder>} = {}): Store {
  const folder = openStoreFolder(dir);
  for (const [name, value] of Object.entries(options.folder ?? {})) Object.assign(folder, {[name]: value});
  return new Store(
    {folder, nowMs: () => Date.now(), emit: event => events.push(event)},
    options.maxBytes === undefined ? {} : {maxBytes: options.maxBytes},
  );
}

/** Counts how often it was asked. */
function maker(text = 'the disk') {
  const make = async (path: string): Promise<undefined> => {
    make.calls++;
    writeFileSync(path, text);
  };
  make.calls = 0;
  return make;
}

async function put(digit: string, text: string, usedSecondsAgo = 0): Promise<void> {
  const store = open();
  await store.getOrMake(key(digit), maker(text));
  await store.close();
  const then = Date.now() / 1000 - usedSecondsAgo;
  utimesSync(join(dir, 'disks', `${digit.repeat(64)}.json`), then, then);
}

const disk = (digit: string): string => join(dir, 'disks', `${digit.repeat(64)}.qcow2`);
const names = (folder: string): string[] => readdirSync(join(dir, folder)).sort();

describe('getting', () => {
  test('makes an entry once', async () => {
    const make = maker();
    const first = await open().getOrMake(key('a'), make, {label: 'image v1'});
    expect(first).toEqual({path: disk('a'), hit: false});
    expect(readFileSync(first.path, 'utf8')).toBe('the disk');
    const second = await open().getOrMake(key('a'), make);
    expect(second).toEqual({path: disk('a'), hit: true});
    expect(make.calls).toBe(1);
    expect(names('disks')).toEqual([`${'a'.repeat(64)}.json`, `${'a'.repeat(64)}.qcow2`]);
    expect(names('locks')).toEqual([]);
    expect(JSON.parse(readFileSync(join(dir, 'disks', `${'a'.repeat(64)}.json`), 'utf8'))).toMatchObject({
      label: 'image v1',
      sizeBytes: 8,
      contentDigest: `sha256:${createHash('sha256').update('the disk').digest('hex')}`,
    });
  });

  test('finds what is there whole, and makes nothing', async () => {
    expect(await open().find(key('a'))).toBeUndefined();
    await put('a', 'the disk');
    const store = open();
    expect(await store.find(key('a'))).toBe(disk('a'));
    // In use from then on.
    expect(await open().prune({maxBytes: 0})).toEqual([]);
    await store.close();
    writeFileSync(disk('a'), 'other');
    expect(await open().find(key('a'))).toBeUndefined();
    expect(await open().prune({maxBytes: 0})).toHaveLength(1);
    expect(names('leases')).toEqual([]);
  });

  test('knows digests of both algorithms', async () => {
    const long: StoreKey = {kind: 'documents', digest: `sha512:${'a'.repeat(128)}`};
    const {path} = await open().getOrMake(long, maker());
    expect(path).toBe(join(dir, 'documents', `${'a'.repeat(128)}.documents`));
    expect((await open().entries()).map(entry => entry.key)).toEqual([long]);
    expect(await open().verify()).toMatchObject([{state: 'ok'}]);
  });

  test('never copies: the path is that of the store', async () => {
    await put('a', 'x');
    const inode = statSync(disk('a')).ino;
    const {path} = await open().getOrMake(key('a'), maker());
    expect(statSync(path).ino).toBe(inode);
  });

  test('of two that want the same one makes it, and the other says that it waits', async () => {
    const make = async (path: string): Promise<undefined> => {
      calls++;
      await new Promise(resolve => setTimeout(resolve, 120));
      writeFileSync(path, 'slow');
    };
    let calls = 0;
    const waits: number[] = [];
    const results = await Promise.all(
      [open(), open(), open()].map(store =>
        store.getOrMake(key('a'), make, {onWait: ({pid}) => waits.push(pid ?? 0)}),
      ),
    );
    expect(calls).toBe(1);
    expect(results.filter(({hit}) => hit)).toHaveLength(2);
    expect(waits).toContain(process.pid);
  });

  test('when the maker fails the next one makes it, and nothing is left behind', async () => {
    await expect(
      open().getOrMake(key('a'), async path => {
        writeFileSync(path, 'half');
        throw new Error('the wire broke');
      }),
    ).rejects.toThrow('the wire broke');
    expect(names('disks')).toEqual([]);
    expect(names('locks')).toEqual([]);
    expect(names('leases')).toEqual([]);
    expect((await open().getOrMake(key('a'), maker())).hit).toBe(false);
  });

  test('a maker that made nothing is an error', async () => {
    await expect(open().getOrMake(key('a'), async () => undefined)).rejects.toThrow('ENOENT');
  });

  test('what a maker measured while writing is not read again', async () => {
    const measured = {sizeBytes: 4, contentDigest: 'sha256:told'};
    const folder = {measure: () => Promise.reject(new Error('was read'))};
    await open({folder}).getOrMake(key('a'), async path => {
      writeFileSync(path, 'text');
      return measured;
    });
    expect((await open().getOrMake(key('a'), maker())).hit).toBe(true);
  });

  test('a canceled wait ends at once and leaves nothing', async () => {
    const controller = new AbortController();
    const slow = open().getOrMake(key('a'), async path => {
      await new Promise(resolve => setTimeout(resolve, 150));
      writeFileSync(path, 'slow');
      return undefined;
    });
    await new Promise(resolve => setTimeout(resolve, 30));
    const waiting = open().getOrMake(key('a'), maker(), {signal: controller.signal});
    controller.abort();
    await expect(waiting).rejects.toBeInstanceOf(CanceledError);
    expect((await slow).hit).toBe(false);
  });

  test('root file systems are folders', async () => {
    const make = async (path: string): Promise<undefined> => {
      mkdirSync(join(path, 'usr'), {recursive: true});
      writeFileSync(join(path, 'usr', 'qemu'), 'binary');
      symlinkSync('usr', join(path, 'bin'));
    };
    const {path} = await open().getOrMake(key('a', 'rootfs'), make);
    expect(readFileSync(join(path, 'bin', 'qemu'), 'utf8')).toBe('binary');
    expect((await open().getOrMake(key('a', 'rootfs'), make)).hit).toBe(true);
    expect((await open().entries()).map(entry => entry.record?.sizeBytes)).toEqual([6]);
  });

  test('a digest that is none is refused before it becomes a path', async () => {
    const evil = {kind: 'disks', digest: 'sha256:../../etc'} as const;
    await expect(open().getOrMake(evil, maker())).rejects.toThrow(RangeError);
  });

  test('a store that cannot be written to is named', async () => {
    writeFileSync(join(dir, 'file'), '');
    dir = join(dir, 'file', 'store');
    await expect(open().getOrMake(key('a'), maker())).rejects.toThrow(/the store .* cannot be written to/);
    dir = join(dir, '..', '..');
  });
});

describe('damage', () => {
  test('a file that became shorter is made anew, with a warning', async () => {
    await put('a', 'the disk');
    truncateSync(disk('a'), 3);
    const make = maker('the disk');
    expect((await open().getOrMake(key('a'), make)).hit).toBe(false);
    expect(make.calls).toBe(1);
    expect(warnings()).toEqual([`${disk('a')} is damaged and is made anew: it has 3 bytes instead of 8`]);
  });

  test('bytes that changed are noticed by the time of the file', async () => {
    await put('a', 'the disk');
    writeFileSync(disk('a'), 'the d1sk');
    expect((await open().getOrMake(key('a'), maker('the disk'))).hit).toBe(false);
    expect(warnings()[0]).toContain('its digest is sha256:');
    expect(readFileSync(disk('a'), 'utf8')).toBe('the disk');
  });

  test('a file that was only touched is read once, and then trusted again', async () => {
    await put('a', 'the disk');
    utimesSync(disk('a'), 1, 1);
    let reads = 0;
    const real = openStoreFolder(dir);
    const folder = {
      measure: (path: string, signal?: AbortSignal) => {
        reads++;
        return real.measure(path, signal);
      },
    };
    expect((await open({folder}).getOrMake(key('a'), maker())).hit).toBe(true);
    expect((await open({folder}).getOrMake(key('a'), maker())).hit).toBe(true);
    expect(reads).toBe(1);
    expect(warnings()).toEqual([]);
  });

  test('after a reboot the bytes are read before they are used: a crash may have lost some', async () => {
    await put('a', 'the disk');
    const recordPath = join(dir, 'disks', `${'a'.repeat(64)}.json`);
    const {mtimeMs, mtime, atime} = statSync(disk('a'));
    writeFileSync(disk('a'), '\0'.repeat(8));
    utimesSync(disk('a'), atime, mtime);
    const lost = {...JSON.parse(readFileSync(recordPath, 'utf8')), modifiedMs: statSync(disk('a')).mtimeMs};
    expect(Math.abs(lost.modifiedMs - mtimeMs)).toBeLessThan(1000);
    writeFileSync(recordPath, JSON.stringify({...lost, bootId: 'an earlier boot'}));
    expect((await open().getOrMake(key('a'), maker('the disk'))).hit).toBe(false);
    expect(readFileSync(disk('a'), 'utf8')).toBe('the disk');
  });

  test.each([
    ['torn', '{"schema": 1, "dig'],
    ['empty', ''],
    ['of another form', '{"schema": 2}'],
  ])('a record that is %s is no record', async (_, text) => {
    await put('a', 'the disk');
    writeFileSync(join(dir, 'disks', `${'a'.repeat(64)}.json`), text);
    expect((await open().getOrMake(key('a'), maker())).hit).toBe(false);
    expect((await open().getOrMake(key('a'), maker())).hit).toBe(true);
  });

  test('content without a record, as of a process killed in between, is made anew', async () => {
    mkdirSync(join(dir, 'disks'), {recursive: true});
    writeFileSync(disk('a'), 'who knows');
    expect((await open().getOrMake(key('a'), maker())).hit).toBe(false);
    expect(readFileSync(disk('a'), 'utf8')).toBe('the disk');
  });

  test('verify reads all, and removes what is damaged and not in use', async () => {
    await put('a', 'good');
    await put('b', 'bad');
    await put('c', 'worse');
    writeFileSync(disk('d'), 'unfinished');
    appendFileSync(disk('b'), '!');
    const {mtime, atime} = statSync(disk('c'));
    writeFileSync(disk('c'), 'w0rse');
    utimesSync(disk('c'), atime, mtime);
    const checked = await open().verify();
    expect(checked.map(({state, removed}) => [state, removed])).toEqual([
      ['ok', false],
      ['damaged', true],
      ['damaged', true],
      ['incomplete', true],
    ]);
    expect(names('disks').filter(name => name.endsWith('.qcow2'))).toEqual([`${'a'.repeat(64)}.qcow2`]);
  });

  test('verify sees a file that changed, a mode that changed and a file too many in a root file system', async () => {
    const changes: ((path: string) => void)[] = [
      path => writeFileSync(join(path, 'qemu'), 'BINARY'),
      path => chmodSync(join(path, 'qemu'), 0o700),
      path => writeFileSync(join(path, 'more'), ''),
      path => rmSync(join(path, 'qemu')),
    ];
    for (const change of changes) {
      const store = open();
      const {path} = await store.getOrMake(key('a', 'rootfs'), async dest => {
        mkdirSync(dest);
        writeFileSync(join(dest, 'qemu'), 'binary');
        return undefined;
      });
      await store.close();
      expect((await open().verify()).map(({state}) => state)).toEqual(['ok']);
      change(path);
      expect((await open().verify()).map(({state, removed}) => [state, removed])).toEqual([
        ['damaged', true],
      ]);
      expect(existsSync(path)).toBe(false);
    }
  });
});

describe('room', () => {
  test('the least recently used go when a new one comes', async () => {
    await put('a', 'x'.repeat(10), 300);
    await put('b', 'x'.repeat(10), 100);
    await put('c', 'x'.repeat(10), 200);
    await open({maxBytes: 30}).getOrMake(key('d'), maker('x'.repeat(10)));
    expect((await open().entries()).map(entry => entry.key.digest.at(-1))).toEqual(['b', 'c', 'd']);
  });

  test('using one saves it', async () => {
    await put('a', 'x'.repeat(10), 300);
    await put('b', 'x'.repeat(10), 100);
    const store = open();
    await store.getOrMake(key('a'), maker());
    await store.close();
    expect((await open().prune({maxBytes: 10})).map(entry => entry.key.digest.at(-1))).toEqual(['b']);
  });

  test('what is in use stays, even over the limit', async () => {
    await put('a', 'x'.repeat(10), 300);
    const user = open();
    await user.getOrMake(key('a'), maker());
    expect(await open().prune({maxBytes: 0})).toEqual([]);
    await user.close();
    expect(await open().prune({maxBytes: 0})).toHaveLength(1);
    expect(names('leases')).toEqual([]);
  });

  test('what is being made stays', async () => {
    const slow = open().getOrMake(key('a'), async path => {
      writeFileSync(path, 'slow');
      await new Promise(resolve => setTimeout(resolve, 80));
      return undefined;
    });
    await new Promise(resolve => setTimeout(resolve, 20));
    await open().prune({maxBytes: 0});
    expect(await slow).toMatchObject({hit: false});
    expect(readFileSync(disk('a'), 'utf8')).toBe('slow');
  });

  test('one that begins to be used while it is moved away comes back', async () => {
    await put('a', 'x');
    const real = openStoreFolder(dir);
    let asked = 0;
    const folder = {
      isLeased: async (which: StoreKey) => {
        // The lease comes after the last look before the move.
        if (++asked === 3) await real.lease(which);
        return real.isLeased(which);
      },
    };
    expect(await open({folder}).prune({maxBytes: 0})).toEqual([]);
    expect(readFileSync(disk('a'), 'utf8')).toBe('x');
  });

  test('a just made one is not evicted by its own size', async () => {
    const {path} = await open({maxBytes: 1}).getOrMake(key('a'), maker());
    expect(existsSync(path)).toBe(true);
  });

  test('what killed processes left half-made is swept, and not what living ones make', async () => {
    const folder = openStoreFolder(dir);
    writeFileSync(await folder.begin(key('a')), 'half');
    writeFileSync(await folder.begin(key('b')), 'being made');
    const lock = await folder.lock(key('b'));
    mkdirSync(join(dir, 'disks', '.partial-AbCdEf'));
    utimesSync(join(dir, 'disks', '.partial-AbCdEf'), 1, 1);
    mkdirSync(join(dir, 'disks', '.partial-younger'));
    expect(await folder.sweep()).toBe(2);
    expect(names('disks')).toEqual([`.partial-${'b'.repeat(64)}`, '.partial-younger']);
    await lock.release();
  });
});

test('a process killed while it makes an entry blocks nobody', async () => {
  // Stands in for a job: it takes the lock, leaves half a file, and hangs.
  const script = `
    const fs = require('node:fs');
    const stat = fs.readFileSync('/proc/self/stat', 'utf8');
    const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const place = boot + ' ' + fs.readlinkSync('/proc/self/ns/pid');
    fs.mkdirSync('locks'); fs.mkdirSync('disks/.partial-' + 'a'.repeat(64), {recursive: true});
    fs.writeFileSync('disks/.partial-' + 'a'.repeat(64) + '/' + 'a'.repeat(64) + '.qcow2', 'half');
    fs.writeFileSync('locks/disks-' + 'a'.repeat(64), JSON.stringify({id: 'x', pid: process.pid, startTicks, place}));
    console.log('locked');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['-e', script], {cwd: dir, stdio: ['ignore', 'pipe', 'inherit']});
  await new Promise(resolve => child.stdout.once('data', resolve));
  const make = maker();
  let waits = 0;
  const getting = open().getOrMake(key('a'), make, {onWait: () => waits++});
  await new Promise(resolve => setTimeout(resolve, 100));
  expect(make.calls).toBe(0);
  expect(waits).toBe(1);
  child.kill('SIGKILL');
  expect(await getting).toEqual({path: disk('a'), hit: false});
  expect(readFileSync(disk('a'), 'utf8')).toBe('the disk');
  expect(names('disks')).toHaveLength(2);
});
