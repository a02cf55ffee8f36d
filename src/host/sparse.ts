import {type FileHandle, open} from 'node:fs/promises';
import {Writable} from 'node:stream';
import type {DiskBudget} from './layer-limits.ts';

const BLOCK_BYTES = 64 * 1024;
const ZEROS = Buffer.alloc(BLOCK_BYTES);

/** Writes a file and leaves holes where whole blocks are zero. */
export class SparseWriter extends Writable {
  readonly #path: string;
  #file: FileHandle | undefined;
  readonly #budget: DiskBudget | undefined;
  #offset = 0;

  /** @param budget Is asked before bytes are written; holes cost nothing. */
  constructor(path: string, budget?: DiskBudget) {
    super({highWaterMark: 4 * BLOCK_BYTES});
    this.#path = path;
    this.#budget = budget;
  }

  override _construct(done: (error?: Error | null) => void): void {
    open(this.#path, 'wx', 0o644).then(file => {
      this.#file = file;
      done();
    }, done);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#put(chunk).then(() => done(), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    // A hole at the end has no byte that would set the length.
    this.#handle()
      .truncate(this.#offset)
      .then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const closed = this.#file ? this.#file.close() : Promise.resolve();
    closed.then(() => done(error), done);
  }

  async #put(chunk: Buffer): Promise<void> {
    for (let start = 0; start < chunk.length; ) {
      // Blocks are aligned to the file, not to the chunks.
      const end = Math.min(chunk.length, start + BLOCK_BYTES - (this.#offset % BLOCK_BYTES));
      const block = chunk.subarray(start, end);
      if (!block.equals(ZEROS.subarray(0, block.length))) {
        this.#budget?.take(block.length);
        await this.#handle().write(block, 0, block.length, this.#offset);
      }
      this.#offset += block.length;
      start = end;
    }
  }

  #handle(): FileHandle {
    if (!this.#file) throw new Error('the file is not open');
    return this.#file;
  }
}
