import {createHash, type Hash} from 'node:crypto';
import {createWriteStream} from 'node:fs';
import {rename, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {Transform} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import {createGzip} from 'node:zlib';
import type {Layer} from './oci.ts';

/** Root file systems shrink well; a compressed disk does not shrink at all, so it is only wrapped. */
export type GzipLevel = 0 | 6;

export interface WrittenLayer extends Layer {
  readonly blobPath: string;
}

/** Compresses an uncompressed tar stream into `dir`, named by its digest, and gives both digests. */
export async function writeLayer(
  tar: AsyncIterable<Buffer>,
  dir: string,
  level: GzipLevel,
  comment: string,
  signal?: AbortSignal,
): Promise<WrittenLayer> {
  const plain = createHash('sha256');
  const packed = createHash('sha256');
  const part = join(dir, `layer-${process.pid}-${Math.random().toString(36).slice(2)}.part`);
  const gzip = createGzip({level, chunkSize: 256 * 1024});
  const through = [tapped(plain), gzip, tapped(packed)] as const;
  await pipeline(tar, ...through, createWriteStream(part), signal ? {signal} : {});
  const digestHex = packed.digest('hex');
  const blobPath = join(dir, digestHex);
  await rename(part, blobPath);
  const {size} = await stat(blobPath);
  return {blobPath, digestHex, sizeBytes: size, diffIdHex: plain.digest('hex'), comment};
}

function tapped(hash: Hash): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
}
