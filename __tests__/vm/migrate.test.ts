import {spawn} from 'node:child_process';
import {chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {localPorts} from '../../src/host/local.ts';
import {saveState} from '../../src/vm/migrate.ts';
import type {Qmp} from '../../src/vm/qmp.ts';

const STATE = 'state '.repeat(50_000);
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "it's "));
});
afterEach(() => rmSync(dir, {recursive: true}));

/** A QEMU that hands its state to the real shell, and says `status` before anybody has written a byte. */
function qemu(status: string, cat = ''): Qmp {
  writeFileSync(join(dir, 'cat'), `#!/bin/sh\nsleep 0.2\n${cat || 'exec /bin/cat'}\n`);
  chmodSync(join(dir, 'cat'), 0o755);
  return {
    execute: async (command: string, args: {uri?: string} = {}) => {
      if (command === 'query-migrate') return {status, 'error-desc': 'Broken pipe'};
      const script = args.uri?.replace(/^exec:/, '') ?? '';
      const child = spawn('sh', ['-c', script], {
        stdio: ['pipe', 'ignore', 'ignore'],
        env: {...process.env, PATH: `${dir}:${process.env.PATH}`},
      });
      child.stdin.on('error', () => undefined).end(STATE);
      return {};
    },
  } as unknown as Qmp;
}

const save = (qmp: Qmp): Promise<void> =>
  saveState(qmp, localPorts, join(dir, 'state'), new AbortController().signal);

test('is through when the last byte is in the file', async () => {
  await save(qemu('completed'));
  expect(readFileSync(join(dir, 'state'), 'utf8')).toBe(STATE);
});

test.each(['completed', 'failed'])('a disk that is full, of which QEMU says %s', async status => {
  const full = 'head -c 100000; echo "cat: write error: No space left on device" >&2; exit 1';
  await expect(save(qemu(status, full))).rejects.toThrow(/device state .*No space left on device/);
  expect(['state', 'state.part'].filter(name => existsSync(join(dir, name)))).toEqual([]);
});

test('a migration that failed is none, whatever was written', async () => {
  await expect(save(qemu('failed'))).rejects.toThrow(/migration failed: Broken pipe/);
});
