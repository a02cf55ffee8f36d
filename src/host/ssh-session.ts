import {PassThrough, type Readable, type Writable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import type {ClientChannel, Client as ClientType} from 'ssh2';
import {asCanceled, ConnectionLostError, messageOf} from '../base/errors.ts';
import type {Exit, InteractiveSession, Output, RunOptions, Terminal} from '../base/ports.ts';
import {quoteArgv} from '../base/quote.ts';
import {NO_SIDE_CHANNEL_STATUS, SIDE_CHANNEL_SCRIPT, SideChannel} from './side-channel.ts';
import {Stop} from './stop.ts';
import {Collector, drain, failureOf, feed, ignoreBrokenPipe, sourceOf, writeTo} from './streams.ts';

/** What a shell says when there is no bash. */
const COMMAND_NOT_FOUND = 127;
/** After a TERM signal a command gets this long before its channel is closed under it. */
const TERM_GRACE_MS = 1_000;

/** A session over one SSH connection that is logged in. */
export class SshSession implements InteractiveSession {
  readonly #client: ClientType;
  #lost: Error | undefined;
  #closing = false;
  /** False once the guest could not reach this process: it is then not asked again. */
  #sideChannel = true;
  readonly #onLost = new Set<(error: Error) => void>();

  constructor(client: ClientType) {
    this.#client = client;
    client.on('error', error => this.#lose(error));
    client.on('close', () => this.#lose(new Error('the connection was closed')));
  }

  async run(argv: readonly string[], options: RunOptions = {}): Promise<Exit> {
    if (options.bulk && this.#sideChannel) {
      const exit = await this.#runBeside(argv, options, options.bulk);
      if (exit) return exit;
      this.#sideChannel = false;
    }
    return this.#exec(quoteArgv(argv, options.env), argv[0] ?? '', options);
  }

  async output(argv: readonly string[], options: RunOptions = {}): Promise<Output> {
    const stdout = new Collector();
    const stderr = new Collector();
    const exit = await this.run(argv, {
      ...options,
      onStdout: chunk => stdout.add(chunk),
      onStderr: chunk => stderr.add(chunk),
    });
    return {...exit, stdout: stdout.text(), stderr: stderr.text()};
  }

  async put(
    source: Readable | string | Buffer,
    path: string,
    options: {mode?: number; signal?: AbortSignal} = {},
  ): Promise<void> {
    // The mode is set before the first byte is there: a secret is never readable by others, however briefly.
    const script = 'umask 077 && : > "$1" && chmod "$2" "$1" && exec cat > "$1"';
    const mode = (options.mode ?? 0o644).toString(8);
    const stderr = new Collector();
    const exit = await this.run(['sh', '-c', script, 'put', path, mode], {
      stdin: source,
      onStderr: chunk => stderr.add(chunk),
      ...(options.signal && {signal: options.signal}),
    });
    if (exit.code !== 0) throw new Error(`cannot write ${path} in the VM: ${stderr.text().trim()}`);
  }

  async get(path: string, sink: Writable, options: {signal?: AbortSignal} = {}): Promise<void> {
    const through = new PassThrough();
    const piped = pipeline(through, sink);
    const stderr = new Collector();
    const exit = this.run(['cat', '--', path], {
      onStdout: chunk => writeTo(through, chunk),
      onStderr: chunk => stderr.add(chunk),
      ...(options.signal && {signal: options.signal}),
    }).then(done => {
      if (done.code !== 0) throw new Error(`cannot read ${path} in the VM: ${stderr.text().trim()}`);
      through.end();
    });
    await Promise.all([
      piped,
      exit.catch(error => {
        through.destroy(error);
        throw error;
      }),
    ]);
  }

  async shell(terminal: Terminal): Promise<Exit> {
    const {rows, columns} = terminal.size();
    const channel = await this.#open(done =>
      this.#client.shell({rows, cols: columns, term: terminal.term}, done),
    );
    const offResize = terminal.onResize(() => {
      const size = terminal.size();
      channel.setWindow(size.rows, size.columns, 0, 0);
    });
    terminal.input.pipe(channel);
    channel.pipe(terminal.output, {end: false});
    try {
      return await this.#exit(channel);
    } finally {
      terminal.input.unpipe(channel);
      offResize();
    }
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

  async #exec(command: string, name: string, options: RunOptions): Promise<Exit> {
    if (options.signal?.aborted) throw asCanceled(options.signal);
    const channel = await this.#open(done => this.#client.exec(command, done));
    const exit = this.#exit(channel);
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

  /** The same command with its bulk data on a side channel; undefined, with nothing consumed, when there is no way to have one. */
  async #runBeside(
    argv: readonly string[],
    options: RunOptions,
    direction: 'stdin' | 'stdout',
  ): Promise<Exit | undefined> {
    const {bulk: _, stdin, onStdout, ...rest} = options;
    const channel = await SideChannel.open(options.signal);
    const command = ['bash', '-c', SIDE_CHANNEL_SCRIPT, 'bash', direction, String(channel.port), ...argv];
    let connected = false;
    try {
      const transfer = channel.connected.then(async socket => {
        connected = true;
        if (direction === 'stdout') return drain(socket, onStdout);
        return pipeline(sourceOf(stdin), socket).catch(ignoreBrokenPipe);
      });
      const exit = await Promise.race([
        this.#exec(quoteArgv(command, options.env), argv[0] ?? '', {
          ...rest,
          ...(direction === 'stdin' && onStdout && {onStdout}),
          stdin: `${channel.token}\n`,
        }),
        failureOf(transfer),
      ]);
      if (!connected && (exit.code === NO_SIDE_CHANNEL_STATUS || exit.code === COMMAND_NOT_FOUND))
        return undefined;
      if (direction === 'stdout') await transfer;
      return exit;
    } finally {
      channel.close();
    }
  }

  #open(
    start: (done: (error: Error | undefined, channel: ClientChannel) => void) => void,
  ): Promise<ClientChannel> {
    return new Promise((resolve, reject) => {
      const off = this.#whenLost(reject);
      if (this.#lost) return;
      try {
        start((error, channel) => {
          off();
          if (error) reject(error);
          else resolve(channel);
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
