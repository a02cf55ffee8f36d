/**
 * The command agent's protocol. Both ends begin with a greeting, `BKAGENT1` and 16 random bytes of the host's, so that what an earlier host has left on the line is
 * told from what is meant for this one. Frames follow: u32 length of the rest, u8 type, u32 channel, payload; big-endian. What goes to the agent ends in a
 * tag, the first bytes of the greeting's random ones: half a frame of an earlier host, filled up by what follows, is then no frame.
 */
export const GREETING_MAGIC = Buffer.from('BKAGENT1', 'latin1');
export const NONCE_BYTES = 16;
export const TAG_BYTES = 4;
const HEADER_BYTES = 9;
/** Bytes of a payload. */
export const CHUNK_BYTES = 32 * 1024;
/** A frame that claims more is none. */
export const MAX_FRAME_BYTES = CHUNK_BYTES + 1024;
/** Bytes of a stream that may be under way before the receiver has asked for more. */
export const WINDOW_BYTES = 256 * 1024;

/** Host → agent. */
export const TO_AGENT = {
  words: 0,
  exec: 1,
  stdin: 2,
  stdinEnd: 3,
  stop: 4,
  grant: 5,
  wake: 6,
  ping: 7,
} as const;
/** Agent → host. */
export const FROM_AGENT = {exit: 129, stdout: 130, stderr: 131, credit: 132, woken: 133, pong: 134} as const;

export interface Frame {
  readonly type: number;
  readonly channel: number;
  readonly payload: Buffer;
}

export function greeting(nonce: Buffer): Buffer {
  return Buffer.concat([GREETING_MAGIC, nonce]);
}

/** What completes any frame that an earlier host has left half done, and is none itself. */
export const PADDING = Buffer.alloc(MAX_FRAME_BYTES + 4);

/** A frame for the agent that was greeted with `nonce`. */
export function encodeFrame(
  nonce: Buffer,
  {type, channel, payload}: {type: number; channel: number; payload?: Buffer | string},
): Buffer {
  const body = Buffer.from((payload ?? '') as Buffer);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(HEADER_BYTES - 4 + body.length + TAG_BYTES, 0);
  header.writeUInt8(type, 4);
  header.writeUInt32BE(channel, 5);
  return Buffer.concat([header, body, nonce.subarray(0, TAG_BYTES)]);
}

/**
 * The number of words, the words, and assignments, with NUL between them; in pieces, all but the last of which go as `words`, and that as `exec`.
 * @throws RangeError on a NUL within one.
 */
export function encodeCommand(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): readonly Buffer[] {
  const words = [...argv, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)];
  if (argv.length === 0) throw new RangeError('a command needs at least one word');
  if (words.some(word => word.includes('\0'))) throw new RangeError('an argument cannot hold a NUL byte');
  const bytes = Buffer.from([String(argv.length), ...words].join('\0'), 'utf8');
  return Array.from({length: Math.ceil(bytes.length / CHUNK_BYTES)}, (_, i) =>
    bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES),
  );
}

/** Cuts what comes from the agent into frames; what stands before its greeting is left out. */
export class FrameReader {
  readonly #greeting: Buffer;
  #buffer: Buffer = Buffer.alloc(0);
  #greeted = false;

  constructor(nonce: Buffer) {
    this.#greeting = greeting(nonce);
  }

  get greeted(): boolean {
    return this.#greeted;
  }

  /** @throws when the bytes cannot be frames. */
  *read(chunk: Buffer): Generator<Frame> {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    if (!this.#greeted) {
      const at = this.#buffer.indexOf(this.#greeting);
      if (at < 0) {
        this.#buffer = this.#buffer.subarray(-this.#greeting.length);
        return;
      }
      this.#greeted = true;
      this.#buffer = this.#buffer.subarray(at + this.#greeting.length);
    }
    while (this.#buffer.length >= HEADER_BYTES) {
      const length = this.#buffer.readUInt32BE(0);
      if (length < HEADER_BYTES - 4 || length > MAX_FRAME_BYTES)
        throw new Error(`the agent sent a frame of ${length} bytes`);
      const end = 4 + length;
      if (this.#buffer.length < end) return;
      const frame = {
        type: this.#buffer.readUInt8(4),
        channel: this.#buffer.readUInt32BE(5),
        payload: this.#buffer.subarray(HEADER_BYTES, end),
      };
      this.#buffer = this.#buffer.subarray(end);
      yield frame;
    }
  }
}
