import {spawn} from 'node:child_process';
import {randomBytes} from 'node:crypto';
import {
  chmod,
  type FileHandle,
  mkdir,
  open,
  realpath,
  rename,
  stat,
  statfs,
  truncate,
} from 'node:fs/promises';
import {basename, dirname, join} from 'node:path';
import {UserError} from '../base/errors.ts';
import type {Produce, ReceiveOptions, ReceiveReport, ResultStore} from '../base/tree.ts';
import {TEMP_DIR_PREFIX} from './files.ts';
import {cleanTree, mergeTree, removeTree} from './merge.ts';
import {notStarted, tarEnv} from './tar.ts';
import {judgeTarEnd, TailText, type TarEnd} from './tar-messages.ts';

/**
 * How a stream of a machine that is not trusted is unpacked. Without `--absolute-names` GNU tar strips a leading `/`,
 * refuses `..`, and makes links that lead out only when all else is written. Extended attributes, access lists
 * and owners stay behind.
 */
const EXTRACT_ARGS: readonly string[] = [
  '--extract',
  '--file=-',
  '--same-permissions',
  '--no-same-owner',
  '--no-acls',
  '--no-selinux',
  '--no-xattrs',
  '--delay-directory-restore',
  '--warning=no-timestamp',
];

/** @param program GNU tar's name or path. */
export function resultStore(program = 'tar'): ResultStore {
  return {
    async receiveTree(dest, produce, options = {}) {
      await makeDirectory(dest);
      // Inside `dest`, since only there the file system is sure to be the same.
      const root = await realpath(dest);
      const name = tempName();
      const temp = join(root, name);
      options.onTemp?.(temp);
      try {
        await mkdir(temp, {mode: 0o700});
        const {bytes, warnings} = await extract(program, temp, produce, options);
        // The stream's entry for its top directory can have taken the mode away.
        await chmod(temp, 0o700);
        const cleaned = await cleanTree(temp);
        await mergeTree(temp, root, name);
        return {bytes, files: cleaned.files, warnings: [...warnings, ...cleaned.warnings]};
      } catch (error) {
        throw explained(error, dest);
      } finally {
        await removeTree(temp);
      }
    },
    receiveFile: (dest, produce, options = {}) =>
      intoPlace(dest, options, whole => writeAll(whole, produce, options)),
    receiveBlank: (dest, sizeBytes, fill, options = {}) =>
      intoPlace(dest, options, async whole => {
        await makeBlank(whole, Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES);
        await fill(whole);
        await truncate(whole, sizeBytes);
        return sizeBytes;
      }),
  };
}

/** A disk is a whole number of them. */
const BLOCK_BYTES = 4096;

/** Has `make` write a file under another name, on the same file system, and gives it its own once it is whole. */
async function intoPlace(
  dest: string,
  options: ReceiveOptions,
  make: (path: string) => Promise<number>,
): Promise<ReceiveReport> {
  if (await isDirectory(dest)) throw isDirectoryError(dest);
  await makeDirectory(dirname(dest));
  const temp = join(dirname(dest), tempName());
  options.onTemp?.(temp);
  try {
    await mkdir(temp, {mode: 0o700});
    const whole = join(temp, basename(dest));
    const bytes = await make(whole);
    await rename(whole, dest);
    return {bytes, files: 1, warnings: []};
  } catch (error) {
    throw explained(error, dest);
  } finally {
    await removeTree(temp);
  }
}

/** A file of holes. A guest that writes to a full disk only hears of a broken one, so the room is looked for before. @throws as a full disk does. */
async function makeBlank(path: string, lengthBytes: number): Promise<void> {
  const {bavail, bsize} = await statfs(dirname(path));
  if (bavail * bsize < lengthBytes) throw Object.assign(new Error('no space left'), {code: 'ENOSPC'});
  const file = await open(path, 'wx', 0o666);
  try {
    await file.truncate(lengthBytes);
  } finally {
    await file.close();
  }
}

/** Recognised by the clean-up after a crash. */
function tempName(): string {
  return `${TEMP_DIR_PREFIX}${randomBytes(6).toString('hex')}`;
}

async function extract(
  program: string,
  dir: string,
  produce: Produce,
  options: ReceiveOptions,
): Promise<Omit<ReceiveReport, 'files'>> {
  const child = spawn(program, [...EXTRACT_ARGS, `--directory=${dir}`], {
    env: tarEnv(),
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  const tail = new TailText();
  child.stderr.on('data', chunk => tail.add(chunk));
  const ended = new Promise<TarEnd>((resolve, reject) => {
    child.once('close', (code, signal) => resolve({code, signal, text: tail.text()}));
    child.once('error', error => reject(notStarted(program, error)));
  });
  ended.catch(() => undefined);
  const {stdin} = child;
  stdin.on('error', () => undefined);
  const meter = new Meter(options.limitBytes);
  const write = async (chunk: Buffer): Promise<void> => {
    meter.add(chunk);
    if (stdin.destroyed) {
      // Behind the end of the archive tar need not read on; if it failed, the machine can stop sending.
      if ((await ended).code !== 0) throw new Error(`${program} has ended`);
    } else if (!stdin.write(chunk)) {
      await drained(stdin);
    }
  };
  try {
    try {
      await produceInto(produce, write);
    } catch (error) {
      if (stdin.destroyed) judgeTarEnd(await ended, program, 'outputs');
      throw error;
    }
    stdin.end();
    return {bytes: meter.bytes, warnings: judgeTarEnd(await ended, program, 'outputs')};
  } finally {
    child.kill('SIGKILL');
    await ended.catch(() => undefined);
  }
}

function drained(stream: NodeJS.WritableStream): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      stream.off('drain', done);
      stream.off('close', done);
      resolve();
    };
    stream.once('drain', done);
    stream.once('close', done);
  });
}

async function writeAll(path: string, produce: Produce, options: ReceiveOptions): Promise<number> {
  const meter = new Meter(options.limitBytes);
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'wx', 0o666);
    const handle = file;
    await produceInto(produce, async chunk => {
      meter.add(chunk);
      await handle.writeFile(chunk);
    });
    return meter.bytes;
  } finally {
    await file?.close();
  }
}

/** A producer that was stopped may still hand over what was on its way; by then there is nothing to write to. */
async function produceInto(produce: Produce, write: (chunk: Buffer) => Promise<void>): Promise<void> {
  let wanted = true;
  try {
    await produce(async chunk => {
      if (wanted) await write(chunk);
    });
  } finally {
    wanted = false;
  }
}

class Meter {
  bytes = 0;
  readonly #limitBytes: number;

  constructor(limitBytes = Number.POSITIVE_INFINITY) {
    this.#limitBytes = limitBytes;
  }

  add(chunk: Buffer): void {
    this.bytes += chunk.length;
    if (this.bytes > this.#limitBytes) {
      throw new UserError(`the build's output is larger than ${this.#limitBytes} bytes`, {
        stage: 'outputs',
        input: 'outputs',
        hint: 'Export less, e.g. from a stage that holds only the results.',
      });
    }
  }
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, {recursive: true});
  } catch (error) {
    throw explained(error, path);
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    stats => stats.isDirectory(),
    () => false,
  );
}

function isDirectoryError(dest: string): UserError {
  return new UserError(`the output's destination ${dest} is a directory`, {
    stage: 'outputs',
    input: 'outputs',
    hint: `Name a file, e.g. dest=${join(dest, 'image.tar')}, or use type=local.`,
  });
}

const SYSTEM_FAULTS: Readonly<Record<string, string>> = {
  ENOSPC: 'no space left on the device',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file is too large for the file system',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EROFS: 'the file system is read-only',
  ENOTDIR: 'a part of the path is not a directory',
  ENAMETOOLONG: 'a path is too long',
  EEXIST: 'something that is no directory is in the way',
};

/** The system's errors that the user can mend, as such; all others as they are. */
function explained(error: unknown, dest: string): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  const fault = code === undefined ? undefined : SYSTEM_FAULTS[code];
  if (fault === undefined) return error;
  return new UserError(`cannot write the build's output to ${dest}: ${fault}`, {
    stage: 'outputs',
    input: 'outputs',
    hint: 'Choose another dest, or make room there.',
    cause: error,
  });
}
