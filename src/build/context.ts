import {throwIfCanceled, UserError} from '../base/errors.ts';
import type {Session} from '../base/ports.ts';
import type {PackedTree, PackReport, TreePacker} from '../base/tree.ts';
import {type DiskWay, sendAsDisk} from './context-disk.ts';
import type {ContextPlan} from './context-plan.ts';

export interface SendOptions {
  readonly signal?: AbortSignal;
  /** Bytes of the context's tar stream that the machine has been given so far. */
  readonly onProgress?: (bytes: number, files: number) => void;
  /** Absent where the machine takes no disks: then the context is a tar stream. */
  readonly disk?: DiskWay | undefined;
}

const MAX_STDERR_CHARS = 16_384;

/** What was sent; `leftOut` counts what `.dockerignore` kept away, a directory as one. On a disk, `bytes` are the files' own. */
export interface SendReport extends PackReport {
  readonly way: 'tar' | 'disk';
}

/**
 * What unpacks the stream in the machine, as root. Names are used as they are: it is our own stream, and without
 * `--absolute-names` GNU tar would make each link out of its directory a second time at the end.
 * `--ignore-zeros` reads on behind the end of the first of two archives.
 */
export function unpackArgv(dir: string): readonly string[] {
  return [
    'sh',
    '-c',
    'mkdir -p -- "$0" && exec env LC_ALL=C "$@"',
    dir,
    'tar',
    '--extract',
    '--file=-',
    `--directory=${dir}`,
    '--absolute-names',
    '--ignore-zeros',
    '--same-permissions',
    '--same-owner',
    '--numeric-owner',
    '--delay-directory-restore',
    '--xattrs',
    '--xattrs-include=*',
    '--warning=no-timestamp',
  ];
}

/** Where the two directories that `buildctl build --local` names lie in the machine. */
export interface GuestDirs {
  readonly context: string;
  readonly dockerfile: string;
}

/**
 * Puts the context and the Dockerfile's directory into the machine as files: links, modes, mtimes, sparse and
 * hard-linked files and extended attributes as they are, owners 0:0. A large context goes as a disk where that can be done.
 * @throws UserError naming what cannot be read here, or that the machine's disk is full.
 */
export async function sendContext(
  session: Session,
  packer: TreePacker,
  plan: ContextPlan,
  dirs: GuestDirs,
  options: SendOptions = {},
): Promise<SendReport> {
  const files = packer.packFiles(plan.dockerfileDir, plan.dockerfileNames);
  // One failing send ends the other one, so that nothing goes on behind the caller's back.
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const abort = (error: unknown): void => stop.abort(error);
  let report: SendReport | undefined;
  const sendTree = async (): Promise<void> => {
    const asDisk = options.disk && (await sendAsDisk(session, plan, dirs.context, options.disk, signal));
    if (asDisk) {
      report = {...asDisk, way: 'disk'};
      return;
    }
    const onBytes = (bytes: number): void => options.onProgress?.(bytes, tree.report().files);
    const tree: PackedTree = packer.packTree(plan.contextDir, plan.filter, onBytes);
    await unpack(session, tree, dirs.context, signal, abort);
    report = {...tree.report(), way: 'tar'};
  };
  await Promise.allSettled([
    sendTree().catch(abort),
    unpack(session, files, dirs.dockerfile, signal, abort).catch(abort),
  ]);
  throwIfCanceled(options.signal);
  if (!report || stop.signal.aborted) throw stop.signal.reason;
  return report;
}

/** @param onBroken told why the stream broke: a session may only see that it did. */
async function unpack(
  session: Session,
  {stream}: PackedTree,
  dir: string,
  signal: AbortSignal,
  onBroken: (error: Error) => void,
): Promise<void> {
  stream.once('error', onBroken);
  let stderr = '';
  try {
    const exit = await session.run(unpackArgv(dir), {
      stdin: stream,
      bulk: 'stdin',
      signal,
      onStderr: chunk => {
        if (stderr.length < MAX_STDERR_CHARS) stderr += chunk.toString('utf8');
      },
    });
    if (exit.code !== 0) throw guestError(exit.code, exit.signal, stderr);
  } finally {
    stream.destroy();
  }
}

function guestError(code: number | undefined, signal: string | undefined, stderr: string): Error {
  const text = stderr.trim().split('\n').slice(0, 5).join('; ');
  const how = signal === undefined ? `status ${code}` : signal;
  if (/No space left on device/.test(stderr)) {
    return new UserError('the disk of the archive is too small for the build context: no space left', {
      stage: 'context',
      input: 'context',
      hint: 'Leave out what the build does not need with .dockerignore, or use an archive with a larger disk.',
    });
  }
  if (code === 127) {
    return new Error(`the archive has no program that the context is unpacked with (tar, sh): ${text}`);
  }
  if (/unrecognized option|invalid option|BusyBox/i.test(stderr)) {
    return new Error(`the archive's tar is not GNU tar 1.29 or newer: ${text}`);
  }
  return new Error(`the context could not be unpacked in the VM: tar ended with ${how}: ${text}`);
}
