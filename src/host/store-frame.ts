import {createHash} from 'node:crypto';
import {createReadStream} from 'node:fs';
import {readFile, stat, writeFile} from 'node:fs/promises';
import {Readable, Transform, type TransformCallback} from 'node:stream';
import type {TarFrames} from '../base/cache.ts';
import {isEndOfTar, paxRecords, readHeader, TAR_BLOCK_BYTES} from './store-tar.ts';

/** All bytes of a tar but those of one file's content. */
export interface TarFrame {
  readonly before: Buffer;
  readonly after: Buffer;
}

/** A layer that holds more than this beside its disk is not worth it. */
const MAX_FRAME_BYTES = 16 * 1024 * 1024;
const MAGIC = 'buildkit-archive tar frame 1';

export const tarFrames: TarFrames = {measure: measureFramed, tar: framedTar};

/**
 * Passes a tar through and keeps all of it but the content of the file `name`, so that the layer can be put together again from the file alone: to verify
 * it against the image's diffId, and to give the layer to docker, without keeping it twice.
 */
export class TarFrameCapture extends Transform {
  readonly #name: string;
  readonly #before: Buffer[] = [];
  readonly #after: Buffer[] = [];
  #keptBytes = 0;
  #found = false;
  #broken = false;
  /** Bytes of a header, or of a header's extension, that is not complete yet. */
  #pending = Buffer.alloc(0);
  #state: 'header' | 'extension' | 'content' | 'other' | 'end' = 'header';
  #leftBytes = 0;
  #paddingBytes = 0;
  #extensionType = '';
  /** Name and size from extensions, for the next entry. */
  #next: {name?: string; sizeBytes?: number} = {};

  constructor(name: string) {
    super();
    this.#name = name;
  }

  /** Undefined when the tar does not hold the file exactly once, or too much beside it. */
  frame(): TarFrame | undefined {
    if (!this.#found || this.#broken) return undefined;
    return {before: Buffer.concat(this.#before), after: Buffer.concat(this.#after)};
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    let rest = chunk;
    while (rest.length > 0 && !this.#broken) rest = rest.subarray(this.#take(rest));
    done(null, chunk);
  }

  /** Reads some bytes and says how many. */
  #take(bytes: Buffer): number {
    if (this.#state === 'header' || this.#state === 'extension') return this.#collect(bytes);
    if (this.#state === 'end') {
      this.#keep(bytes);
      return bytes.length;
    }
    if (this.#leftBytes > 0) {
      const taken = Math.min(this.#leftBytes, bytes.length);
      if (this.#state === 'other') this.#keep(bytes.subarray(0, taken));
      this.#leftBytes -= taken;
      if (this.#leftBytes === 0 && this.#paddingBytes === 0) this.#state = 'header';
      return taken;
    }
    const taken = Math.min(this.#paddingBytes, bytes.length);
    this.#keep(bytes.subarray(0, taken));
    this.#paddingBytes -= taken;
    if (this.#paddingBytes === 0) this.#state = 'header';
    return taken;
  }

  #collect(bytes: Buffer): number {
    const wantedBytes = this.#state === 'header' ? TAR_BLOCK_BYTES : this.#leftBytes + this.#paddingBytes;
    const taken = Math.min(wantedBytes - this.#pending.length, bytes.length);
    this.#pending = Buffer.concat([this.#pending, bytes.subarray(0, taken)]);
    if (this.#pending.length < wantedBytes) return taken;
    const whole = this.#pending;
    this.#pending = Buffer.alloc(0);
    this.#keep(whole);
    if (this.#state === 'header') this.#onHeader(whole);
    else this.#onExtension(whole.subarray(0, this.#leftBytes));
    return taken;
  }

  #onHeader(block: Buffer): void {
    if (isEndOfTar(block)) {
      this.#state = 'end';
      return;
    }
    const header = readHeader(block);
    const sizeBytes = this.#next.sizeBytes ?? header.sizeBytes;
    const name = (this.#next.name ?? header.name).replace(/^(\.?\/)+/, '');
    this.#leftBytes = sizeBytes;
    this.#paddingBytes = (TAR_BLOCK_BYTES - (sizeBytes % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES;
    if (['x', 'L', 'g', 'K'].includes(header.type)) {
      this.#leftBytes = header.sizeBytes;
      this.#paddingBytes = (TAR_BLOCK_BYTES - (header.sizeBytes % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES;
      this.#extensionType = header.type;
      this.#state = header.sizeBytes === 0 ? 'header' : 'extension';
      if (header.sizeBytes > MAX_FRAME_BYTES) this.#broken = true;
      return;
    }
    this.#next = {};
    const isFile = header.type === '0' || header.type === '\0' || header.type === '7';
    const isWanted = isFile && name === this.#name;
    if (isWanted && this.#found) this.#broken = true;
    if (isWanted) this.#found = true;
    this.#state = isWanted ? 'content' : 'other';
    // Links and folders may carry a size that stands for nothing (POSIX, pax Interchange Format).
    if (!isFile && header.type !== 'S') this.#leftBytes = this.#paddingBytes = 0;
    if (this.#leftBytes === 0) this.#state = 'header';
  }

  #onExtension(content: Buffer): void {
    if (this.#extensionType === 'L') this.#next.name = content.toString('utf8').replace(/\0.*$/s, '');
    if (this.#extensionType === 'x') {
      const {path, size} = paxRecords(content);
      if (path !== undefined) this.#next.name = path;
      if (size !== undefined) this.#next.sizeBytes = Number(size);
    }
    this.#leftBytes = this.#paddingBytes = 0;
    this.#state = 'header';
  }

  #keep(bytes: Buffer): void {
    if (this.#broken || bytes.length === 0) return;
    this.#keptBytes += bytes.length;
    this.#broken = this.#keptBytes > MAX_FRAME_BYTES;
    // A copy: the chunk belongs to the stream, and a view would keep all of it alive.
    (this.#found ? this.#after : this.#before).push(Buffer.from(bytes));
  }
}

/** Writes a frame as a file: one line that says how long its two parts are, then the parts. */
export async function writeFrame(path: string, {before, after}: TarFrame): Promise<void> {
  await writeFile(
    path,
    Buffer.concat([Buffer.from(`${MAGIC} ${before.length} ${after.length}\n`), before, after]),
  );
}

/** @throws when it is no frame, or not a whole one. */
export async function readFrame(path: string): Promise<TarFrame> {
  if ((await stat(path)).size > MAX_FRAME_BYTES + 256)
    throw new Error(`${path} is too large for a tar's frame`);
  const bytes = await readFile(path);
  const lineEnd = bytes.indexOf(0x0a);
  const match = new RegExp(`^${MAGIC} (\\d{1,9}) (\\d{1,9})$`).exec(
    bytes.toString('latin1', 0, Math.max(0, lineEnd)),
  );
  const [beforeBytes, afterBytes] = [Number(match?.[1]), Number(match?.[2])];
  if (!match || bytes.length !== lineEnd + 1 + beforeBytes + afterBytes) {
    throw new Error(`${path} is no tar's frame, or not a whole one`);
  }
  const middle = lineEnd + 1 + beforeBytes;
  return {before: bytes.subarray(lineEnd + 1, middle), after: bytes.subarray(middle)};
}

/** The tar that `frame` and the file at `filePath` stand for, as a stream. */
export function openFramedTar(frame: TarFrame, filePath: string): Readable {
  return Readable.from(
    (async function* () {
      yield frame.before;
      yield* createReadStream(filePath, {highWaterMark: 1024 * 1024});
      yield frame.after;
    })(),
  );
}

async function framedTar(
  framePath: string,
  filePath: string,
): Promise<{sizeBytes: number; open(): Readable}> {
  const frame = await readFrame(framePath);
  const {size} = await stat(filePath);
  return {
    sizeBytes: frame.before.length + size + frame.after.length,
    open: () => openFramedTar(frame, filePath),
  };
}

async function measureFramed(
  framePath: string,
  filePath: string,
  signal?: AbortSignal,
): Promise<{tarDigest: string; contentDigest: string; sizeBytes: number}> {
  const {before, after} = await readFrame(framePath);
  const [tar, content] = [createHash('sha256'), createHash('sha256')];
  let sizeBytes = 0;
  tar.update(before);
  for await (const chunk of createReadStream(filePath, {
    highWaterMark: 1024 * 1024,
    ...(signal && {signal}),
  })) {
    tar.update(chunk);
    content.update(chunk);
    sizeBytes += chunk.length;
  }
  tar.update(after);
  return {
    tarDigest: `sha256:${tar.digest('hex')}`,
    contentDigest: `sha256:${content.digest('hex')}`,
    sizeBytes,
  };
}
