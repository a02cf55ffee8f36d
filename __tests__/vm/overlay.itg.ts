import {execFileSync} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {expect, test} from '@jest/globals';
import {localFiles} from '../../src/host/files.ts';
import {emptyQcow2, virtualSize} from '../../src/vm/overlay.ts';

// QEMU's own tool is the judge.
test.each([1n << 20n, 10n << 30n, (10n << 30n) + 512n, 9n << 40n])(
  'an empty overlay of %s bytes',
  async bytes => {
    const dir = mkdtempSync(join(tmpdir(), 'itg-overlay-'));
    try {
      const path = join(dir, 'overlay.qcow2');
      writeFileSync(path, emptyQcow2(bytes));
      const check = JSON.parse(
        execFileSync('qemu-img', ['check', '--output=json', path], {encoding: 'utf8'}),
      );
      expect(check).toMatchObject({'check-errors': 0});
      expect(check.leaks ?? 0).toBe(0);
      expect(check.corruptions ?? 0).toBe(0);
      const info = JSON.parse(execFileSync('qemu-img', ['info', '--output=json', path], {encoding: 'utf8'}));
      expect(info['virtual-size']).toBe(Number(bytes));
      expect(info['backing-filename']).toBeUndefined();
      expect(await virtualSize(localFiles, path)).toBe(bytes);
      execFileSync('qemu-io', [
        '-c',
        `write -P 7 ${bytes - 512n} 512`,
        '-c',
        `read -P 7 ${bytes - 512n} 512`,
        path,
      ]);
    } finally {
      rmSync(dir, {recursive: true});
    }
  },
);
