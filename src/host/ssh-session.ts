import type {Duplex} from 'node:stream';
import type {ClientChannel, Client as ClientType} from 'ssh2';
import {asCanceled, ConnectionLostError, messageOf} from '../base/errors.ts';
import type {Exit, InteractiveSession, RunOptions, Terminal} from '../base/ports.ts';
import {quoteArgv} from '../base/quote.ts';
import {CommandSession} from './command-session.ts';
import {Stop} from './stop.ts';
import {drain, failureOf, feed} from './streams.ts';

/** After a TERM signal a command gets this long before its channel is closed under it. */
const TERM_GRACE_MS = 1_000;

/** A session over one SSH connection that is logged in. */
export class SshSession extends CommandSession implements InteractiveSession {
  readonly #client: ClientType;
  #lost: Error | undefined;
  #closing = false;
  readonly #onLost = new Set<(error: Error) => void>();

  constructor(client: ClientType) {
    super();
    this.#client = client;
    client.on('error', error => this.#lose(error));
    client.on('close', () => this.#lose(new Error('the connection was closed')));
  }

  async shell(terminal: Terminal): Promise<Exit> {
    const {rows, columns} = terminal.size();
    const {channel, exit} = await this.#open(done =>
      this.#client.shell({rows, cols: columns, term: terminal.term}, done),
    );
    const offResize = terminal.onResize(() => {
      const size = terminal.size();
      channel.setWindow(size.rows, size.columns, 0, 0);
    });
    terminal.input.pipe(channel);
    channel.pipe(terminal.output, {end: false});
    try {
      return await exit;
    } finally {
      terminal.input.unpipe(channel);
      offResize();
    }
  }

  async connectUnix(path: string): Promise<Duplex> {
    const {channel, exit} = await this.#open(done => this.#client.openssh_forwardOutStreamLocal(path, done));
    // A forward has no exit status.
    exit.catch(() => undefined);
    return channel;
  }

  async close(): Promise<void> {
    if (this.#closing || this.#lost) return;
    this.#closing = true;
    await new Promise<void>(resolve => {
      const timer = setTimeout(() => {
        this.#client.destroy();
        resolve();
      }, 500);
      this.#client.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
      this.#client.end();
    });
  }

  protected async exec(argv: readonly string[], name: string, options: RunOptions): Promise<Exit> {
    if (options.signal?.aborted) throw asCanceled(options.signal);
    const command = quoteArgv(argv, options.env);
    const {channel, exit} = await this.#open(done => this.#client.exec(command, done));
    const streams = [drain(channel, options.onStdout), drain(channel.stderr, options.onStderr)];
    const fed = feed(channel, options.stdin);
    const stop = new Stop(options, name, () => this.#terminate(channel));
    try {
      const done = await Promise.race([exit, stop.raised, ...streams.map(failureOf), failureOf(fed)]);
      // All output first, then the result: a caller may use what the handlers gathered.
      await Promise.race([Promise.all(streams), stop.raised]);
      return done;
    } catch (error) {
      channel.destroy();
      throw error;
    } finally {
      stop.clear();
      void exit.catch(() => undefined);
      void Promise.allSettled([...streams, fed]);
    }
  }

  /** On a busy machine the exit status of a quick command comes together with its channel, so it is listened for at once. */
  #open(
    start: (done: (error: Error | undefined, channel: ClientChannel) => void) => void,
  ): Promise<{readonly channel: ClientChannel; readonly exit: Promise<Exit>}> {
    return new Promise((resolve, reject) => {
      const off = this.#whenLost(reject);
      if (this.#lost) return;
      try {
        start((error, channel) => {
          off();
          if (error) reject(error);
          else resolve({channel, exit: this.#exit(channel)});
        });
      } catch (error) {
        off();
        reject(error);
      }
    });
  }

  #exit(channel: ClientChannel): Promise<Exit> {
    return new Promise((resolve, reject) => {
      const off = this.#whenLost(reject);
      let exit: Exit | undefined;
      channel.once('exit', (code: number | null, signal?: string) => {
        exit = {
          code: code ?? undefined,
          signal: signal === undefined ? undefined : `SIG${signal.replace(/^SIG/, '')}`,
        };
      });
      channel.once('close', () => {
        off();
        if (exit) resolve(exit);
        else
          reject(
            this.#lost ??
              new ConnectionLostError('the command ended without an exit status: its connection was cut'),
          );
      });
    });
  }

  #terminate(channel: ClientChannel): void {
    // OpenSSH before 7.9 ignores the signal request; closing the channel is then all there is.
    channel.signal('TERM');
    setTimeout(() => channel.close(), TERM_GRACE_MS).unref();
  }

  #whenLost(listener: (error: Error) => void): () => void {
    if (this.#lost) listener(this.#lost);
    this.#onLost.add(listener);
    return () => this.#onLost.delete(listener);
  }

  #lose(cause: Error): void {
    if (this.#lost) return;
    this.#lost = this.#closing
      ? new Error('the SSH session is closed')
      : new ConnectionLostError(`the SSH connection to the VM is lost: ${messageOf(cause)}`, {cause});
    for (const listener of this.#onLost) listener(this.#lost);
    this.#onLost.clear();
  }
}
