import {spawn} from 'node:child_process';
import type {Transform, Writable} from 'node:stream';
import zlib from 'node:zlib';
import {UserError} from '../base/errors.ts';

/** Sixteen times the default: fewer trips to the thread pool and fewer, larger writes. */
const GUNZIP_CHUNK_BYTES = 256 * 1024;

/** Decompresses gzip (RFC 1952) and zstd (RFC 8878), told by their first bytes; anything else passes through. */
export async function* decompressed(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const iterator = source[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < 4) {
    const next = await iterator.next();
    if (next.done) break;
    head = Buffer.concat([head, next.value]);
  }
  const whole = (async function* () {
    if (head.length > 0) yield head;
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
  })();
  if (head[0] === 0x1f && head[1] === 0x8b)
    yield* through(whole, zlib.createGunzip({chunkSize: GUNZIP_CHUNK_BYTES}));
  else if (head.length >= 4 && head.readUInt32LE(0) === 0xfd2fb528) yield* unzstd(whole);
  else yield* whole;
}

async function* through(source: AsyncIterable<Buffer>, transform: Transform): AsyncGenerator<Buffer> {
  const fed = feed(source, transform);
  fed.catch(error => transform.destroy(error));
  yield* transform as AsyncIterable<Buffer>;
  await fed;
}

/** Writes everything; what comes behind the end of the compressed data is read, as it counts for the blob's digest, and dropped. */
async function feed(source: AsyncIterable<Buffer>, sink: Writable): Promise<void> {
  let isOver = false;
  const over = (): void => {
    isOver = true;
  };
  for (const event of ['end', 'close']) sink.once(event, over);
  for await (const chunk of source) {
    if (!isOver && !sink.write(chunk)) await drained(sink);
  }
  sink.end();
}

function drained(sink: Writable): Promise<void> {
  const events = ['drain', 'end', 'close'];
  return new Promise(resolve => {
    const done = (): void => {
      for (const event of events) sink.off(event, done);
      resolve();
    };
    for (const event of events) sink.once(event, done);
  });
}

/** Node has zstd from 22.15 on; before, the `zstd` program does it. */
async function* unzstd(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const create = (zlib as {createZstdDecompress?: () => Transform}).createZstdDecompress;
  if (create) {
    yield* through(source, create());
    return;
  }
  const child = spawn('zstd', ['-dcq'], {stdio: ['pipe', 'pipe', 'ignore']});
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', cause =>
      reject(
        new UserError('a layer of the image is compressed with zstd, which this Node.js cannot read', {
          input: 'archive',
          stage: 'archive',
          cause,
          hint: 'use Node.js 22.15 or newer, or install the program zstd',
        }),
      ),
    );
    child.once('close', code =>
      code === 0 ? resolve() : reject(new Error(`zstd ended with exit status ${code}`)),
    );
  });
  ended.catch(() => undefined);
  child.stdin.on('error', () => undefined);
  const fed = feed(source, child.stdin);
  fed.catch(() => child.kill());
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    await Promise.all([ended, fed]);
  } finally {
    child.kill();
  }
}
