import {Readable, Writable} from 'node:stream';
import type {Exit} from '../base/ports.ts';
import {encodeFrame, TO_AGENT, WINDOW_BYTES} from './agent-frames.ts';

const STDIN_CHUNK_BYTES = 32 * 1024;

/** One command on the line to the agent: its streams, each with a window of its own so that none holds up another, and its end. */
export class AgentChannel {
  readonly stdout: Inflow;
  readonly stderr: Inflow;
  readonly stdin: Outflow;
  readonly exit: Promise<Exit>;
  #settle: {resolve: (exit: Exit) => void; reject: (error: Error) => void} | undefined;

  constructor(id: number, send: (frame: Buffer) => void) {
    const grant =
      (stream: number) =>
      (bytes: number): void => {
        const payload = Buffer.alloc(5);
        payload.writeUInt8(stream, 0);
        payload.writeUInt32BE(bytes, 1);
        send(encodeFrame(TO_AGENT.grant, id, payload));
      };
    this.stdout = new Inflow(grant(1));
    this.stderr = new Inflow(grant(2));
    this.stdin = new Outflow(
      chunk => send(encodeFrame(TO_AGENT.stdin, id, chunk)),
      () => send(encodeFrame(TO_AGENT.stdinEnd, id)),
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

  constructor(grant: (bytes: number) => void) {
    super({highWaterMark: WINDOW_BYTES});
    this.#grant = grant;
  }

  receive(bytes: Buffer): void {
    this.#received += bytes.length;
    this.push(Buffer.from(bytes));
  }

  override _read(): void {
    if (this.#received === 0) return;
    this.#grant(this.#received);
    this.#received = 0;
  }
}

/** What goes to a command: no more than it has asked for. */
class Outflow extends Writable {
  readonly #send: (chunk: Buffer) => void;
  readonly #end: () => void;
  #credit = WINDOW_BYTES;
  #waiting: (() => void) | undefined;

  constructor(send: (chunk: Buffer) => void, end: () => void) {
    super({highWaterMark: STDIN_CHUNK_BYTES});
    this.#send = send;
    this.#end = end;
  }

  credit(bytes: number): void {
    this.#credit += bytes;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    const size = Math.min(chunk.length, this.#credit, STDIN_CHUNK_BYTES);
    if (size > 0) {
      this.#send(chunk.subarray(0, size));
      this.#credit -= size;
    }
    const rest = chunk.subarray(size);
    const more = (): void => this._write(rest, _encoding, done);
    if (rest.length === 0) done();
    else if (this.#credit > 0) setImmediate(more);
    else this.#waiting = more;
  }

  override _final(done: () => void): void {
    this.#end();
    done();
  }
}
