import {Readable, Writable} from 'node:stream';
import type {RunOptions} from '../base/ports.ts';

const OUTPUT_LIMIT_BYTES = 1024 * 1024;

/** A promise that only ever rejects, with `promise`'s reason. */
export function failureOf(promise: Promise<unknown>): Promise<never> {
  return new Promise((_, reject) => promise.catch(reject));
}

/** Hands each chunk to `handler` and does not read on before its promise is settled. */
export function drain(stream: Readable, handler: RunOptions['onStdout']): Promise<void> {
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      Promise.resolve(handler?.(chunk)).then(() => done(), done);
    },
  });
  return new Promise((resolve, reject) => {
    sink.once('error', reject);
    sink.once('finish', resolve);
    stream.once('end', () => sink.end());
    stream.once('close', () => sink.end());
    stream.pipe(sink, {end: false});
  });
}

export function sourceOf(stdin: RunOptions['stdin']): Readable {
  return stdin instanceof Readable ? stdin : Readable.from(stdin === undefined ? [] : [stdin]);
}

/** A command that ends before it has read everything says so by its exit status. */
export function ignoreBrokenPipe(error: NodeJS.ErrnoException): void {
  if (!['EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE'].includes(error.code ?? '')) throw error;
}

export async function feed(channel: Writable, stdin: RunOptions['stdin']): Promise<void> {
  if (stdin === undefined) return void channel.end();
  const source = sourceOf(stdin);
  let failure: unknown;
  await new Promise<void>((resolve, reject) => {
    source.once('error', error => {
      failure = error;
      reject(error);
    });
    source.once('end', resolve);
    // A command that ends before it has read everything says so by its exit status.
    channel.once('close', resolve);
    source.pipe(channel);
  });
  if (failure === undefined) source.destroy();
}

export function writeTo(stream: Writable, chunk: Buffer): void | Promise<void> {
  if (stream.destroyed) throw new Error('the receiver of the file is gone');
  if (stream.write(chunk)) return;
  return new Promise((resolve, reject) => {
    stream.once('drain', resolve);
    stream.once('close', () => reject(new Error('the receiver of the file is gone')));
  });
}

export class Collector {
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  add(chunk: Buffer): void {
    if (this.#bytes >= OUTPUT_LIMIT_BYTES) return;
    this.#chunks.push(chunk.subarray(0, OUTPUT_LIMIT_BYTES - this.#bytes));
    this.#bytes += chunk.length;
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString('utf8');
  }
}
