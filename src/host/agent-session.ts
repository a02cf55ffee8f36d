import {randomBytes} from 'node:crypto';
import type {Socket} from 'node:net';
import {asCanceled, ConnectionLostError, messageOf} from '../base/errors.ts';
import type {AgentSession, Exit, RunOptions} from '../base/ports.ts';
import {AgentChannel} from './agent-channel.ts';
import {
  encodeCommand,
  encodeFrame,
  FROM_AGENT,
  type Frame,
  FrameReader,
  GREETING_MAGIC,
  NONCE_BYTES,
  TO_AGENT,
} from './agent-frames.ts';
import {CommandSession} from './command-session.ts';
import {signalName} from './signal-names.ts';
import {Stop} from './stop.ts';
import {drain, failureOf, feed} from './streams.ts';

/** A machine whose agent says nothing for so long is dead; it is asked in between. */
const SILENCE_LIMIT_MS = 14_000;
const PING_INTERVAL_MS = 3_500;
/** After a TERM signal a command gets this long before it is killed. */
const TERM_GRACE_MS = 1_000;
const ENTROPY_BYTES = 64;
const NO_CHANNEL = 0;

/** A session over the command agent, on a socket that QEMU holds. */
export class LocalAgentSession extends CommandSession implements AgentSession {
  readonly #socket: Socket;
  readonly #reader: FrameReader;
  readonly #greeted: Promise<void>;
  readonly #channels = new Map<number, AgentChannel>();
  readonly #timer: NodeJS.Timeout;
  #onGreeted: () => void = () => undefined;
  #onWoken: ((text: string) => void) | undefined;
  #nextId = 1;
  #lost: Error | undefined;
  #closing = false;
  #lastHeardMs = performance.now();
  #lastTickMs = performance.now();

  private constructor(socket: Socket) {
    super();
    this.#socket = socket;
    const nonce = randomBytes(NONCE_BYTES);
    this.#reader = new FrameReader(nonce);
    this.#greeted = new Promise(resolve => {
      this.#onGreeted = resolve;
    });
    socket.on('data', chunk => this.#read(chunk));
    socket.on('error', error => this.#lose(error));
    socket.on('close', () => this.#lose(new Error('the connection was closed')));
    this.#send(Buffer.concat([GREETING_MAGIC, nonce]));
    this.#timer = setInterval(() => this.#beat(), PING_INTERVAL_MS);
    this.#timer.unref();
  }

  /** Greets the agent behind a connected socket. @throws when it does not answer within `timeoutMs`; CanceledError. */
  static async open(
    socket: Socket,
    {timeoutMs, signal}: {timeoutMs: number; signal: AbortSignal},
  ): Promise<LocalAgentSession> {
    const session = new LocalAgentSession(socket);
    const stop = new Stop({timeoutMs, signal}, 'the greeting of the command agent', () => undefined);
    const off = session.#whenLost(() => undefined);
    try {
      await Promise.race([
        session.#greeted,
        stop.raised,
        new Promise<never>((_, reject) => session.#whenLost(reject)),
      ]);
      return session;
    } catch (error) {
      await session.close();
      throw error;
    } finally {
      stop.clear();
      off();
    }
  }

  async wake(): Promise<void> {
    const answer = new Promise<string>((resolve, reject) => {
      this.#onWoken = resolve;
      this.#whenLost(reject);
    });
    const payload = Buffer.alloc(8);
    const nowMs = Date.now();
    payload.writeUInt32BE(Math.floor(nowMs / 1000), 0);
    payload.writeUInt32BE((nowMs % 1000) * 1_000_000, 4);
    const entropy = randomBytes(ENTROPY_BYTES);
    this.#send(encodeFrame(TO_AGENT.wake, NO_CHANNEL, Buffer.concat([payload, entropy])));
    const text = await answer;
    if (text !== 'ok') throw new Error(text);
  }

  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    clearInterval(this.#timer);
    this.#socket.destroy();
    this.#lose(new Error('it was closed'));
  }

  protected async exec(argv: readonly string[], name: string, options: RunOptions): Promise<Exit> {
    if (options.signal?.aborted) throw asCanceled(options.signal);
    if (this.#lost) throw this.#lost;
    const id = this.#nextId++;
    const command = encodeCommand(argv, options.env);
    const channel = new AgentChannel(id, frame => this.#channels.has(id) && this.#send(frame));
    this.#channels.set(id, channel);
    const streams = [drain(channel.stdout, options.onStdout), drain(channel.stderr, options.onStderr)];
    const stop = new Stop(options, name, () => this.#terminate(id));
    this.#send(encodeFrame(TO_AGENT.exec, id, command));
    const fed = feed(channel.stdin, options.stdin);
    try {
      const done = await Promise.race([channel.exit, stop.raised, ...streams.map(failureOf), failureOf(fed)]);
      // All output first, then the result: a caller may use what the handlers gathered.
      await Promise.race([Promise.all(streams), stop.raised]);
      return done;
    } catch (error) {
      if (this.#channels.has(id)) this.#terminate(id);
      throw error;
    } finally {
      stop.clear();
      void Promise.allSettled([...streams, fed]);
    }
  }

  #terminate(id: number): void {
    this.#send(encodeFrame(TO_AGENT.signal, id, 'TERM'));
    setTimeout(() => {
      if (this.#channels.has(id)) this.#send(encodeFrame(TO_AGENT.signal, id, 'KILL'));
    }, TERM_GRACE_MS).unref();
    // What it still prints is of no interest, but must not fill the window.
    this.#channels.get(id)?.stdout.resume();
    this.#channels.get(id)?.stderr.resume();
  }

  #send(frame: Buffer): void {
    if (!this.#lost) this.#socket.write(frame);
  }

  #read(chunk: Buffer): void {
    this.#lastHeardMs = performance.now();
    try {
      for (const frame of this.#reader.read(chunk)) this.#take(frame);
      if (this.#reader.greeted) this.#onGreeted();
    } catch (error) {
      this.#socket.destroy();
      this.#lose(error as Error);
    }
  }

  #take({type, channel: id, payload}: Frame): void {
    if (type === FROM_AGENT.woken) this.#onWoken?.(payload.toString());
    const channel = this.#channels.get(id);
    if (!channel) return;
    if (type === FROM_AGENT.stdout) channel.stdout.receive(payload);
    else if (type === FROM_AGENT.stderr) channel.stderr.receive(payload);
    else if (type === FROM_AGENT.credit) channel.stdin.credit(payload.readUInt32BE(0));
    else if (type === FROM_AGENT.exit) {
      this.#channels.delete(id);
      const signal = payload.readUInt32BE(4);
      channel.ended(
        signal === 0
          ? {code: payload.readUInt32BE(0), signal: undefined}
          : {code: undefined, signal: signalName(signal)},
      );
    }
  }

  /** Asks whether it lives. A process of ours that was stopped itself gives it a new chance first. */
  #beat(): void {
    const nowMs = performance.now();
    const wasAsleep = nowMs - this.#lastTickMs > 2 * PING_INTERVAL_MS;
    this.#lastTickMs = nowMs;
    if (wasAsleep) this.#lastHeardMs = nowMs;
    if (nowMs - this.#lastHeardMs > SILENCE_LIMIT_MS) {
      this.#socket.destroy();
      this.#lose(new Error(`the command agent has said nothing for ${SILENCE_LIMIT_MS / 1000} s`));
      return;
    }
    this.#send(encodeFrame(TO_AGENT.ping, NO_CHANNEL));
  }

  #whenLost(listener: (error: Error) => void): () => void {
    if (this.#lost) listener(this.#lost);
    this.#onLost.add(listener);
    return () => this.#onLost.delete(listener);
  }
  readonly #onLost = new Set<(error: Error) => void>();

  #lose(cause: Error): void {
    if (this.#lost) return;
    clearInterval(this.#timer);
    this.#lost = this.#closing
      ? new Error("the command agent's session is closed")
      : new ConnectionLostError(`the connection to the VM's command agent is lost: ${messageOf(cause)}`, {
          cause,
        });
    for (const listener of this.#onLost) listener(this.#lost);
    this.#onLost.clear();
    for (const channel of this.#channels.values()) channel.fail(this.#lost);
    this.#channels.clear();
  }
}
