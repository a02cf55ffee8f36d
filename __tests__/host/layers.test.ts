import {existsSync, mkdtempSync, readdirSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import type {LayerBlob} from '../../src/base/ports.ts';
import {localImages} from '../../src/host/images.ts';
import {type MadeLayer, makeLayer, noise} from '../support/registry-images.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'layers-test-'));
});
afterEach(() => rmSync(dir, {recursive: true, force: true}));

/** A layer whose source gives its first bytes and breaks after so many turns of the event loop. */
function broken({blob, digest, diffId}: MadeLayer, turns: number): LayerBlob {
  const chunks = async function* (): AsyncGenerator<Buffer, void, undefined> {
    yield blob.subarray(0, 100_000);
    for (let i = 0; i < turns; i++) await new Promise(resolve => setImmediate(resolve));
    throw new Error('the source broke');
  };
  return {digest, diffId, open: async () => Readable.from(chunks())};
}

describe('a source that breaks ends the work, wherever that is', () => {
  const {signal} = new AbortController();
  const turns = Array.from({length: 40}, (_, i) => i);

  test('while a file is taken out', async () => {
    const layer = await makeLayer([{name: 'vm.qcow2', content: noise(300_000)}], 'none');
    for (const count of turns) {
      const dest = join(dir, `${count}`, 'vm.qcow2');
      const taking = localImages.extractFile(broken(layer, count), 'vm.qcow2', dest, signal);
      await expect(taking).rejects.toThrow('the source broke');
      expect(readdirSync(join(dir, `${count}`))).toEqual([]);
    }
  });

  test('while a root file system is unpacked', async () => {
    const layer = await makeLayer([{name: 'a/b/c/file', content: noise(300_000)}], 'none');
    for (const count of turns) {
      const dest = join(dir, `rootfs-${count}`);
      const unpacking = localImages.unpack([broken(layer, count)], dest, {skip: 'vm.qcow2', signal});
      await expect(unpacking).rejects.toThrow('the source broke');
      expect(existsSync(dest)).toBe(false);
    }
  });
});
