import {describe, expect, test} from '@jest/globals';
import {partitions} from '../../src/disk/partitions.ts';
import {diskOfBytes, tableOf} from '../support/boot-disk.ts';

const MIB = 1024 ** 2;

function disk(bytes: Buffer, sizeBytes = 4 * MIB): Buffer {
  const all = Buffer.alloc(sizeBytes);
  bytes.copy(all);
  // What tells the parts from each other.
  for (let at = MIB; at < sizeBytes; at += MIB) all.writeUInt32LE(at, at);
  return all;
}

async function found(bytes: Buffer): Promise<[startBytes: number, sizeBytes: number][]> {
  const parts = await partitions(diskOfBytes(bytes));
  return Promise.all(
    parts.map(async part => [(await part.read(0, 4)).readUInt32LE(), part.sizeBytes] as [number, number]),
  );
}

describe('partitions', () => {
  test.each(['mbr', 'gpt'] as const)('of an %s', async kind => {
    expect(await found(disk(tableOf(kind, [MIB, 2 * MIB], MIB, 4 * MIB)))).toEqual([
      [MIB, MIB],
      [2 * MIB, MIB],
    ]);
  });

  test('a disk without a table is one', async () => {
    expect(await found(disk(Buffer.alloc(0)))).toEqual([[0, 4 * MIB]]);
  });

  test.each<[string, (table: Buffer) => void]>([
    ['an extended partition', table => table.writeUInt8(5, 446 + 4)],
    ['an unused entry', table => table.writeUInt8(0, 446 + 4)],
    ['one that is not within the disk', table => table.writeUInt32LE(0xffffff, 446 + 12)],
    ['an empty one', table => table.writeUInt32LE(0, 446 + 12)],
    ['one that begins with the table', table => table.writeUInt32LE(0, 446 + 8)],
  ])('%s is left out', async (_name, change) => {
    const table = tableOf('mbr', [MIB, 2 * MIB], MIB, 4 * MIB);
    change(table);
    expect(await found(disk(table))).toEqual([[2 * MIB, MIB]]);
  });

  test.each<[string, (table: Buffer) => void]>([
    ['no header', table => void table.write('xxx', 512)],
    ['entries of no size', table => table.writeUInt32LE(1, 512 + 84)],
  ])('a GPT with %s has none', async (_name, change) => {
    const table = tableOf('gpt', [MIB], MIB, 4 * MIB);
    change(table);
    expect(await found(disk(table))).toEqual([]);
  });

  test('a GPT that lies about its entries is an error, and one with many is not read to the end', async () => {
    const table = tableOf('gpt', [MIB], MIB, 4 * MIB);
    table.writeBigUInt64LE(1n << 60n, 512 + 72);
    await expect(found(disk(table))).rejects.toThrow('beyond its end');
    table.writeBigUInt64LE(2n, 512 + 72);
    table.writeUInt32LE(0xffffffff, 512 + 80);
    expect((await found(disk(table)))[0]).toEqual([MIB, MIB]);
  });

  test('nothing is read beside a partition', async () => {
    const [part] = await partitions(diskOfBytes(disk(tableOf('mbr', [MIB], MIB, 4 * MIB))));
    await expect(part?.read(-1, 4)).rejects.toThrow(/partition has 1048576 bytes/);
    await expect(part?.read(MIB - 1, 2)).rejects.toThrow(/partition has 1048576 bytes/);
  });

  test('a disk that holds nothing has none', async () => expect(await found(Buffer.alloc(0))).toEqual([]));
});
