import {existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {gzipSync} from 'node:zlib';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {type Archive, obtainArchive} from '../../src/archive/obtain.ts';
import {UserError} from '../../src/base/errors.ts';
import {localPorts} from '../../src/host/local.ts';
import {type Qcow2Options, qcow2, writeDockerArchive, writeLayout} from '../support/images.ts';

let dir: string;
let storeDir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'test-archive-'));
  storeDir = join(dir, 'store');
});
afterEach(() => rmSync(dir, {recursive: true}));

const obtain = (reference: string): Promise<Archive> =>
  obtainArchive(
    {...localPorts, emit: () => undefined},
    {reference, path: reference, images: [], storeDir},
    new AbortController().signal,
  );
const disk = {name: 'vm.qcow2', content: qcow2()};
const path = (name: string): string => join(dir, name);
const file = (name: string, bytes: Buffer | string): string => {
  writeFileSync(path(name), bytes);
  return path(name);
};

/** What is half-made in the store: there must be nothing. */
const partial = (): string[] =>
  existsSync(join(storeDir, 'disks'))
    ? readdirSync(join(storeDir, 'disks')).filter(name => name.startsWith('.') || name.includes('partial'))
    : [];

describe('a qcow2', () => {
  test('is used where it lies', async () => {
    expect(await obtain(file('a:b.qcow2', qcow2()))).toMatchObject({
      kind: 'qcow2',
      diskPath: path('a:b.qcow2'),
      unpackRootfs: undefined,
    });
  });

  test.each<[string, Qcow2Options, RegExp]>([
    ['a backing file', {backingFile: '/etc/shadow'}, /it has a backing file/],
    ['an external data file', {features: 4n}, /external data file/],
    ['a corrupt mark', {features: 2n}, /marked corrupt/],
    ['encryption', {encryption: 2}, /encrypted/],
    ['a version of the future', {version: 4}, /qcow2 version 4; 2 and 3 are known/],
    ['a cut header', {truncateBytes: 40}, /ends within its header \(40 bytes\)/],
    ['a cut L1 table', {truncateBytes: 65_536}, /truncated: it refers to byte \d+, but has 65536 bytes/],
    ['a cut L2 table', {truncateBytes: 131_072}, /truncated/],
    ['a cut data cluster', {truncateBytes: 196_608}, /truncated/],
  ])('with %s is refused', async (_name, options, message) => {
    const promise = obtain(file('vm.qcow2', qcow2(options)));
    await expect(promise).rejects.toThrow(UserError);
    await expect(promise).rejects.toThrow(message);
  });
});

test.each<[string, Buffer | string, string, RegExp]>([
  ['an empty file', '', 'is an empty file', /"docker save" tar/],
  ['a gzip', gzipSync(qcow2()), 'is no qcow2 disk and no tar, but compressed with gzip', /gunzip/],
  [
    'a VDI disk',
    Buffer.concat([Buffer.alloc(64), Buffer.from('7f10dabe', 'hex')]),
    'but a VDI disk',
    /qemu-img/,
  ],
  ['a VMDK disk', 'KDMV', 'but a VMDK disk', /qemu-img convert -O qcow2/],
  ['a raw disk', Buffer.concat([Buffer.alloc(510), Buffer.from('55aa', 'hex')]), 'but a raw disk', /-f raw/],
  ['a text', 'hello', 'is neither a qcow2 disk nor a tar', /"docker save" tar/],
])('%s is called what it is', async (_, bytes, message, hint) => {
  const error = await obtain(file('vm.qcow2', bytes)).catch(caught => caught);
  expect(error.message).toContain(message);
  expect(error.hint).toMatch(hint);
});

describe('an OCI layout', () => {
  test('whose disk is none is named by the image, not by our own folders', async () => {
    await writeLayout(path('oci'), [[{name: 'vm.qcow2', content: 'raw'}]]);
    await expect(obtain(path('oci'))).rejects.toThrow(
      `/vm.qcow2 of ${path('oci')} is no usable BuildKit archive: it does not begin like a qcow2 image`,
    );
  });

  test('gives its disk, once', async () => {
    await writeLayout(path('oci'), [[{name: 'start.sh', content: '#!/bin/sh\n'}], [disk]]);
    const first = await obtain(path('oci'));
    expect(first.kind).toBe('oci-layout');
    expect(readFileSync(first.diskPath).equals(qcow2())).toBe(true);
    const {ino} = statSync(first.diskPath);
    const again = await obtain(`${path('oci')}:buildkit-v0.20.2`);
    expect(statSync(again.diskPath).ino).toBe(ino);
    expect(partial()).toEqual([]);
  });

  test('the topmost layer wins, ./ in names and all', async () => {
    const other = qcow2({version: 2});
    await writeLayout(path('oci'), [
      [disk],
      [{name: './vm.qcow2', content: other}],
      [{name: 'etc/x', content: 'x'}],
    ]);
    expect(readFileSync((await obtain(path('oci'))).diskPath).equals(other)).toBe(true);
  });

  test('a whiteout above the disk means that there is none', async () => {
    await writeLayout(path('oci'), [[disk], [{name: '.wh.vm.qcow2'}]]);
    await expect(obtain(path('oci'))).rejects.toThrow(/has no \/vm\.qcow2/);
  });

  test('a damaged disk in the store is taken out anew', async () => {
    await writeLayout(path('oci'), [[disk]]);
    const {diskPath} = await obtain(path('oci'));
    writeFileSync(diskPath, 'gone');
    expect(readFileSync((await obtain(path('oci'))).diskPath).equals(qcow2())).toBe(true);
  });

  test.each<[string, () => Promise<void>, RegExp]>([
    ['no disk in it', () => writeLayout(path('oci'), [[{name: 'x', content: 'y'}]]), /has no \/vm\.qcow2/],
    [
      'the name of a container image',
      () => writeLayout(path('oci'), [[{name: 'x'}]], {tags: ['ctr_buildkit-v0.20.2']}),
      /ctr_buildkit-v0\.20\.2 is a container image without a VM/,
    ],
    [
      'another architecture',
      () => writeLayout(path('oci'), [[disk]], {architecture: 'arm64'}),
      /is for linux\/arm64; BuildKit archives are for linux\/amd64/,
    ],
    [
      'another platform',
      () => writeLayout(path('oci'), [[disk]], {platform: {os: 'linux', architecture: 's390x'}}),
      /is for linux\/s390x/,
    ],
    [
      'several images',
      () => writeLayout(path('oci'), [[disk]], {tags: ['a', 'b']}),
      /holds 2 images; its images: a, b/,
    ],
    [
      'a damaged layer',
      () => writeLayout(path('oci'), [[disk]], {damage: true}),
      /damaged: its digest is sha256:|Unexpected end of data|Invalid tar header/,
    ],
  ])('with %s is refused, and nothing stays behind', async (_name, write, message) => {
    await write();
    await expect(obtain(path('oci'))).rejects.toThrow(message);
    expect(partial()).toEqual([]);
  });

  test('with an unknown tag is refused with the tags it has', async () => {
    await writeLayout(path('oci'), [[disk]], {tags: ['a', 'b']});
    await expect(obtain(`${path('oci')}:c`)).rejects.toThrow(/no image with the tag "c"; its images: a, b/);
    expect((await obtain(`${path('oci')}:b`)).kind).toBe('oci-layout');
  });
});

describe('a docker save tar', () => {
  test('gives its disk', async () => {
    await writeDockerArchive(
      path('save.tar'),
      [[{name: 'a', content: 'b'}], [disk]],
      ['x/y:buildkit-v0.20.2'],
    );
    const archive = await obtain(path('save.tar'));
    expect(archive.kind).toBe('docker-archive');
    expect(readFileSync(archive.diskPath).equals(qcow2())).toBe(true);
  });

  test('that is no image is refused', async () => {
    const {tar} = await import('../support/images.ts');
    await expect(obtain(file('x.tar', await tar([{name: 'hello', content: 'x'}])))).rejects.toThrow(
      /cannot be read as a "docker save" tar: .*manifest\.json/,
    );
  });
});

describe('the root file system of an image', () => {
  const unpack = async (...layers: Parameters<typeof writeLayout>[1]): Promise<string> => {
    await writeLayout(path('oci'), [...layers, [disk]]);
    const archive = await obtain(path('oci'));
    return (await archive.unpackRootfs?.(new AbortController().signal)) ?? '';
  };

  test('is unpacked without the disk, with links kept inside', async () => {
    const root = await unpack(
      [
        {name: 'usr/', type: 'directory'},
        {name: 'usr/lib/', type: 'directory'},
        {name: 'lib', type: 'symlink', linkname: '/usr/lib'},
        {name: 'usr/lib/libc.so.6', content: 'libc', mode: 0o4755},
        {name: 'usr/lib/libc.so', type: 'link', linkname: 'usr/lib/libc.so.6'},
      ],
      [{name: 'lib/later', content: 'through the link'}, {name: 'usr/lib/.wh.libc.so'}],
    );
    expect(existsSync(join(root, 'vm.qcow2'))).toBe(false);
    expect(readFileSync(join(root, 'usr/lib/later'), 'utf8')).toBe('through the link');
    expect(readFileSync(join(root, 'lib/libc.so.6'), 'utf8')).toBe('libc');
    expect(statSync(join(root, 'usr/lib/libc.so.6')).mode & 0o7777).toBe(0o755);
    expect(existsSync(join(root, 'usr/lib/libc.so'))).toBe(false);
  });

  test('an opaque whiteout hides what is below, not what is beside it', async () => {
    const root = await unpack(
      [{name: 'd/old', content: 'x'}],
      [{name: 'd/new', content: 'y'}, {name: 'd/.wh..wh..opq'}],
    );
    expect(readdirSync(join(root, 'd'))).toEqual(['new']);
  });

  test.each([
    ['a name that climbs out', [{name: '../evil', content: 'x'}]],
    ['a link target that climbs out', [{name: 'a', type: 'link', linkname: '../../evil'}]],
  ])('%s is refused', async (_name, entries) => {
    await expect(unpack(entries as Parameters<typeof writeLayout>[1][number])).rejects.toThrow(
      /climbs out of the image/,
    );
    expect(existsSync(join(dir, 'evil'))).toBe(false);
    expect(readdirSync(join(storeDir, 'rootfs'))).toEqual([]);
  });

  test('a symlink that points out leads nowhere outside', async () => {
    const outside = mkdtempSync(join(tmpdir(), 'test-outside-'));
    try {
      const root = await unpack(
        [
          {name: 'out', type: 'symlink', linkname: outside},
          {name: 'up', type: 'symlink', linkname: '../../../../../../../..'},
        ],
        [
          {name: 'out/evil', content: 'x'},
          {name: `up${outside}/evil`, content: 'x'},
        ],
      );
      expect(readdirSync(outside)).toEqual([]);
      expect(readFileSync(join(root, outside, 'evil'), 'utf8')).toBe('x');
    } finally {
      rmSync(outside, {recursive: true});
    }
  });
});
