import {promisify} from 'node:util';
import zlib from 'node:zlib';
import {decompress} from 'fzstd';
import type {Unpack} from '../base/disk.ts';

type ZstdDecompress = (
  packed: Buffer,
  options: {maxOutputLength: number},
  done: (error: Error | null, bytes: Buffer) => void,
) => void;

const inflateRaw = promisify(zlib.inflateRaw);
/** Node.js has it since 22.15 and 23.8. */
const {zstdDecompress} = zlib as unknown as {readonly zstdDecompress?: ZstdDecompress};
const nativeZstd = zstdDecompress && promisify(zstdDecompress);

/** On libuv's threads, so that several go on at once; zstd in JavaScript on a Node.js that has none. */
export const unpack: Unpack = async (packing, packed, sizeBytes) => {
  const bytes = await (packing === 'zstd' ? unzstd(packed, sizeBytes) : inflated(packed, sizeBytes));
  if (bytes.length !== sizeBytes)
    throw new Error(`a compressed cluster holds ${bytes.length} bytes in place of ${sizeBytes}`);
  return bytes;
};

/** qcow2's last sector may be cut off behind the stream's end, and QEMU asks for no end marker either. */
function inflated(packed: Buffer, sizeBytes: number): Promise<Buffer> {
  return inflateRaw(packed, {finishFlush: zlib.constants.Z_SYNC_FLUSH, maxOutputLength: sizeBytes});
}

async function unzstd(packed: Buffer, sizeBytes: number): Promise<Buffer> {
  const frame = packed.subarray(0, zstdFrameBytes(packed));
  return nativeZstd ? nativeZstd(frame, {maxOutputLength: sizeBytes}) : Buffer.from(decompress(frame));
}

/** Each holds at most 128 KiB, and an encoder fills them: the largest cluster takes 16. */
const MAX_BLOCKS = 64;

/**
 * Length of the frame that a buffer begins with (RFC 8878, 3.1.1); others may follow it.
 * @throws when there is none, or it has more blocks than a cluster can need.
 */
export function zstdFrameBytes(bytes: Buffer): number {
  if (bytes.length < 5 || bytes.readUInt32LE(0) !== 0xfd2fb528) throw new Error('this is no zstd frame');
  const descriptor = bytes.readUInt8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const contentSizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  let at = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes + contentSizeBytes;
  for (let blocks = 0; blocks < MAX_BLOCKS; blocks++) {
    if (at + 3 > bytes.length) throw new Error('a zstd frame is cut off');
    const header = bytes.readUIntLE(at, 3);
    const isRunLength = ((header >> 1) & 3) === 1;
    at += 3 + (isRunLength ? 1 : header >> 3);
    if ((header & 1) === 0) continue;
    at += descriptor & 4;
    if (at > bytes.length) throw new Error('a zstd frame is cut off');
    return at;
  }
  throw new Error(`a zstd frame has more than ${MAX_BLOCKS} blocks`);
}
