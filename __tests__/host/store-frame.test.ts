import {execFileSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {buffer} from 'node:stream/consumers';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import tarStream from 'tar-stream';
import {
  openFramedTar,
  readFrame,
  type TarFrame,
  TarFrameCapture,
  tarFrames,
  writeFrame,
} from '../../src/host/store-frame.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'frame-test-'));
});
afterEach(() => rmSync(dir, {recursive: true, force: true}));

const sha256 = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const disk = Buffer.from(Array.from({length: 1300}, (_, i) => i % 251));

/** Sends a tar through in chunks of a size that fits no block. */
async function capture(tar: Buffer, chunkBytes = 97): Promise<{frame: TarFrame | undefined; out: Buffer}> {
  const stream = new TarFrameCapture('vm.qcow2');
  const chunks = function* () {
    for (let at = 0; at < tar.length; at += chunkBytes) yield tar.subarray(at, at + chunkBytes);
  };
  const out = await buffer(Readable.from(chunks()).pipe(stream));
  return {frame: stream.frame(), out};
}

function gnuTar(args: readonly string[], members: readonly string[]): Buffer {
  return execFileSync('tar', [...args, '-C', dir, '-cf', '-', ...members]);
}

describe('a tar and its frame', () => {
  test.each([
    ['GNU', ['--format=gnu']],
    ['ustar', ['--format=ustar']],
    ['pax', ['--format=posix']],
    ['old', ['--format=v7']],
    ['pax with a size record', ['--format=posix', '--pax-option=comment:=x']],
    ['a blocking factor of one', ['--format=gnu', '-b1']],
    ['a name with a dot', ['--format=gnu', '--transform=s,^,./,']],
  ])('%s', async (_, args) => {
    writeFileSync(join(dir, 'vm.qcow2'), disk);
    writeFileSync(join(dir, 'start.sh'), '#!/bin/sh\n');
    mkdirSync(join(dir, 'etc'));
    for (const members of [['vm.qcow2'], ['start.sh', 'vm.qcow2', 'etc'], ['vm.qcow2', 'etc', 'start.sh']]) {
      const tar = gnuTar(args, members);
      const {frame, out} = await capture(tar);
      expect(out.equals(tar)).toBe(true);
      expect((frame?.before.length ?? 0) + (frame?.after.length ?? 0)).toBe(tar.length - disk.length);
      await writeFrame(join(dir, 'frame'), frame as TarFrame);
      const again = await readFrame(join(dir, 'frame'));
      expect((await buffer(openFramedTar(again, join(dir, 'vm.qcow2')))).equals(tar)).toBe(true);
      expect(await tarFrames.measure(join(dir, 'frame'), join(dir, 'vm.qcow2'))).toEqual({
        tarDigest: sha256(tar),
        contentDigest: sha256(disk),
        sizeBytes: disk.length,
      });
    }
  });

  test('whatever the chunks are', async () => {
    writeFileSync(join(dir, 'vm.qcow2'), disk);
    const tar = gnuTar(['--format=posix'], ['vm.qcow2']);
    const frames = await Promise.all([1, 511, 512, 513, tar.length].map(bytes => capture(tar, bytes)));
    expect(new Set(frames.map(({frame}) => frame?.before.toString('hex'))).size).toBe(1);
    expect(new Set(frames.map(({frame}) => frame?.after.toString('hex'))).size).toBe(1);
  });

  test('long names of other entries, links with a size, and an empty disk', async () => {
    const pack = tarStream.pack();
    pack.entry({name: `${'very-long/'.repeat(20)}name`}, 'text');
    pack.entry({name: 'link', type: 'symlink', linkname: 'vm.qcow2'});
    pack.entry({name: 'vm.qcow2'}, '');
    pack.finalize();
    const tar = await buffer(pack);
    const {frame} = await capture(tar);
    expect(Buffer.concat([frame?.before ?? disk, frame?.after ?? disk]).equals(tar)).toBe(true);
  });

  test('a size over 8 GiB is read from the GNU form', async () => {
    const pack = tarStream.pack();
    pack.entry({name: 'other'}, 'text');
    pack.finalize();
    const header = (await buffer(pack)).subarray(0, 512);
    header.write('vm.qcow2\0', 0);
    header.fill(0, 124, 136);
    header[124] = 0x80;
    header.writeUIntBE(9 * 1024 ** 3, 130, 6);
    const stream = new TarFrameCapture('vm.qcow2');
    stream.resume();
    stream.write(header);
    stream.write(Buffer.alloc(4096, 1));
    await new Promise<void>(resolve => stream.end(resolve));
    expect(stream.frame()?.after.length).toBe(0);
  });

  test.each<[string, (pack: tarStream.Pack) => void]>([
    ['no disk', pack => void pack.entry({name: 'vm.qcow2.sha256'}, 'text')],
    ['a disk in another folder', pack => void pack.entry({name: 'etc/vm.qcow2'}, 'text')],
    ['a folder of that name', pack => void pack.entry({name: 'vm.qcow2', type: 'directory'})],
    [
      'two of them',
      pack => {
        pack.entry({name: 'vm.qcow2'}, 'one');
        pack.entry({name: 'vm.qcow2'}, 'two');
      },
    ],
    [
      'too much beside it',
      pack => {
        pack.entry({name: 'vm.qcow2'}, 'disk');
        pack.entry({name: 'big'}, Buffer.alloc(17 * 1024 * 1024));
      },
    ],
  ])('%s gives none', async (_, fill) => {
    const pack = tarStream.pack();
    fill(pack);
    pack.finalize();
    const tar = await buffer(pack);
    const {frame, out} = await capture(tar, 65536);
    expect(frame).toBeUndefined();
    expect(out.length).toBe(tar.length);
  });

  test('noise is passed through and gives none', async () => {
    const noise = Buffer.from(Array.from({length: 5000}, (_, i) => (i * 7919) % 256));
    const {frame, out} = await capture(noise);
    expect(frame).toBeUndefined();
    expect(out.equals(noise)).toBe(true);
  });
});

describe('a frame on the disk', () => {
  test.each([
    ['empty', () => ''],
    ['another file', () => 'hello\nworld\n'],
    ['lengths that do not fit', () => 'buildkit-archive tar frame 1 5 5\nabc'],
  ])('%s is refused', async (_, text) => {
    writeFileSync(join(dir, 'frame'), text());
    await expect(readFrame(join(dir, 'frame'))).rejects.toThrow('no tar');
  });

  test('a cut one is refused', async () => {
    await writeFrame(join(dir, 'frame'), {before: disk, after: disk});
    truncateSync(join(dir, 'frame'), readFileSync(join(dir, 'frame')).length - 1);
    await expect(readFrame(join(dir, 'frame'))).rejects.toThrow('not a whole one');
  });
});
