import {spawnSync} from 'node:child_process';
import {mkdtemp, readdir, rm, stat, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {gzipSync} from 'node:zlib';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {binaryName, unpackRelease, versionInName} from '../../src/forge/source/release.ts';
import {type TarEntry, tarHeader, tarStream, textEntry} from '../../src/forge/tar.ts';
import {filesOfTar} from '../../src/forge/untar.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'forge-tar-'));
});
afterEach(async () => {
  await rm(dir, {recursive: true});
});

async function bytesOf(entries: readonly TarEntry[]): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of tarStream(entries)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* inPieces(bytes: Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  for (let i = 0; i < bytes.length; i += pieceBytes) yield bytes.subarray(i, i + pieceBytes);
}

async function readAll(bytes: Buffer, pieceBytes = 1000): Promise<[string, string][]> {
  const found: [string, string][] = [];
  for await (const file of filesOfTar(inPieces(bytes, pieceBytes), 'test.tar')) {
    const chunks: Buffer[] = [];
    for await (const chunk of file.read()) chunks.push(chunk);
    found.push([file.path, Buffer.concat(chunks).toString()]);
  }
  return found;
}

test('the system tar reads what is written: names, modes, root as owner', async () => {
  const file = join(dir, 'content');
  await writeFile(file, 'x'.repeat(700));
  const content = {file, sizeBytes: 700};
  const tar = await bytesOf([
    textEntry('start.sh', '#!/bin/sh\n', 0o755),
    {path: 'etc/a', mode: 0o644, content},
  ]);
  const listed = spawnSync('tar', ['-tvf', '-'], {
    input: tar,
    env: {...process.env, TZ: 'UTC'},
    encoding: 'utf8',
  });
  expect(listed.stderr).toBe('');
  expect(
    listed.stdout
      .trim()
      .split('\n')
      .map(line => line.replace(/\s+/g, ' ')),
  ).toEqual([
    '-rwxr-xr-x root/root 10 2020-01-01 00:00 start.sh',
    '-rw-r--r-- root/root 700 2020-01-01 00:00 etc/a',
  ]);
});

test('a size over 8 GiB is written in base 256', () => {
  const header = tarHeader('big', 0o644, 9 * 1024 ** 3);
  expect(header[124]).toBe(0x80);
  expect(header.readBigUInt64BE(128)).toBe(9n * 1024n ** 3n);
});

test('a file that changed while it was read is noticed', async () => {
  const file = join(dir, 'content');
  await writeFile(file, 'abc');
  await expect(bytesOf([{path: 'a', mode: 0o644, content: {file, sizeBytes: 5}}])).rejects.toThrow('changed');
});

describe('reading', () => {
  test.each([1, 7, 512, 100_000])('in pieces of %d bytes', async pieceBytes => {
    const tar = await bytesOf([
      textEntry('a', 'one'),
      textEntry('empty', ''),
      textEntry('b', 'two'.repeat(300)),
    ]);
    expect(await readAll(tar, pieceBytes)).toEqual([
      ['a', 'one'],
      ['empty', ''],
      ['b', 'two'.repeat(300)],
    ]);
  });

  test.each(['gnu', 'pax', 'ustar'])(
    'long names in %s format; links and folders are passed over',
    async format => {
      const long = `${'d'.repeat(90)}/${'f'.repeat(90)}`;
      const script = `mkdir ${'d'.repeat(90)} && echo hi > ${long} && ln -s /etc link && tar --format=${format} -cf - *`;
      const made = spawnSync('sh', ['-c', script], {cwd: dir});
      expect(await readAll(made.stdout)).toEqual([[long, 'hi\n']]);
    },
  );

  test('an entry need not be read', async () => {
    const tar = await bytesOf([textEntry('a', 'one'.repeat(1000)), textEntry('b', 'two')]);
    const names: string[] = [];
    for await (const file of filesOfTar(inPieces(tar, 100), 'test.tar')) names.push(file.path);
    expect(names).toEqual(['a', 'b']);
  });

  test('what is cut short or no tar at all is refused', async () => {
    const tar = await bytesOf([textEntry('a', 'one'.repeat(1000))]);
    await expect(readAll(tar.subarray(0, 1500))).rejects.toThrow('in the middle');
    await expect(readAll(Buffer.alloc(2048, 'x'))).rejects.toThrow('checksum');
  });
});

test.each([
  ['bin/buildkitd', 'buildkitd'],
  ['./bin/buildctl', 'buildctl'],
  ['bin/buildkit-runc', 'buildkit-runc'],
  ['bin/buildkit-cni-bridge', 'buildkit-cni-bridge'],
  ['buildkitd', 'buildkitd'],
  ['bin/sh', undefined],
  ['../../usr/bin/buildkitd', undefined],
  ['bin/../buildkitd', undefined],
  ['/bin/buildkitd', undefined],
  ['bin/buildkit-../../x', undefined],
])('the entry %s of a release is installed as %s', (path, expected) => {
  expect(binaryName(path)).toBe(expected);
});

test('unpacking a hostile release writes the executables and nothing else', async () => {
  const entries = [
    textEntry('../evil', 'x'),
    textEntry('bin/buildkitd', 'd', 0o600),
    textEntry('etc/passwd', 'x'),
  ];
  const tarball = join(dir, 'r.tar.gz');
  await writeFile(tarball, gzipSync(await bytesOf(entries)));
  await unpackRelease(tarball, join(dir, 'out', 'bin'));
  expect(await readdir(join(dir, 'out'))).toEqual(['bin']);
  expect(await readdir(join(dir, 'out', 'bin'))).toEqual(['buildkitd']);
  expect((await stat(join(dir, 'out', 'bin', 'buildkitd'))).mode & 0o777).toBe(0o755);
});

test.each([
  ['/x/buildkit-v0.20.2.linux-amd64.tar.gz', 'v0.20.2'],
  ['https://h.test/buildkit-v0.21.0-rc1.linux-amd64.tar.gz', 'v0.21.0-rc1'],
  ['/x/mine.tar.gz', undefined],
])('the version in %s', (name, expected) => {
  expect(versionInName(name)).toBe(expected);
});
