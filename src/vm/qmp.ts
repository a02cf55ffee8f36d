import type {Duplex} from 'node:stream';
import {messageOf} from '../base/errors.ts';

type Json = Readonly<Record<string, unknown>>;

/** Something that happened in QEMU without being asked for (QEMU QMP reference, "Events"). */
export interface QmpEvent {
  readonly event: string;
  readonly data?: Json;
}

/**
 * A client of the QEMU Machine Protocol (docs/interop/qmp-spec): JSON objects, one a line. Commands carry an id,
 * so several may be under way; events go to whoever waits for them.
 */
export class Qmp {
  readonly #stream: Duplex;
  readonly #pending = new Map<number, {resolve: (value: unknown) => void; reject: (error: Error) => void}>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  #nextId = 1;
  #buffer = '';
  #ended: Error | undefined;

  private constructor(stream: Duplex) {
    this.#stream = stream;
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => this.#read(text));
    stream.on('error', error => this.#end(error));
    stream.on('close', () => this.#end(new Error('QEMU closed its control socket')));
  }

  /** Takes over a connected socket and leaves capabilities negotiation mode. */
  static async open(stream: Duplex): Promise<Qmp> {
    const qmp = new Qmp(stream);
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  /** @throws with QEMU's own description when the command fails. */
  execute(command: string, args?: Json): Promise<unknown> {
    if (this.#ended) return Promise.reject(this.#ended);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, {resolve, reject});
      this.#stream.write(`${JSON.stringify({execute: command, ...(args && {arguments: args}), id})}\n`);
    });
  }

  /** A command of the human monitor, for what QMP has no command for. */
  async human(commandLine: string): Promise<string> {
    return String(await this.execute('human-monitor-command', {'command-line': commandLine}));
  }

  /** @returns call it to hear no more. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    this.#stream.destroy();
  }

  #read(text: string): void {
    this.#buffer += text;
    let end = this.#buffer.indexOf('\n');
    while (end >= 0) {
      this.#dispatch(this.#buffer.slice(0, end));
      this.#buffer = this.#buffer.slice(end + 1);
      end = this.#buffer.indexOf('\n');
    }
  }

  #dispatch(line: string): void {
    if (line.trim() === '') return;
    let message: {id?: unknown; return?: unknown; error?: {desc?: string}; event?: unknown; data?: Json};
    try {
      message = JSON.parse(line);
    } catch (error) {
      this.#end(new Error(`QEMU sent no JSON on its control socket: ${messageOf(error)}`));
      return;
    }
    if (typeof message.event === 'string') {
      for (const listener of this.#listeners)
        listener({event: message.event, ...(message.data && {data: message.data})});
      return;
    }
    const call = typeof message.id === 'number' ? this.#pending.get(message.id) : undefined;
    if (!call) return;
    this.#pending.delete(message.id as number);
    if (message.error) call.reject(new Error(message.error.desc ?? 'QEMU refused the command'));
    else call.resolve(message.return);
  }

  #end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    for (const {reject} of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}
