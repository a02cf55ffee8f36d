import {deflateRawSync} from 'node:zlib';
import {describe, expect, test} from '@jest/globals';
import {unpack, zstdFrameBytes} from '../../src/host/unpack.ts';

// printf 'hello hello hello hello\n' | zstd, version 1.5.4
const WITH_CHECKSUM = Buffer.from('28b52ffd04586d00003868656c6c6f200a0100994b11a87c2ea8', 'hex');

describe('deflate', () => {
  const text = Buffer.from('a cluster '.repeat(100));
  const packed = deflateRawSync(text);
  const unpacked = (bytes: Buffer, size = text.length) => unpack('deflate', bytes, size);

  test('whatever follows it', async () => {
    expect((await unpacked(packed)).equals(text)).toBe(true);
    expect((await unpacked(Buffer.concat([packed, Buffer.alloc(300, 1)]))).equals(text)).toBe(true);
  });

  test('more than a cluster, less, or nothing like it', async () => {
    await expect(unpacked(packed, 999)).rejects.toThrow();
    await expect(unpacked(packed, 1001)).rejects.toThrow(/holds 1000 bytes in place of 1001/);
    await expect(unpacked(packed.subarray(0, 10))).rejects.toThrow(/in place of 1000/);
    await expect(unpacked(Buffer.alloc(100, 0xff))).rejects.toThrow();
  });
});

describe('zstd', () => {
  /** Magic, a header for a window of 1 KiB, and blocks: raw ones by their bytes, runs by `[byte, count]`. */
  function frame(
    blocks: readonly (Buffer | readonly [number, number])[],
    {hasChecksum = false} = {},
  ): Buffer {
    const parts = blocks.map((block, index) => {
      const isLast = index === blocks.length - 1 ? 1 : 0;
      const [type, size] = Buffer.isBuffer(block) ? [0, block.length] : [1, block[1]];
      const header = Buffer.alloc(3);
      header.writeUIntLE((size << 3) | (type << 1) | isLast, 0, 3);
      return Buffer.concat([header, Buffer.isBuffer(block) ? block : Buffer.from([block[0]])]);
    });
    const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, hasChecksum ? 4 : 0, 0x58]);
    return Buffer.concat([head, ...parts, Buffer.alloc(hasChecksum ? 4 : 0)]);
  }
  const simple = frame([Buffer.from('abc'), [0x64, 1000]]);

  test.each<[string, Buffer]>([
    ['raw and repeated blocks', simple],
    ['a checksum', frame([Buffer.from('abc')], {hasChecksum: true})],
    ['what zstd writes', WITH_CHECKSUM],
  ])('the length of a frame, whatever follows it: %s', (_name, bytes) => {
    expect(zstdFrameBytes(bytes)).toBe(bytes.length);
    expect(zstdFrameBytes(Buffer.concat([bytes, bytes, Buffer.alloc(9, 1)]))).toBe(bytes.length);
  });

  test('its content, whatever follows it', async () => {
    const follows = Buffer.concat([simple, Buffer.alloc(20, 0x28)]);
    expect((await unpack('zstd', follows, 1003)).toString()).toBe(`abc${'d'.repeat(1000)}`);
    const text = 'hello hello hello hello\n';
    expect((await unpack('zstd', Buffer.concat([WITH_CHECKSUM, simple]), text.length)).toString()).toBe(text);
  });

  test.each<[string, Buffer, number]>([
    ['less than a cluster', simple, 1004],
    ['more than a cluster', simple, 1002],
    ['far more than a cluster', frame(Array.from({length: 100}, () => [1, 128 * 1024] as const)), 65_536],
    ['cut off', simple.subarray(0, -1), 1003],
    ['cut off in a header', simple.subarray(0, 7), 1003],
    ['no frame', Buffer.alloc(100, 1), 1003],
    ['nothing', Buffer.alloc(0), 1003],
  ])('fails: %s', async (_name, bytes, size) => {
    await expect(unpack('zstd', bytes, size)).rejects.toThrow();
  });
});
