import {Readable, Writable} from 'node:stream';
import type {Exit} from '../base/ports.ts';
import {CHUNK_BYTES, TO_AGENT, WINDOW_BYTES} from './agent-frames.ts';

/** Sends a frame of one channel. */
export type SendFrame = (type: number, payload?: Buffer | string) => void;

/** One command on the line to the agent: its streams, each with a window of its own so that none holds up another, and its end. */
export class AgentChannel {
  readonly stdout: Inflow;
  readonly stderr: Inflow;
  readonly stdin: Outflow;
  readonly exit: Promise<Exit>;
  #settle: {resolve: (exit: Exit) => void; reject: (error: Error) => void} | undefined;

  constructor(send: SendFrame) {
    const grant =
      (stream: number) =>
      (bytes: number): void => {
        const payload = Buffer.alloc(5);
        payload.writeUInt8(stream, 0);
        payload.writeUInt32BE(bytes, 1);
        send(TO_AGENT.grant, payload);
      };
    this.stdout = new Inflow(grant(1));
    this.stderr = new Inflow(grant(2));
    this.stdin = new Outflow(
      chunk => send(TO_AGENT.stdin, chunk),
      () => send(TO_AGENT.stdinEnd),
    );
    this.exit = new Promise((resolve, reject) => {
      this.#settle = {resolve, reject};
    });
    this.exit.catch(() => undefined);
  }

  ended(exit: Exit): void {
    this.#close();
    this.#settle?.resolve(exit);
  }

  fail(error: Error): void {
    this.#settle?.reject(error);
    this.#close();
  }

  /** Nobody wants what still comes from it. */
  abandon(): void {
    this.stdout.discard();
    this.stderr.discard();
    this.stdin.destroy();
  }

  #close(): void {
    this.stdout.push(null);
    this.stderr.push(null);
    this.stdin.destroy();
  }
}

/** What comes from a command: more is asked for as it is consumed. */
class Inflow extends Readable {
  readonly #grant: (bytes: number) => void;
  #received = 0;
  #allowedBytes = WINDOW_BYTES;
  #isDiscarded = false;

  constructor(grant: (bytes: number) => void) {
    super({highWaterMark: CHUNK_BYTES});
    this.#grant = grant;
  }

  /** @throws when it is more than was asked for. */
  receive(bytes: Buffer): void {
    this.#allowedBytes -= bytes.length;
    if (this.#allowedBytes < 0) throw new Error('the agent sent more than it was asked for');
    this.#received += bytes.length;
    if (this.#isDiscarded) this.#ask();
    else this.push(bytes);
  }

  discard(): void {
    this.#isDiscarded = true;
    this.#ask();
  }

  override _read(): void {
    this.#ask();
  }

  #ask(): void {
    if (this.#received === 0) return;
    this.#allowedBytes += this.#received;
    this.#grant(this.#received);
    this.#received = 0;
  }
}

/** What goes to a command: no more than it has asked for. */
class Outflow extends Writable {
  readonly #send: (chunk: Buffer) => void;
  readonly #end: () => void;
  #allowedBytes = WINDOW_BYTES;
  #waiting: (() => void) | undefined;

  constructor(send: (chunk: Buffer) => void, end: () => void) {
    super({highWaterMark: CHUNK_BYTES});
    this.#send = send;
    this.#end = end;
  }

  /** @throws when it asks for more than its window holds. */
  allow(bytes: number): void {
    this.#allowedBytes += bytes;
    if (this.#allowedBytes > WINDOW_BYTES) throw new Error('the agent asked for more than its window holds');
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error) => void): void {
    const size = Math.min(chunk.length, this.#allowedBytes, CHUNK_BYTES);
    if (size > 0) {
      this.#send(chunk.subarray(0, size));
      this.#allowedBytes -= size;
    }
    const rest = chunk.subarray(size);
    const more = (): void => this._write(rest, encoding, done);
    if (rest.length === 0) done();
    else if (this.#allowedBytes > 0) setImmediate(more);
    else this.#waiting = more;
  }

  override _final(done: () => void): void {
    this.#end();
    done();
  }
}
