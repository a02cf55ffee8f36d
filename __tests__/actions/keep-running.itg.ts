import {execFileSync, spawn} from 'node:child_process';
import {existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync} from 'node:fs';
import {homedir, tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {BUSYBOX, commandLines, contextDir, diskOf, leftovers, planFor} from '../support/machine.ts';
import {Runner} from '../support/runner.ts';

let runner: Runner;
let tools: string;
beforeEach(() => {
  // The store that all tests share, where the runner keeps it: its machines need no boot.
  tools = mkdtempSync(join(tmpdir(), 'itg-tools-'));
  symlinkSync(planFor({}).archive.storeDir, join(tools, 'buildkit-archive'));
  runner = new Runner({tools});
});
afterEach(() => {
  runner.remove();
  rmSync(tools, {recursive: true});
});

const forwards = (): readonly string[] =>
  [...commandLines().values()].filter(line => line.includes('dist/forward.cjs'));

/** The very program that is in the archive: the forge keeps what it put there. */
function buildctl(): string {
  const cache =
    process.env.BUILDKIT_ARCHIVE_CACHE ??
    join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'buildkit-archive');
  const module = readdirSync(join(cache, 'forge')).find(name => name.startsWith('module-v0.20.2-'));
  const path = join(cache, 'forge', module ?? '', 'bin', 'buildctl');
  if (!existsSync(path)) throw new Error(`no ${path}: run scripts/itg.sh`);
  return path;
}

async function main(dockerfile: string, more: Record<string, string> = {}): Promise<string> {
  runner.start('main', {
    archive: diskOf('v0.20.2'),
    accelerator: 'tcg',
    context: contextDir({Dockerfile: dockerfile}),
    'keep-running': 'true',
    ...more,
  });
  const end = await runner.end();
  if (end.code !== 0) throw new Error(runner.log);
  return runner.fileCommands('output')['buildkit-host'] ?? '';
}

async function post(): Promise<string> {
  runner.log = '';
  runner.start('post');
  expect(await runner.end()).toEqual({code: 0, signal: null});
  return runner.log;
}

test('a later step builds on the BuildKit of the VM, with several clients at once; post ends it all', async () => {
  const host = await main(`${BUSYBOX}RUN echo first > /first\n`);
  expect(host).toMatch(/^unix:\/\/\/.*\/bka-.*\/buildkit\.sock$/);
  expect(statSync(dirname(host.slice('unix://'.length))).mode & 0o777).toBe(0o700);
  expect(leftovers().some(left => left.startsWith('process '))).toBe(true);
  expect(forwards()).toHaveLength(1);

  const dest = mkdtempSync(join(tmpdir(), 'itg-later-'));
  const context = contextDir({Dockerfile: `${BUSYBOX}RUN echo first > /first\nRUN echo later > /later\n`});
  const flags = ['--local', `context=${context}`, '--local', `dockerfile=${context}`];
  const build = spawn(
    buildctl(),
    [
      '--addr',
      host,
      'build',
      '--frontend=dockerfile.v0',
      ...flags,
      '--progress=plain',
      '--output',
      `type=local,dest=${dest}`,
    ],
    {stdio: ['ignore', 'inherit', 'pipe']},
  );
  let log = '';
  build.stderr.on('data', chunk => {
    log += chunk;
  });
  const ended = new Promise(resolve => build.once('close', resolve));
  expect(execFileSync(buildctl(), ['--addr', host, 'debug', 'workers'], {encoding: 'utf8'})).toContain(
    'linux/amd64',
  );
  expect([await ended, log.includes('CACHED')]).toEqual([0, true]);
  expect(readFileSync(join(dest, 'later'), 'utf8')).toBe('later\n');
  rmSync(dest, {recursive: true});

  const said = await post();
  expect(said).toMatch(/Cleaned up: .*ended the forward to BuildKit .*ended qemu-system-x86_64/);
  expect(leftovers()).toEqual([]);
  expect(forwards()).toEqual([]);
});

test('a failed build keeps the VM, too', async () => {
  const failing = `${BUSYBOX}RUN exit 3\n`;
  expect(await main(failing, {expect: 'failure'})).toMatch(/^unix:/);
  expect(forwards()).toHaveLength(1);
  await post();
  expect(leftovers()).toEqual([]);
  expect(forwards()).toEqual([]);
});

test('kill -9 of main in mid-build: the machine that would have gone on is ended by post', async () => {
  runner.start('main', {
    archive: diskOf('v0.20.2'),
    accelerator: 'tcg',
    context: contextDir({Dockerfile: `${BUSYBOX}RUN echo begun; sleep 600\n`}),
    'keep-running': 'true',
  });
  await runner.until(/^#\d+ \S+ begun$/m);
  runner.kill('SIGKILL');
  await runner.end();
  expect(await post()).toMatch(/Cleaned up: ended qemu-system-x86_64/);
  expect(leftovers()).toEqual([]);
});
