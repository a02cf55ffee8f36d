import {randomBytes} from 'node:crypto';
import type {Socket} from 'node:net';
import {asCanceled, ConnectionLostError, messageOf} from '../base/errors.ts';
import type {AgentSession, Exit, RunOptions} from '../base/ports.ts';
import {AgentChannel, type SendFrame} from './agent-channel.ts';
import {
  encodeCommand,
  encodeFrame,
  FROM_AGENT,
  type Frame,
  FrameReader,
  greeting,
  NONCE_BYTES,
  PADDING,
  TO_AGENT,
} from './agent-frames.ts';
import {CommandSession} from './command-session.ts';
import {signalName} from './signal-names.ts';
import {Stop} from './stop.ts';
import {drain, failureOf, feed} from './streams.ts';

/** A greeting without an answer may have been taken for the rest of what an earlier host has left half done. */
const GREET_AGAIN_MS = 500;
/** After a TERM signal a command's process group gets this long before it is killed. */
const TERM_GRACE_MS = 1_000;
const ENTROPY_BYTES = 64;
const NO_CHANNEL = 0;

/** A machine whose agent says nothing for `silenceLimitMs` is dead; it is asked every `pingIntervalMs`. */
export interface Heartbeat {
  readonly pingIntervalMs: number;
  readonly silenceLimitMs: number;
}
/** Together less than 15 s. */
const HEARTBEAT: Heartbeat = {pingIntervalMs: 2_500, silenceLimitMs: 12_000};

/** A session over the command agent, on a socket that QEMU holds. */
export class LocalAgentSession extends CommandSession implements AgentSession {
  readonly #socket: Socket;
  readonly #heartbeat: Heartbeat;
  readonly #channels = new Map<number, AgentChannel>();
  readonly #timers: NodeJS.Timeout[];
  /** Rejects when the link breaks. */
  readonly #broken: Promise<never>;
  readonly #greeted: Promise<void>;
  #break: (error: Error) => void = () => undefined;
  #onGreeted: () => void = () => undefined;
  #onWoken: (text: string) => void = () => undefined;
  #nonce = Buffer.alloc(0);
  #reader = new FrameReader(this.#nonce);
  #nextId = 1;
  #lost: Error | undefined;
  #closing = false;
  #lastHeardMs = performance.now();
  #lastBeatMs = performance.now();

  private constructor(socket: Socket, heartbeat: Heartbeat) {
    super();
    this.#socket = socket;
    this.#heartbeat = heartbeat;
    this.#greeted = new Promise(resolve => {
      this.#onGreeted = resolve;
    });
    this.#broken = new Promise((_, reject) => {
      this.#break = reject;
    });
    this.#broken.catch(() => undefined);
    socket.on('data', chunk => this.#read(chunk));
    socket.on('error', error => this.#lose(error));
    socket.on('close', () => this.#lose(new Error('the connection was closed')));
    this.#greet();
    this.#timers = [
      setInterval(() => this.#reader.greeted || this.#greet(PADDING), GREET_AGAIN_MS),
      setInterval(() => this.#beat(), heartbeat.pingIntervalMs),
    ];
  }

  /** Greets the agent behind a connected socket. @throws when it does not answer within `timeoutMs`; CanceledError. */
  static async open(
    socket: Socket,
    {timeoutMs, signal}: {timeoutMs: number; signal: AbortSignal},
    heartbeat = HEARTBEAT,
  ): Promise<LocalAgentSession> {
    const session = new LocalAgentSession(socket, heartbeat);
    const stop = new Stop({timeoutMs, signal}, 'the greeting of the command agent', () => undefined);
    try {
      if (signal.aborted) throw asCanceled(signal);
      await Promise.race([session.#greeted, stop.raised, session.#broken]);
      return session;
    } catch (error) {
      await session.close();
      throw error;
    } finally {
      stop.clear();
    }
  }

  async wake(): Promise<void> {
    const answer = new Promise<string>(resolve => {
      this.#onWoken = resolve;
    });
    const time = Buffer.alloc(8);
    const entropy = randomBytes(ENTROPY_BYTES);
    const nowMs = Date.now();
    time.writeUInt32BE(Math.floor(nowMs / 1000), 0);
    time.writeUInt32BE((nowMs % 1000) * 1_000_000, 4);
    this.#send(NO_CHANNEL, TO_AGENT.wake, Buffer.concat([time, entropy]));
    const text = await Promise.race([answer, this.#broken]);
    if (text !== 'ok') throw new Error(text);
  }

  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#socket.destroy();
    this.#lose(new Error('it was closed'));
  }

  protected async exec(argv: readonly string[], name: string, options: RunOptions): Promise<Exit> {
    if (options.signal?.aborted) throw asCanceled(options.signal);
    if (this.#lost) throw this.#lost;
    const command = encodeCommand(argv, options.env);
    const id = this.#nextId++;
    const send: SendFrame = (type, payload) => this.#channels.has(id) && this.#send(id, type, payload);
    const channel = new AgentChannel(send);
    this.#channels.set(id, channel);
    const terminate = (): void => {
      const grace = Buffer.alloc(4);
      grace.writeUInt32BE(TERM_GRACE_MS, 0);
      send(TO_AGENT.stop, grace);
      channel.abandon();
    };
    for (const piece of command.slice(0, -1)) send(TO_AGENT.words, piece);
    send(TO_AGENT.exec, command.at(-1));
    const streams = [drain(channel.stdout, options.onStdout), drain(channel.stderr, options.onStderr)];
    const stop = new Stop(options, name, () => undefined);
    const fed = feed(channel.stdin, options.stdin);
    try {
      const done = await Promise.race([channel.exit, stop.raised, ...streams.map(failureOf), failureOf(fed)]);
      // All output first, then the result: a caller may use what the handlers gathered.
      await Promise.race([Promise.all(streams), stop.raised]);
      return done;
    } catch (error) {
      terminate();
      throw error;
    } finally {
      stop.clear();
      void Promise.allSettled([...streams, fed]);
    }
  }

  /** Each greeting has a nonce of its own, so that it is the last one whose answer counts. */
  #greet(padding = Buffer.alloc(0)): void {
    this.#nonce = randomBytes(NONCE_BYTES);
    this.#reader = new FrameReader(this.#nonce);
    this.#socket.write(Buffer.concat([padding, greeting(this.#nonce)]));
  }

  #send(channel: number, type: number, payload: Buffer | string = ''): void {
    if (!this.#lost) this.#socket.write(encodeFrame(this.#nonce, {type, channel, payload}));
  }

  #read(chunk: Buffer): void {
    this.#lastHeardMs = performance.now();
    try {
      for (const frame of this.#reader.read(chunk)) this.#take(frame);
      if (this.#reader.greeted) this.#onGreeted();
    } catch (error) {
      this.#lose(error as Error);
    }
  }

  /** @throws when it makes no sense. */
  #take({type, channel: id, payload}: Frame): void {
    if (type === FROM_AGENT.woken) this.#onWoken(payload.toString());
    const channel = this.#channels.get(id);
    if (!channel) return;
    if (type === FROM_AGENT.stdout) channel.stdout.receive(payload);
    else if (type === FROM_AGENT.stderr) channel.stderr.receive(payload);
    else if (type === FROM_AGENT.credit) channel.stdin.allow(payload.readUInt32BE(0));
    else if (type === FROM_AGENT.exit) {
      const code = payload.readUInt32BE(0);
      const signal = payload.readUInt32BE(4);
      this.#channels.delete(id);
      channel.ended(signal === 0 ? {code, signal: undefined} : {code: undefined, signal: signalName(signal)});
    }
  }

  /** Asks whether it lives. After a time in which this process stood still itself, it gets a new chance first. */
  #beat(): void {
    const {pingIntervalMs, silenceLimitMs} = this.#heartbeat;
    const nowMs = performance.now();
    const stoodStill = nowMs - this.#lastBeatMs > 2 * pingIntervalMs;
    this.#lastBeatMs = nowMs;
    if (stoodStill) this.#lastHeardMs = nowMs;
    if (nowMs - this.#lastHeardMs > silenceLimitMs)
      this.#lose(new Error(`the command agent has said nothing for ${silenceLimitMs / 1000} s`));
    else if (this.#reader.greeted) this.#send(NO_CHANNEL, TO_AGENT.ping);
  }

  #lose(cause: Error): void {
    if (this.#lost) return;
    for (const timer of this.#timers) clearInterval(timer);
    this.#socket.destroy();
    this.#lost = this.#closing
      ? new Error("the command agent's session is closed")
      : new ConnectionLostError(`the connection to the VM's command agent is lost: ${messageOf(cause)}`, {
          cause,
        });
    this.#break(this.#lost);
    for (const channel of this.#channels.values()) channel.fail(this.#lost);
    this.#channels.clear();
  }
}
