import {spawnSync} from 'node:child_process';
import {chmod, mkdir, mkdtemp, readFile, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {type ForgeResult, forge} from '../../src/forge/main.ts';

// Real tools and Debian packages, with the cache that the other real tests use; no VM is started here.
let dir: string;
let result: ForgeResult;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'forge-itg-'));
  const bin = join(dir, 'release');
  await mkdir(bin);
  // Any executable for amd64 will do for what is looked at here, and node is one.
  for (const name of ['buildkitd', 'buildctl', 'buildkit-runc']) {
    await writeFile(join(bin, name), (await readFile(process.execPath)).subarray(0, 1024 * 1024));
    await chmod(join(bin, name), 0o755);
  }
  const argv = ['--buildkit', bin, '--buildkit-version', 'v0.20.2-test', '--output', join(dir, 'out')];
  result = await forge(argv, {log: line => process.stderr.write(`${line}\n`), env: process.env});
});
afterAll(async () => {
  await rm(dir, {recursive: true, force: true});
});

function tool(command: string, ...args: string[]): string {
  const done = spawnSync(command, args, {encoding: 'utf8', maxBuffer: 64 * 1024 * 1024});
  expect([command, args, done.status, done.stderr.slice(-500)]).toEqual([
    command,
    args,
    0,
    expect.anything(),
  ]);
  return done.stdout;
}

test('skopeo reads the image', () => {
  const inspected = JSON.parse(tool('skopeo', 'inspect', result.reference));
  expect(inspected).toMatchObject({Architecture: 'amd64', Os: 'linux'});
  expect(inspected.Labels['org.opencontainers.image.version']).toBe('v0.20.2-test');
  expect(inspected.Layers).toHaveLength(3);
});

test('the image becomes a docker archive, so every digest in it is right', () => {
  tool('skopeo', 'copy', '--quiet', result.reference, `docker-archive:${join(dir, 'image.tar')}:forge:test`);
  const layers = JSON.parse(tool('tar', '-xOf', join(dir, 'image.tar'), 'manifest.json'))[0]
    .Layers as string[];
  expect(layers).toHaveLength(3);
});

test('the disk is a sound qcow2 of 10 GiB', () => {
  tool('qemu-img', 'check', result.qcow2Path);
  const info = JSON.parse(tool('qemu-img', 'info', '--output=json', result.qcow2Path));
  expect(info).toMatchObject({format: 'qcow2', 'virtual-size': 10 * 1024 ** 3});
});

test('the file system is clean and holds the release, owned by root', () => {
  const raw = join(dir, 'disk.raw');
  tool('qemu-img', 'convert', '-O', 'raw', result.qcow2Path, raw);
  const partition = `${raw}?offset=1048576`;
  tool('/sbin/e2fsck', '-f', '-n', partition);
  const listed = tool('/sbin/debugfs', '-R', 'ls -l /usr/local/bin', partition);
  for (const name of ['buildkitd', 'buildctl', 'buildkit-runc']) {
    expect(listed).toMatch(new RegExp(`100755 \\(1\\)\\s+0\\s+0\\s+1048576 .* ${name}\\n`));
  }
  const service = tool(
    '/sbin/debugfs',
    '-R',
    'cat /usr/local/lib/systemd/system/buildkit.service',
    partition,
  );
  expect(service).toContain('--addr fd://');
});
