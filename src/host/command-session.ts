import {PassThrough, type Readable, type Writable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import type {Exit, Output, RunOptions, Session} from '../base/ports.ts';
import {NO_SIDE_CHANNEL_STATUS, SIDE_CHANNEL_SCRIPT, SideChannel} from './side-channel.ts';
import {Collector, drain, failureOf, ignoreBrokenPipe, sourceOf, writeTo} from './streams.ts';

/** What a shell says when there is no bash. */
const COMMAND_NOT_FOUND = 127;

/** What all sessions share: everything but how a command is started. */
export abstract class CommandSession implements Session {
  /** False once the guest could not reach this process: it is then not asked again. */
  #sideChannel = true;

  protected abstract exec(argv: readonly string[], name: string, options: RunOptions): Promise<Exit>;
  abstract close(): Promise<void>;

  async run(argv: readonly string[], options: RunOptions = {}): Promise<Exit> {
    if (options.bulk && this.#sideChannel) {
      const exit = await this.#runBeside(argv, options, options.bulk);
      if (exit) return exit;
      this.#sideChannel = false;
    }
    return this.exec(argv, argv[0] ?? '', options);
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
        this.exec(command, argv[0] ?? '', {
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
}
