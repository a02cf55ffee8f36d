import {createHash} from 'node:crypto';
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {createServer, type Server} from 'node:http';
import type {AddressInfo} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import {identifyBinaries, obtainBinaries} from '../../src/archive/binaries.ts';
import {Store} from '../../src/archive/store.ts';
import type {Binaries, BinariesSource} from '../../src/base/derive.ts';
import type {JobEvent} from '../../src/base/events.ts';
import {localPorts} from '../../src/host/local.ts';
import {elf, releaseTarball, tarball} from '../support/tarballs.ts';

let dir: string;
let server: Server;
let files: Record<string, Buffer | undefined>;
let asked: string[];
const events: JobEvent[] = [];
const signal = new AbortController().signal;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'binaries-'));
  server = createServer(({url = ''}, response) => {
    asked.push(url);
    const bytes = files[url];
    response.writeHead(bytes ? 200 : 404).end(bytes);
  });
  await new Promise<void>(resolve => void server.listen(0, '127.0.0.1', resolve));
});
beforeEach(() => {
  files = {};
  asked = [];
  events.length = 0;
});
afterAll(() => {
  server.close();
  rmSync(dir, {recursive: true, force: true});
});

const emit = (event: JobEvent): void => void events.push(event);
const ports = {...localPorts, emit};
let stores = 0;
const newStore = (): string => join(dir, `store-${stores++}`);
const storeAt = (path: string): Store =>
  new Store({folder: localPorts.openStore(path), nowMs: Date.now, emit});
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

async function obtain(source: BinariesSource, storeDir = newStore()): Promise<Binaries> {
  const store = storeAt(storeDir);
  try {
    return await obtainBinaries(ports, store, source, signal);
  } finally {
    await store.close();
  }
}

const release = (more: {sha256?: string} = {}): BinariesSource => ({
  kind: 'release',
  version: 'v0.32.2',
  url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/bk.tar.gz`,
  ...more,
});

describe('a release', () => {
  test('is unpacked once: without its server it is still there', async () => {
    files['/bk.tar.gz'] = await releaseTarball({
      'bin/buildkit-runc': elf('runc'),
      'bin/README': Buffer.from('no program'),
    });
    const storeDir = newStore();
    const {dir: where, names} = await obtain(release(), storeDir);
    expect(names).toEqual(['buildctl', 'buildkit-runc', 'buildkitd']);
    expect(readFileSync(join(where, 'buildkitd')).equals(elf('buildkitd'))).toBe(true);
    expect(events).toContainEqual({kind: 'notice', message: expect.stringContaining('no checksum of')});
    files = {};
    asked = [];
    expect(await obtain(release(), storeDir)).toMatchObject({dir: where, names});
    expect(asked).toEqual([]);
  });

  test('is held against the checksum beside it', async () => {
    const bytes = await releaseTarball();
    files = {'/bk.tar.gz': bytes, '/bk.tar.gz.sha256': Buffer.from(`${sha256(bytes)}  bk.tar.gz\n`)};
    await obtain(release());
    expect(events.filter(({kind}) => kind === 'notice')).toEqual([]);
    files['/bk.tar.gz.sha256'] = Buffer.from(sha256(Buffer.from('another')));
    await expect(obtain(release())).rejects.toMatchObject({
      input: 'release-mirror',
      message: expect.stringContaining('its digest is sha256:'),
    });
  });

  test('is held against the checksum that the user gives, and no other is asked for', async () => {
    const bytes = await releaseTarball();
    files['/bk.tar.gz'] = bytes;
    await obtain(release({sha256: sha256(bytes)}));
    expect(asked).toEqual(['/bk.tar.gz']);
    const storeDir = newStore();
    await expect(obtain(release({sha256: '0'.repeat(64)}), storeDir)).rejects.toThrow('is damaged');
    expect(readdirSync(join(storeDir, 'binaries')).filter(name => !name.startsWith('.'))).toEqual([]);
  });

  test('a checksum that is none', async () => {
    files = {'/bk.tar.gz': await releaseTarball(), '/bk.tar.gz.sha256': Buffer.from('<html>')};
    await expect(obtain(release())).rejects.toThrow('does not begin with a SHA-256: "<html>"');
  });

  test('one that does not exist says where else it could come from', async () =>
    await expect(obtain(release())).rejects.toMatchObject({
      message: expect.stringContaining('the server answers with status 404'),
      hint: expect.stringMatching(/is there a release v0\.32\.2.*release-mirror.*buildkit-binaries/),
    }));

  test.each<[string, () => Promise<Buffer>, string]>([
    ['no tarball', async () => Buffer.from('<html>not found</html>'.repeat(100)), 'cannot be unpacked'],
    ['without buildctl', () => tarball({'bin/buildkitd': elf()}), 'it holds no buildkitd and buildctl'],
    [
      'for another processor',
      () => releaseTarball({'bin/buildkitd': elf('arm', 183)}),
      'buildkitd is an executable for another processor (ELF machine 183, not 62)',
    ],
    [
      'with a script',
      () => releaseTarball({'bin/buildkit-x': Buffer.from('#!/bin/sh\necho hello world\n')}),
      'buildkit-x is no Linux executable',
    ],
    [
      'with a link in the place of a program',
      () => releaseTarball({'bin/buildkit-x': {linkTo: '/bin/sh'}}),
      'buildkit-x is a symbolic link',
    ],
    ['that climbs out', () => releaseTarball({'../../evil': elf()}), 'climbs out'],
  ])('%s is refused, and nothing of it is kept', async (_what, make, message) => {
    files['/bk.tar.gz'] = await make();
    const storeDir = newStore();
    await expect(obtain(release(), storeDir)).rejects.toMatchObject({
      input: 'release-mirror',
      message: expect.stringContaining(message),
    });
    const left = readdirSync(join(storeDir, 'binaries')).filter(name => !name.startsWith('.'));
    expect(left).toEqual([]);
  });
});

describe('files of one’s own', () => {
  const write = (path: string, bytes: Buffer): void => {
    mkdirSync(join(path, '..'), {recursive: true});
    writeFileSync(path, bytes, {mode: 0o755});
  };
  const own = (path: string): BinariesSource => ({kind: 'path', path});

  test.each(['', 'bin/'])('a folder is used where it lies (%j)', async sub => {
    const where = mkdtempSync(join(dir, 'own-'));
    for (const name of ['buildkitd', 'buildctl', 'other']) write(join(where, sub, name), elf(name));
    const before = await identifyBinaries(ports, own(where), signal);
    expect(await obtain(own(where))).toEqual({
      dir: join(where, sub).replace(/\/$/, ''),
      names: ['buildctl', 'buildkitd'],
      source: where,
    });
    write(join(where, sub, 'other'), elf('changed'));
    expect(await identifyBinaries(ports, own(where), signal)).toBe(before);
    write(join(where, sub, 'buildctl'), elf('changed'));
    expect(await identifyBinaries(ports, own(where), signal)).not.toBe(before);
  });

  test('links in a folder are the user’s own', async () => {
    const where = mkdtempSync(join(dir, 'own-'));
    write(join(where, 'elsewhere'), elf());
    for (const name of ['buildkitd', 'buildctl']) symlinkSync('elsewhere', join(where, name));
    expect((await obtain(own(where))).names).toEqual(['buildctl', 'buildkitd']);
  });

  test('a tarball', async () => {
    const path = join(dir, 'mine.tar.gz');
    const bytes = await releaseTarball();
    writeFileSync(path, bytes);
    expect((await obtain(own(path))).source).toBe(path);
    expect(await identifyBinaries(ports, own(path), signal)).toBe(`sha256:${sha256(bytes)}`);
    await expect(obtain({kind: 'path', path, sha256: '0'.repeat(64)})).rejects.toMatchObject({
      input: 'release-sha256',
    });
  });

  test.each([
    ['missing', () => join(dir, 'nowhere'), 'there is no file or folder'],
    ['an empty folder', () => mkdtempSync(join(dir, 'own-')), 'it holds no buildkitd and buildctl'],
  ])(
    '%s is refused',
    async (_what, make, message) =>
      await expect(obtain(own(make()))).rejects.toMatchObject({
        input: 'buildkit-binaries',
        message: expect.stringContaining(message),
      }),
  );
});
