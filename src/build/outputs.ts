import {posix} from 'node:path';
import type {Devices} from '../base/devices.ts';
import {UserError} from '../base/errors.ts';
import type {Files, Session} from '../base/ports.ts';
import type {OutputSpec} from '../base/request.ts';
import type {Links, ReceiveOptions, ReceiveReport, ResultStore} from '../base/tree.ts';
import {receiveOnDisk} from './output-disk.ts';

const MAX_STDERR_CHARS = 16_384;

/** A result that comes back to this machine. */
export interface ResultTarget {
  readonly spec: OutputSpec;
  /** Absolute path on this machine. */
  readonly dest: string;
  readonly kind: 'directory' | 'file';
}

/** True when the result is a directory: `local`, and `oci` or `docker` with `tar=false` (BuildKit v0.11.0). */
export function isDirectoryOutput(spec: OutputSpec): boolean {
  if (spec.type === 'local') return true;
  const tar = spec.attrs.find(attr => attr.key === 'tar')?.value;
  // What Go's strconv.ParseBool takes for false.
  return (spec.type === 'oci' || spec.type === 'docker') && /^(?:0|f|F|false|FALSE|False)$/.test(tar ?? '');
}

/**
 * The results that have a place on this machine, with absolute paths; `dest` may lie outside the workspace.
 * @throws UserError for a `dest` that cannot become what the type makes; nothing is created yet.
 */
export async function planOutputs(
  specs: readonly OutputSpec[],
  workspace: string,
  files: Pick<Files, 'kind'> & Pick<Links, 'isWritable'>,
): Promise<readonly ResultTarget[]> {
  const targets: ResultTarget[] = [];
  for (const spec of specs) {
    if (spec.dest === undefined) continue;
    const target: ResultTarget = {
      spec,
      dest: posix.resolve(workspace, spec.dest),
      kind: isDirectoryOutput(spec) ? 'directory' : 'file',
    };
    await check(target, spec.dest, files);
    const other = targets.find(known => known.dest === target.dest);
    if (other && (other.kind === 'file' || target.kind === 'file')) {
      throw bad(`two outputs go to ${spec.dest}`, 'Give each its own dest.');
    }
    targets.push(target);
  }
  return targets;
}

async function check(
  {dest, kind, spec}: ResultTarget,
  given: string,
  files: Pick<Files, 'kind'> & Pick<Links, 'isWritable'>,
): Promise<void> {
  const there = await files.kind(dest);
  if (kind === 'file' && (there === 'directory' || given.endsWith('/'))) {
    const example = posix.join(given, 'image.tar');
    throw bad(
      `dest=${given} is a directory, and type=${spec.type} makes a file`,
      `Name a file: dest=${example}.`,
    );
  }
  if (kind === 'directory' && there !== undefined && there !== 'directory') {
    throw bad(`dest=${given} is a file, and type=${spec.type} makes a directory`, 'Name a directory.');
  }
  let above = there === 'directory' ? dest : posix.dirname(dest);
  let found = await files.kind(above);
  while (found === undefined && above !== '/') {
    above = posix.dirname(above);
    found = await files.kind(above);
  }
  if (found !== 'directory') throw bad(`dest=${given}: ${above} is not a directory`, 'Choose another dest.');
  if (!(await files.isWritable(above))) {
    throw bad(`dest=${given}: ${above} is not writable for this user`, 'Choose another dest.');
  }
}

/** What packs a result in the machine. Names begin with `./`; owners, attributes and access times stay there. */
export function packArgv(dir: string): readonly string[] {
  return [
    'env',
    'LC_ALL=C',
    'tar',
    '--create',
    '--file=-',
    '--blocking-factor=64',
    '--format=posix',
    '--pax-option=delete=atime,delete=ctime',
    '--sparse',
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    `--directory=${dir}`,
    '.',
  ];
}

export interface ReceiveWay extends ReceiveOptions {
  readonly signal?: AbortSignal;
  /** Absent where the machine takes no disks. */
  readonly devices?: Devices | undefined;
  /** Told why a large file does not come on a disk. */
  readonly onTrouble?: (message: string) => void;
}

/**
 * Brings one result from `guestPath` in the machine to its place here.
 * @throws UserError when it cannot be written here; Error when the machine does not hand it over whole.
 */
export async function receiveOutput(
  session: Session,
  store: ResultStore,
  target: ResultTarget,
  guestPath: string,
  options: ReceiveWay = {},
): Promise<ReceiveReport> {
  const {devices, onTrouble = () => undefined} = options;
  if (devices && target.kind === 'file') {
    const {dest} = target;
    const received = await receiveOnDisk(session, store, devices, {dest, guestPath}, options);
    if (received && 'bytes' in received) return received;
    if (received) onTrouble(`the result comes as a stream, which is slower: ${received.trouble}`);
  }
  const argv = target.kind === 'directory' ? packArgv(guestPath) : ['cat', '--', guestPath];
  const produce = async (write: (chunk: Buffer) => Promise<void>): Promise<void> => {
    let stderr = '';
    const exit = await session.run(argv, {
      onStdout: write,
      bulk: 'stdout',
      onStderr: chunk => {
        if (stderr.length < MAX_STDERR_CHARS) stderr += chunk.toString('utf8');
      },
      ...(options.signal && {signal: options.signal}),
    });
    if (exit.code === 0) return;
    const text = stderr.trim().split('\n').slice(0, 3).join('; ');
    throw new Error(
      `the result of type=${target.spec.type} could not be read in the VM: ${text || exit.signal}`,
    );
  };
  return target.kind === 'directory'
    ? store.receiveTree(target.dest, produce, options)
    : store.receiveFile(target.dest, produce, options);
}

function bad(message: string, hint: string): UserError {
  return new UserError(`outputs: ${message}`, {stage: 'inputs', input: 'outputs', hint});
}
