/**
 * The command agent's protocol. Both ends begin with a greeting, `BKAGENT1` and 16 random bytes of the host's, so that what an earlier host has left on the line is
 * told from what is meant for this one. Frames follow: u32 length of the rest, u8 type, u32 channel, payload; big-endian.
 */
export const GREETING_MAGIC = Buffer.from('BKAGENT1', 'latin1');
export const NONCE_BYTES = 16;
const HEADER_BYTES = 9;
/** A frame that claims more is none. */
const MAX_FRAME_BYTES = 4 * 1024 ** 2;
/** Bytes of a stream that may be under way before the receiver has asked for more. */
export const WINDOW_BYTES = 256 * 1024;

/** Host → agent. */
export const TO_AGENT = {exec: 1, stdin: 2, stdinEnd: 3, signal: 4, grant: 5, wake: 6, ping: 7} as const;
/** Agent → host. */
export const FROM_AGENT = {exit: 129, stdout: 130, stderr: 131, credit: 132, woken: 133, pong: 134} as const;

export interface Frame {
  readonly type: number;
  readonly channel: number;
  readonly payload: Buffer;
}

export function encodeFrame(type: number, channel: number, payload: Buffer | string = ''): Buffer {
  const body = Buffer.from(payload as Buffer);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(body.length + 5, 0);
  header.writeUInt8(type, 4);
  header.writeUInt32BE(channel, 5);
  return Buffer.concat([header, body]);
}

/** Payload of `exec`: the number of words, the words, and assignments, with NUL between them. @throws RangeError on a NUL within one. */
export function encodeCommand(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Buffer {
  const words = [...argv, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)];
  if (argv.length === 0) throw new RangeError('a command needs at least one word');
  if (words.some(word => word.includes('\0'))) throw new RangeError('an argument cannot hold a NUL byte');
  return Buffer.from([String(argv.length), ...words].join('\0'), 'utf8');
}

/** Cuts what comes from the agent into frames; what stands before its greeting is left out. */
export class FrameReader {
  readonly #greeting: Buffer;
  #buffer = Buffer.alloc(0);
  #greeted = false;

  constructor(nonce: Buffer) {
    this.#greeting = Buffer.concat([GREETING_MAGIC, nonce]);
  }

  get greeted(): boolean {
    return this.#greeted;
  }

  /** @throws when the bytes cannot be frames. */
  *read(chunk: Buffer): Generator<Frame> {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    if (!this.#greeted) {
      const at = this.#buffer.indexOf(this.#greeting);
      if (at < 0) {
        this.#buffer = this.#buffer.subarray(-this.#greeting.length);
        return;
      }
      this.#greeted = true;
      this.#buffer = this.#buffer.subarray(at + this.#greeting.length);
    }
    let offset = 0;
    while (this.#buffer.length - offset >= HEADER_BYTES) {
      const length = this.#buffer.readUInt32BE(offset);
      if (length < 5 || length > MAX_FRAME_BYTES)
        throw new Error(`the agent sent a frame of ${length} bytes`);
      if (this.#buffer.length - offset < 4 + length) break;
      yield {
        type: this.#buffer.readUInt8(offset + 4),
        channel: this.#buffer.readUInt32BE(offset + 5),
        payload: this.#buffer.subarray(offset + HEADER_BYTES, offset + 4 + length),
      };
      offset += 4 + length;
    }
    this.#buffer = this.#buffer.subarray(offset);
  }
}
