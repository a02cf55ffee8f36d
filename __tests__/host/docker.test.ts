import {execFileSync} from 'node:child_process';
import {chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import type {LoadableImage, LoadableLayer} from '../../src/base/docker.ts';
import {CanceledError} from '../../src/base/errors.ts';
import {cleanUp} from '../../src/host/cleanup.ts';
import {localDocker} from '../../src/host/docker.ts';
import {localSockets} from '../../src/host/sockets.ts';

let dir: string;
let path: string | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'docker-test-'));
  path = process.env.PATH;
  process.env.PATH = `${dir}:${path}`;
});
afterEach(() => {
  process.env.PATH = path;
  rmSync(dir, {recursive: true});
});

/** A client that does as its script says. */
function standIn(script: string): void {
  writeFileSync(join(dir, 'docker'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(dir, 'docker'), 0o755);
}

const layer = (fill: string, sizeBytes: number): LoadableLayer => ({
  diffId: `sha256:${fill.repeat(64)}`,
  sizeBytes,
  open: async () =>
    Readable.from(
      (function* () {
        for (let left = sizeBytes; left > 0; left -= 65_536) yield Buffer.alloc(Math.min(left, 65_536), fill);
      })(),
    ),
});
const image = (...layers: LoadableLayer[]): LoadableImage => ({
  id: `sha256:${'c'.repeat(64)}`,
  config: Buffer.from('{"os":"linux"}'),
  layers,
});
const {signal} = new AbortController();

test('an image is streamed in: config, layers in order and each once, its name', async () => {
  standIn(`echo "$@" > ${dir}/args; cat > ${dir}/loaded.tar`);
  const progress: [number, number][] = [];
  const [a, b] = [layer('a', 200_000), layer('b', 1000)];
  await localDocker({}).load(image(a, b, a), 'localhost/x:y', {
    signal,
    onProgress: (...at) => progress.push(at),
  });
  expect(readFileSync(join(dir, 'args'), 'utf8').trim()).toBe('load --quiet');
  const member = (name: string): Buffer =>
    execFileSync('tar', ['-xOf', join(dir, 'loaded.tar'), name], {maxBuffer: 1e9});
  expect(JSON.parse(member('manifest.json').toString())).toEqual([
    {
      Config: `${'c'.repeat(64)}.json`,
      RepoTags: ['localhost/x:y'],
      Layers: ['a', 'b', 'a'].map(fill => `${fill.repeat(64)}.tar`),
    },
  ]);
  expect(member(`${'c'.repeat(64)}.json`).toString()).toBe('{"os":"linux"}');
  expect(member(`${'a'.repeat(64)}.tar`).equals(Buffer.alloc(200_000, 'a'))).toBe(true);
  expect(progress.at(-1)).toEqual([201_000, 201_000]);
});

test('a docker that refuses says why, whether it has read everything or nothing', async () => {
  const big = image(layer('a', 8 * 1024 ** 2));
  standIn('echo "no space left on device" >&2; exit 1');
  await expect(localDocker({}).load(big, 'x', {signal})).rejects.toThrow(/^no space left on device$/);
  standIn('cat > /dev/null; echo "invalid diffID" >&2; exit 1');
  await expect(localDocker({}).load(big, 'x', {signal})).rejects.toThrow(/^invalid diffID$/);
  standIn('cat > /dev/null; exit 3');
  await expect(localDocker({}).load(big, 'x', {signal})).rejects.toThrow(/exit status 3/);
});

test('a layer that cannot be read is the error, and docker gets no whole image', async () => {
  standIn(`cat > ${dir}/loaded.tar`);
  const broken: LoadableLayer = {
    ...layer('b', 1000),
    open: async () => {
      throw new Error('the store is gone');
    },
  };
  await expect(localDocker({}).load(image(layer('a', 1000), broken), 'x', {signal})).rejects.toThrow(
    'the store is gone',
  );
  const names = execFileSync('sh', ['-c', `tar -tf ${dir}/loaded.tar 2>/dev/null || true`], {
    encoding: 'utf8',
  });
  expect(names).not.toContain('manifest.json');
});

test('a cancel ends the client', async () => {
  standIn(`echo $$ > ${dir}/pid; exec sleep 600`);
  const controller = new AbortController();
  const loading = localDocker({}).load(image(layer('a', 8 * 1024 ** 2)), 'x', {signal: controller.signal});
  setTimeout(() => controller.abort(new CanceledError()), 300);
  await expect(loading).rejects.toThrow(CanceledError);
});

test("the client gets its user's settings, and nothing else of the environment", async () => {
  const env = {DOCKER_HOST: 'unix:///x', DOCKER_CONFIG: '/c', GITHUB_TOKEN: 'secret', INPUT_X: '1'};
  standIn('true');
  expect(await localDocker(env).command(['ps'])).toEqual({
    file: join(dir, 'docker'),
    args: ['ps'],
    env: {DOCKER_HOST: 'unix:///x', DOCKER_CONFIG: '/c'},
  });
});

test('without a client there is no command', async () => {
  process.env.PATH = dir;
  expect(await localDocker({}).command(['ps'])).toBeUndefined();
  await expect(localDocker({}).load(image(), 'x', {signal})).rejects.toThrow(/no docker on PATH/);
});

test('the clean-up removes containers and images of ours, and says so; others it leaves alone', async () => {
  standIn(`echo "$@" >> ${dir}/asked; case "$1" in rm) echo "$4" ;; esac`);
  const done = await cleanUp([
    {kind: 'container', name: 'buildkit-archive-aB3xYz', image: 'localhost/buildkit-archive:00'},
    {kind: 'container', name: 'postgres', image: 'postgres:17'},
    {kind: 'container', name: 'buildkit-archive-other', image: 'postgres:17'},
  ]);
  expect(readFileSync(join(dir, 'asked'), 'utf8').trim().split('\n')).toEqual([
    'rm --force --volumes buildkit-archive-aB3xYz',
    'image rm localhost/buildkit-archive:00',
    'rm --force --volumes buildkit-archive-other',
  ]);
  expect(done).toEqual([
    'removed the container buildkit-archive-aB3xYz',
    'removed the image localhost/buildkit-archive:00 from docker',
    'removed the container buildkit-archive-other',
  ]);
});

test('a clean-up without docker, or with one that fails, is no error', async () => {
  const left = [
    {kind: 'container', name: 'buildkit-archive-x', image: 'localhost/buildkit-archive:00'},
  ] as const;
  standIn('echo "Cannot connect to the Docker daemon" >&2; exit 1');
  expect(await cleanUp(left)).toEqual([]);
  process.env.PATH = join(dir, 'nothing');
  expect(await cleanUp(left)).toEqual([]);
});

test('a port accepts connections, or does not', async () => {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  expect(await localSockets.accepts(port, 5_000)).toBe(true);
  await new Promise(resolve => server.close(resolve));
  expect(await localSockets.accepts(port, 5_000)).toBe(false);
});
