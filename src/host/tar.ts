import {spawn} from 'node:child_process';
import {mkdir, mkdtemp, rm, stat, utimes, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {Readable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import {messageOf, UserError} from '../base/errors.ts';
import type {PackedTree, PackReport, TreeFilter, TreePacker} from '../base/tree.ts';
import {TEMP_DIR_PREFIX} from './files.ts';
import {judgeTarEnd, TailText, type TarEnd} from './tar-messages.ts';
import {printable, walkTree} from './tree.ts';

/** Names are handed to tar in pieces of about this size. */
const NAME_BATCH_BYTES = 64 * 1024;
const MAX_WARNINGS = 50;

/**
 * How a tree is packed. `posix` keeps mtimes to the nanosecond and names of any length and any bytes; tar would
 * otherwise read escapes (`--no-unquote`) and options (`--verbatim-files-from`) out of names. Owners are 0:0, which is
 * what buildctl makes of them. GNU tar's manual, "Option Summary".
 */
export const CREATE_ARGS: readonly string[] = [
  '--create',
  '--file=-',
  // Records of 32 KiB: a quarter less time for a large file than with the default of 10 KiB.
  '--blocking-factor=64',
  '--format=posix',
  '--pax-option=delete=atime,delete=ctime',
  '--sparse',
  '--xattrs',
  '--xattrs-include=*',
  '--owner=0',
  '--group=0',
  '--numeric-owner',
  '--null',
  '--verbatim-files-from',
  '--no-unquote',
  '--no-recursion',
];

/** tar without what the environment could add: its messages are read, and `TAR_OPTIONS` would change them. */
export function tarEnv(): NodeJS.ProcessEnv {
  const {TAR_OPTIONS: _, ...env} = process.env;
  return {...env, LC_ALL: 'C'};
}

/** @param program GNU tar's name or path. */
export function treePacker(program = 'tar'): TreePacker {
  return {
    packTree: (root, filter, onBytes) => {
      const count = new Count(onBytes);
      return count.packed(packTree(program, root, filter, count));
    },
    packFiles: (dir, names) => {
      const count = new Count();
      const list = [Buffer.from(names.map(name => `${name}\0`).join(''))];
      count.files = names.length;
      return count.packed(tarOf(program, dir, ['--dereference', '--hard-dereference'], list, count));
    },
  };
}

class Count {
  files = 0;
  directories = 0;
  bytes = 0;
  leftOut = 0;
  warnings: string[] = [];
  /** Ends the tar that runs, whatever it is waiting for. */
  stop: () => void = () => undefined;
  readonly #onBytes: ((bytes: number) => void) | undefined;

  constructor(onBytes?: (bytes: number) => void) {
    this.#onBytes = onBytes;
  }

  add(chunk: Buffer): Buffer {
    this.bytes += chunk.length;
    this.#onBytes?.(this.bytes);
    return chunk;
  }

  warn(message: string): void {
    if (this.warnings.length < MAX_WARNINGS) this.warnings.push(message);
    else if (this.warnings.length === MAX_WARNINGS) this.warnings.push('… and more of the kind');
  }

  report(): PackReport {
    const {files, directories, bytes, leftOut, warnings} = this;
    return {files, directories, bytes, leftOut, warnings: [...warnings]};
  }

  packed(chunks: AsyncIterable<Buffer>): PackedTree {
    // 16 chunks of at most 64 KiB wait in the stream; the rest waits in tar's pipe.
    const stream = Readable.from(chunks, {objectMode: true});
    stream.once('close', () => this.stop());
    return {stream, report: () => this.report()};
  }
}

async function* packTree(
  program: string,
  root: string,
  filter: TreeFilter | undefined,
  count: Count,
): AsyncGenerator<Buffer, void, undefined> {
  const sockets: Buffer[] = [];
  yield* tarOf(program, root, [], batches(namesOf(root, filter, count, sockets)), count);
  if (sockets.length > 0) yield* placeholders(program, root, sockets, count);
}

async function* namesOf(
  root: string,
  filter: TreeFilter | undefined,
  count: Count,
  sockets: Buffer[],
): AsyncGenerator<Buffer, void, undefined> {
  for await (const {path, kind} of walkTree(root, filter, () => count.leftOut++)) {
    if (kind === 'directory') count.directories++;
    else count.files++;
    if (kind === 'socket') sockets.push(path);
    else yield path;
  }
}

/**
 * fsutil sends a socket as an empty file of its mode (it clears the socket bit, then cannot open it); tar
 * leaves sockets out. So empty files take their place, in a second archive behind the first.
 */
async function* placeholders(
  program: string,
  root: string,
  sockets: readonly Buffer[],
  count: Count,
): AsyncGenerator<Buffer, void, undefined> {
  const dir = await mkdtemp(join(tmpdir(), `${TEMP_DIR_PREFIX}sockets-`));
  try {
    const names: Buffer[] = [];
    for (const path of sockets) {
      const place = Buffer.concat([Buffer.from(`${dir}/`), path]);
      try {
        const {mode, mtime} = await stat(Buffer.concat([Buffer.from(`${root}/`), path]));
        await mkdir(Buffer.from(dirname(place.toString('latin1')), 'latin1'), {recursive: true});
        await writeFile(place, '', {mode: mode & 0o777});
        await utimes(place, mtime, mtime);
        names.push(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
      count.warn(`${printable(path)} is a socket; BuildKit takes it as an empty file`);
    }
    yield* tarOf(program, dir, [], batches(names), count);
  } finally {
    await rm(dir, {recursive: true, force: true});
  }
}

/** Runs tar over the names; its output chunk by chunk, then its errors thrown, its complaints as warnings. */
async function* tarOf(
  program: string,
  dir: string,
  args: readonly string[],
  names: Iterable<Buffer> | AsyncIterable<Buffer>,
  count: Count,
): AsyncGenerator<Buffer, void, undefined> {
  const child = spawn(program, [...CREATE_ARGS, ...args, `--directory=${dir}`, '--files-from=-'], {
    env: tarEnv(),
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const tail = new TailText();
  child.stderr.on('data', chunk => tail.add(chunk));
  const ended = new Promise<TarEnd>((resolve, reject) => {
    child.once('close', (code, signal) => resolve({code, signal, text: tail.text()}));
    child.once('error', error => reject(notStarted(program, error)));
  });
  ended.catch(() => undefined);
  let walkError: unknown;
  const fed = pipeline(Readable.from(names, {objectMode: true}), child.stdin).catch(error => {
    // When tar is gone its own words say more than the broken pipe.
    if (error?.code !== 'EPIPE' && error?.code !== 'ERR_STREAM_PREMATURE_CLOSE') walkError = error;
    child.kill();
  });
  try {
    count.stop = () => child.kill('SIGKILL');
    for await (const chunk of child.stdout) yield count.add(chunk as Buffer);
    const end = await ended;
    await fed;
    if (walkError !== undefined) throw walkError;
    for (const warning of judgeTarEnd(end, program, 'context')) count.warn(warning);
  } finally {
    child.kill('SIGKILL');
  }
}

async function* batches(
  names: Iterable<Buffer> | AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  let parts: Buffer[] = [];
  let size = 0;
  const nul = Buffer.from([0]);
  for await (const name of names) {
    parts.push(name, nul);
    size += name.length + 1;
    if (size < NAME_BATCH_BYTES) continue;
    yield Buffer.concat(parts);
    parts = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(parts);
}

/** The error for a tar that could not be started. */
export function notStarted(program: string, cause: unknown): Error {
  return (cause as NodeJS.ErrnoException).code === 'ENOENT'
    ? new UserError(`there is no program ${program} on this machine`, {
        hint: 'Install GNU tar: `sudo apt-get install tar`, on macOS `brew install gnu-tar`.',
        cause,
      })
    : new Error(`cannot run ${program}: ${messageOf(cause)}`, {cause});
}
