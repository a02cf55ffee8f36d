import {execFileSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, describe, expect, test} from '@jest/globals';
import {archiveDir, BUSYBOX, contextDir, diskOf, leftovers, type Played, play} from '../support/machine.ts';

afterEach(() => expect(leftovers()).toEqual([]));

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
const out = (): string => mkdtempSync(join(tmpdir(), 'itg-out-'));

describe('a build that passes', () => {
  let played: Played;
  const dir = contextDir({
    'ci/app.Dockerfile': `${BUSYBOX}ARG WHO\nCOPY . /ctx/\nRUN --mount=type=secret,id=key cat /run/secrets/key | wc -c > /key-length; echo "hello $WHO" > /hello\n`,
    '.dockerignore': 'left-out\n*.log\n!kept.log\n',
    'left-out/big': 'x',
    'a.log': 'x',
    'kept.log': 'x',
    'plain.txt': 'plain',
    'na me/with\nnewline': '1',
    '-rf': '2',
    'ünï/漢字🐧': '3',
    'back\\slash $(id) `id` ;#': '4',
  });
  mkdirSync(join(dir, 'empty'));
  symlinkSync('plain.txt', join(dir, 'link'));
  symlinkSync('/nowhere/at all', join(dir, 'dangling'));
  linkSync(join(dir, 'plain.txt'), join(dir, 'hard'));
  writeFileSync(join(dir, 'tool'), '#!/bin/sh\n');
  chmodSync(join(dir, 'tool'), 0o4755);
  utimesSync(join(dir, 'plain.txt'), 1_500_000_000, 1_500_000_000.123);
  execFileSync('truncate', ['-s', '64M', join(dir, 'sparse')]);
  const results = out();
  const before = sha256(diskOf('v0.20.2'));

  test('runs to its end', async () => {
    played = await play({
      context: dir,
      file: join(dir, 'ci/app.Dockerfile'),
      'buildkit-version': 'v0.20.2',
      'build-args': 'WHO=world',
      secrets: 'key=12345',
      outputs: `type=local,dest=${results}/local\ntype=oci,dest=${results}/image.tar,name=example/app:1`,
    });
    expect(played.result.outcome).toEqual({kind: 'built'});
    expect(played.result.warnings).toEqual([]);
  });

  test('knows what it ran on', () => {
    expect(played.result.versions).toMatchObject({
      buildkit: {version: 'v0.20.2', commit: '97437fdd7e32f29bb80288d800cd4ffcb34e1c15'},
      systemd: {state: 'running', failedUnits: []},
    });
    expect(played.result.versions?.workers[0]).toMatchObject({snapshotter: 'overlayfs'});
    expect(played.result.machine).toMatchObject({accelerator: 'tcg', cpus: 2, memoryMib: 2048});
  });

  test('the context arrived as it was, less what .dockerignore leaves out', () => {
    const ctx = join(results, 'local/ctx');
    expect(readFileSync(join(ctx, 'na me/with\nnewline'), 'utf8')).toBe('1');
    expect(readFileSync(join(ctx, '-rf'), 'utf8')).toBe('2');
    expect(readFileSync(join(ctx, 'ünï/漢字🐧'), 'utf8')).toBe('3');
    expect(readFileSync(join(ctx, 'back\\slash $(id) `id` ;#'), 'utf8')).toBe('4');
    const list = execFileSync('find', ['.', '-maxdepth', '1', '-printf', '%y %m %l %P\\n'], {
      cwd: ctx,
      encoding: 'utf8',
    }).split('\n');
    expect(list).toContain('l 777 plain.txt link');
    expect(list).toContain('l 777 /nowhere/at all dangling');
    expect(list).toContain('d 755  empty');
    expect(list.join('\n')).not.toMatch(/left-out|a\.log/);
    expect(statSync(join(ctx, 'kept.log')).size).toBe(1);
    expect(statSync(join(ctx, 'sparse')).size).toBe(64 * 1024 * 1024);
    expect(statSync(join(ctx, 'plain.txt')).mtimeMs).toBeCloseTo(1_500_000_000_123, -1);
    expect(played.result.timings.contextFiles).toBeGreaterThan(8);
  });

  test('build arguments and secrets reached the build, and the secret nothing else', () => {
    expect(readFileSync(join(results, 'local/hello'), 'utf8')).toBe('hello world\n');
    expect(readFileSync(join(results, 'local/key-length'), 'utf8').trim()).toBe('5');
    expect(JSON.stringify(played.events)).not.toContain('12345');
  });

  test('the image came back, and its digests are known', () => {
    const files = execFileSync('tar', ['-tf', join(results, 'image.tar')], {encoding: 'utf8'}).split('\n');
    expect(files).toContain('index.json');
    expect(played.result.imageId).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(played.result.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(files).toContain(`blobs/sha256/${played.result.digest?.slice(7)}`);
  });

  test('the steps come from the trace, with times', () => {
    const run = played.result.trace?.steps.find(step => step.name.includes('/key-length'));
    expect(run).toMatchObject({state: 'done'});
    expect(run?.id).toMatch(/^sha256:/);
    expect(run?.seconds).toBeGreaterThan(0);
  });

  test("the archive's disk was not written", () => {
    expect(sha256(diskOf('v0.20.2'))).toBe(before);
    rmSync(results, {recursive: true});
  });
});

test('an older BuildKit, taken out of an OCI layout, run by the QEMU in the image, named wrongly', async () => {
  const path = process.env.PATH;
  // The host has QEMU; a PATH without it plays a hosted runner. setpriv, tar and the like stay.
  const bin = mkdtempSync(join(tmpdir(), 'itg-bin-'));
  for (const tool of ['tar', 'sh', 'true', 'setpriv']) {
    symlinkSync(execFileSync('sh', ['-c', `command -v ${tool}`], {encoding: 'utf8'}).trim(), join(bin, tool));
  }
  process.env.PATH = bin;
  try {
    const {result} = await play({
      archive: join(archiveDir('v0.12.5'), 'oci'),
      'buildkit-version': 'v0.12.4',
      context: contextDir({Dockerfile: `${BUSYBOX}RUN echo 1\n`}),
    });
    expect(result.outcome).toEqual({kind: 'built'});
    expect(result.versions?.buildkit).toMatchObject({
      version: 'v0.12.5',
      commit: 'bac3f2b673f3f9d33e79046008e7a38e856b3dc6',
    });
    expect(result.versions?.runc?.version).toMatch(/^1\./);
    expect(result.warnings.join()).toMatch(/holds BuildKit v0\.12\.5, not v0\.12\.4/);
    expect(result.trace?.steps.find(step => step.name.endsWith('RUN echo 1'))).toMatchObject({
      state: 'done',
      logs: {head: [expect.objectContaining({text: '1'})]},
    });
  } finally {
    process.env.PATH = path;
    rmSync(bin, {recursive: true});
  }
});
