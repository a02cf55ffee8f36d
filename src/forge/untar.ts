import {UserError} from '../base/errors.ts';

/** A regular file found in a tar stream; `read` must be drained before the next entry comes. */
export interface FoundFile {
  readonly path: string;
  readonly sizeBytes: number;
  read(): AsyncGenerator<Buffer>;
}

const BLOCK_BYTES = 512;
// A path or a pax record set longer than this is no release tarball of anybody's.
const LONGEST_EXTENSION_BYTES = 64 * 1024;

/**
 * The regular files of an uncompressed tar stream (ustar, pax and GNU long names). Links, devices and folders
 * are passed over, so nothing here can lead a writer out of its folder.
 * @throws UserError when the stream is no tar, or ends early.
 */
export async function* filesOfTar(stream: AsyncIterable<Buffer>, name: string): AsyncGenerator<FoundFile> {
  const reader = new BlockReader(stream, name);
  let longName: string | undefined;
  for (;;) {
    const header = await reader.take(BLOCK_BYTES);
    if (!header || header.every(byte => byte === 0)) return;
    checkSum(header, name);
    const sizeBytes = sizeOf(header);
    const type = String.fromCharCode(header[156] ?? 0);
    if (type === 'L' || type === 'x') {
      if (sizeBytes > LONGEST_EXTENSION_BYTES) throw broken(name, 'an entry has an absurdly long name');
      const body = (await reader.take(sizeBytes)) ?? Buffer.alloc(0);
      await reader.skip(paddingOf(sizeBytes));
      longName = (type === 'L' ? text(body) : paxPath(body)) ?? longName;
      continue;
    }
    const path = longName ?? headerPath(header);
    longName = undefined;
    let leftBytes = sizeBytes;
    if (type === '0' || type === '\0') {
      yield {
        path,
        sizeBytes,
        async *read() {
          for await (const chunk of reader.chunks(sizeBytes)) {
            leftBytes -= chunk.length;
            yield chunk;
          }
        },
      };
    }
    await reader.skip(leftBytes + paddingOf(sizeBytes));
  }
}

/** Gives exact numbers of bytes from a stream of chunks. */
class BlockReader {
  readonly #source: AsyncIterator<Buffer>;
  readonly #name: string;
  #rest: Buffer = Buffer.alloc(0);

  constructor(stream: AsyncIterable<Buffer>, name: string) {
    this.#source = stream[Symbol.asyncIterator]();
    this.#name = name;
  }

  /** Exactly `bytes`; undefined at the clean end of the stream. */
  async take(bytes: number): Promise<Buffer | undefined> {
    const parts: Buffer[] = [];
    for await (const chunk of this.chunks(bytes, true)) parts.push(chunk);
    return parts.length === 0 && bytes > 0 ? undefined : Buffer.concat(parts);
  }

  async skip(bytes: number): Promise<void> {
    for await (const _ of this.chunks(bytes));
  }

  async *chunks(bytes: number, mayEnd = false): AsyncGenerator<Buffer> {
    let leftBytes = bytes;
    while (leftBytes > 0) {
      if (this.#rest.length === 0) {
        const next = await this.#source.next();
        if (next.done) {
          if (mayEnd && leftBytes === bytes) return;
          throw broken(this.#name, 'it ends in the middle of an entry');
        }
        this.#rest = next.value;
        continue;
      }
      const chunk = this.#rest.subarray(0, leftBytes);
      this.#rest = this.#rest.subarray(chunk.length);
      leftBytes -= chunk.length;
      yield chunk;
    }
  }
}

function checkSum(header: Buffer, name: string): void {
  const claimed = Number.parseInt(text(header.subarray(148, 156)).trim(), 8);
  const sum = header.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 0x20 : byte), 0);
  if (claimed !== sum) throw broken(name, 'a header has a wrong checksum');
}

function sizeOf(header: Buffer): number {
  const field = header.subarray(124, 136);
  if ((field[0] ?? 0) & 0x80) return Number(field.readBigUInt64BE(4));
  return Number.parseInt(text(field).trim() || '0', 8);
}

function headerPath(header: Buffer): string {
  const prefix = header.toString('latin1', 257, 262) === 'ustar' ? text(header.subarray(345, 500)) : '';
  const name = text(header.subarray(0, 100));
  return prefix ? `${prefix}/${name}` : name;
}

/** The `path` of a pax extended header: records of the form `LENGTH path=VALUE\n`. */
function paxPath(body: Buffer): string | undefined {
  return /^\d+ path=(.*)$/m.exec(body.toString('utf8'))?.[1];
}

function text(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.length : end);
}

function paddingOf(sizeBytes: number): number {
  return (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
}

function broken(name: string, what: string): UserError {
  return new UserError(`${name} is not a sound tar archive: ${what}`, {
    hint: 'give a BuildKit release tarball (buildkit-vX.Y.Z.linux-amd64.tar.gz); download it again if it was cut short',
    input: '--buildkit',
    stage: 'forge',
  });
}
