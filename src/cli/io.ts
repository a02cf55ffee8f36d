import {createReadStream} from 'node:fs';
import {readFile} from 'node:fs/promises';
import {addAbortSignal, type Readable} from 'node:stream';
import {throwIfCanceled, UserError} from '../base/errors.ts';

/** What a command reads and prints, beside files. */
export interface Io {
  readonly stdin: Readable;
  readonly print: (text: string) => void;
  /** For a person who reads along; never on standard output. */
  readonly note: (text: string) => void;
  readonly colours: boolean;
  /** Columns of the terminal. */
  readonly width: number;
}

/** This process's own streams. A reader that goes away (`| head`) ends the process without a word. */
export function processIo(): Io {
  const {stdin, stdout, stderr, env} = process;
  if (stdout.listenerCount('error') === 0) stdout.on('error', endOnClosedPipe);
  return {
    stdin,
    print: text => void stdout.write(text),
    note: text => void stderr.write(text),
    // https://no-color.org
    colours: stdout.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb',
    width: stdout.columns ?? 100,
  };
}

function endOnClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
}

/** The bytes of a file, or of standard input for `-`, piece by piece. @throws UserError when it cannot be read. */
export async function* openText(name: string, io: Io, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  throwIfCanceled(signal);
  try {
    const stream: Readable = name === '-' ? io.stdin : createReadStream(name);
    for await (const chunk of addAbortSignal(signal, stream)) yield chunk as Uint8Array;
  } catch (error) {
    throwIfCanceled(signal);
    throw unreadable(name, error);
  }
}

/** A whole small file, or standard input for `-`. @throws UserError when it cannot be read. */
export async function readText(name: string, io: Io, signal: AbortSignal): Promise<string> {
  if (name === '-') {
    const chunks: Uint8Array[] = [];
    for await (const chunk of openText(name, io, signal)) chunks.push(chunk);
    return Buffer.concat(chunks).toString('utf8');
  }
  return readFile(name, 'utf8').catch(error => {
    throw unreadable(name, error);
  });
}

function unreadable(name: string, error: unknown): UserError {
  const {code, message} = error as NodeJS.ErrnoException;
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file',
    EISDIR: 'it is a folder',
    EACCES: 'it may not be read',
  };
  return new UserError(`${name}: ${reasons[code ?? ''] ?? message}`, {
    stage: 'inputs',
    hint: 'name a file, or - for standard input',
    cause: error,
  });
}
