import {existsSync, mkdtempSync, readFileSync, rmSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {openLocalSession} from '../../src/host/local-session.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync('/tmp/bka-local-');
});
afterEach(() => rmSync(dir, {recursive: true, force: true}));

test('it sees the folder and where programs are, nothing else', async () => {
  process.env.SOME_TOKEN = 'secret';
  const {stdout} = await openLocalSession(dir).output(['env'], {env: {MORE: '1'}});
  delete process.env.SOME_TOKEN;
  const names = stdout.split('\n').map(line => line.split('=')[0]);
  expect(names.filter(name => name !== '').sort()).toEqual(['HOME', 'LANG', 'MORE', 'PATH', 'TMPDIR']);
  expect(stdout).toContain(`HOME=${dir}`);
});

test('files go in and out; a mode holds from the first byte', async () => {
  const session = openLocalSession(dir);
  await session.put('content', join(dir, 'file'), {mode: 0o600});
  expect(statSync(join(dir, 'file')).mode & 0o777).toBe(0o600);
  expect(readFileSync(join(dir, 'file'), 'utf8')).toBe('content');
  let read = '';
  await session.run(['cat', 'file'], {
    bulk: 'stdout',
    onStdout: chunk => {
      read += chunk.toString();
    },
  });
  expect(read).toBe('content');
});

test('exit codes, and a program that is not there', async () => {
  const session = openLocalSession(dir);
  expect(await session.run(['sh', '-c', 'exit 3'])).toEqual({code: 3, signal: undefined});
  const missing = await session.run(['/no/such/program']).catch((error: Error) => error);
  expect(missing instanceof Error ? missing.message : String(missing.code)).toMatch(/ENOENT|127/);
});

test.each(['cancel', 'close'])('%s ends a command with all that it has started', async how => {
  const session = openLocalSession(dir);
  const cancel = new AbortController();
  const script = 'sleep 600 & echo $! > child; trap "" TERM; echo ready; wait; sleep 600';
  let ready: () => void = () => undefined;
  const isReady = new Promise<void>(resolve => {
    ready = resolve;
  });
  const run = session.run(['sh', '-c', script], {signal: cancel.signal, onStdout: () => ready()});
  const ended = run.catch((error: Error) => error.name);
  await isReady;
  if (how === 'cancel') cancel.abort();
  else await session.close();
  expect(await ended).toEqual(how === 'cancel' ? 'CanceledError' : {code: undefined, signal: 'SIGKILL'});
  const pid = readFileSync(join(dir, 'child'), 'utf8').trim();
  expect(
    existsSync(`/proc/${pid}`) && !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')),
  ).toBe(false);
});
