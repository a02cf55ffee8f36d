import {type ChildProcess, fork} from 'node:child_process';
import {constants} from 'node:fs';
import {copyFile, link, lstat, mkdir, mkdtemp, rename, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import type {
  ActionsCache,
  CacheEntry,
  CacheHit,
  CacheOptions,
  CacheRestore,
  CacheSave,
} from '../base/cache.ts';
import {asCanceled, messageOf, throwIfCanceled} from '../base/errors.ts';
import {CacheLog, isTaken} from './cache-log.ts';
import type {CacheAnswer, CacheRequest} from './cache-worker.ts';
import {localFiles} from './files.ts';
import {removeTree} from './merge.ts';
import {startTicksOf} from './processes.ts';
import {Stop} from './stop.ts';
import {STAGING_PREFIX} from './store.ts';

/** The folder in an entry's tar; one letter, so that tar's patterns can say "nothing else". */
const FOLDER = 'e';
/** It stands in the folder before tar unpacks there: a link cannot take the place of a folder that is not empty. */
const GUARD = '.guard';
/**
 * The library unpacks with `tar -P`, which would let an entry write anywhere. GNU tar reads more options from here (manual, "TAR_OPTIONS"): only files
 * directly in the folder come out.
 */
const ONLY_OUR_FOLDER = `--anchored --exclude=[!${FOLDER}]* --exclude=${FOLDER}[!/]* --exclude=${FOLDER}/*/*`;
/** The library makes one text of tar's command line and parses it again; tar takes what stands before a colon for a host. */
const UNSPEAKABLE = /[\s:"'\\]/;
const RESTORE_TIMEOUT_MS = 120_000;
const SAVE_TIMEOUT_MS = 300_000;

export interface ActionsCacheOptions {
  /** The bundled `cache-main.ts`. */
  readonly workerPath: string;
  /** Files come and go here; the store's folder, so that taking one is a rename. */
  readonly storeDir: string;
  readonly env: NodeJS.ProcessEnv;
}

/** The cache of GitHub Actions. Whatever it does, the job goes on: failures are values. */
export function openActionsCache(options: ActionsCacheOptions): ActionsCache {
  return {
    restore: (key, more) => staged(options, more, staging => restore(options, staging, key, more)),
    save: (entry, more) => staged(options, more, staging => save(options, staging, entry, more)),
  };
}

/** Runs `work` with a folder of its own, which is removed unless it is lent on with a hit. */
async function staged<T extends CacheRestore | CacheSave>(
  {storeDir}: ActionsCacheOptions,
  {signal, onResource}: CacheOptions,
  work: (staging: string) => Promise<T>,
): Promise<T | {kind: 'failed'; reason: string}> {
  let staging: string | undefined;
  let result: T | undefined;
  try {
    throwIfCanceled(signal);
    if (UNSPEAKABLE.test(storeDir)) {
      const reason = `its client cannot work in ${JSON.stringify(storeDir)}: set BUILDKIT_ARCHIVE_STORE to a folder without spaces, colons and quotes in its path`;
      return {kind: 'failed', reason};
    }
    await mkdir(storeDir, {recursive: true});
    staging = await mkdtemp(join(storeDir, STAGING_PREFIX));
    onResource?.({kind: 'temp-dir', path: staging});
    await mkdir(join(staging, FOLDER));
    result = await work(staging);
    return result;
  } catch (error) {
    if (signal?.aborted) throw asCanceled(signal);
    return {kind: 'failed', reason: messageOf(error)};
  } finally {
    if (staging !== undefined && result?.kind !== 'hit') await removeTree(staging);
  }
}

async function restore(
  options: ActionsCacheOptions,
  staging: string,
  key: string,
  more: CacheOptions,
): Promise<CacheRestore> {
  await writeFile(join(staging, FOLDER, GUARD), '');
  const {answer, log} = await ask(options, staging, {operation: 'restore', key, path: FOLDER}, more);
  if (answer.kind === 'restored' && answer.key === key) return hit(staging, log.sizeBytes);
  if (answer.kind === 'failed') return {kind: 'failed', reason: answer.message};
  const reason = log.skipped ?? log.failure;
  return reason === undefined ? {kind: 'miss'} : {kind: 'failed', reason};
}

function hit(staging: string, sizeBytes: number | undefined): CacheHit {
  const path = async (name: string): Promise<string> => {
    const file = join(staging, FOLDER, name);
    const stats = await lstat(file).catch(() => undefined);
    // A second name of the same file could be one outside.
    if (!stats?.isFile() || stats.nlink !== 1)
      throw new Error(`the cache's entry has no regular file ${name}`);
    return file;
  };
  return {
    kind: 'hit',
    sizeBytes,
    path,
    take: async (name, dest) => rename(await path(name), dest),
    discard: () => removeTree(staging),
  };
}

async function save(
  options: ActionsCacheOptions,
  staging: string,
  {key, files, sealed}: CacheEntry,
  more: CacheOptions,
): Promise<CacheSave> {
  const put = sealed ? localFiles.copySparse : linkOrCopy;
  for (const [name, path] of Object.entries(files)) await put(path, join(staging, FOLDER, name));
  const {answer, log} = await ask(options, staging, {operation: 'save', key, path: FOLDER}, more);
  if (answer.kind === 'failed') return {kind: 'failed', reason: answer.message};
  const reason = log.skipped ?? log.failure;
  if (reason === undefined && answer.kind === 'saved') return {kind: 'saved', sizeBytes: log.sizeBytes};
  return isTaken(reason ?? '')
    ? {kind: 'exists'}
    : {kind: 'failed', reason: reason ?? 'the cache service did not say why'};
}

async function linkOrCopy(path: string, dest: string): Promise<void> {
  try {
    await link(path, dest);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP'].includes(code)) throw error;
    await copyFile(path, dest, constants.COPYFILE_FICLONE);
  }
}

/** Has a worker carry out one request. @throws CanceledError, or an Error when it does not answer in time or dies. */
async function ask(
  {workerPath, env}: ActionsCacheOptions,
  staging: string,
  request: CacheRequest,
  {signal, timeoutMs, onLine, onResource}: CacheOptions,
): Promise<{answer: CacheAnswer; log: CacheLog}> {
  const limitMs = timeoutMs ?? (request.operation === 'restore' ? RESTORE_TIMEOUT_MS : SAVE_TIMEOUT_MS);
  const worker = fork(workerPath, [], {
    cwd: staging,
    env: workerEnvironment(env, staging, request),
    execArgv: [],
    silent: true,
    // A process group of its own, so that tar and zstd end with it.
    detached: true,
  });
  const log = new CacheLog(onLine);
  worker.stdout?.setEncoding('utf8').on('data', (text: string) => log.write(text));
  worker.stderr?.setEncoding('utf8').on('data', (text: string) => log.write(text));
  // `close` does not come once the channel was closed from here.
  const ended = Promise.all(
    [worker.stdout, worker.stderr].map(
      stream => new Promise<void>(done => stream?.once('close', () => done())),
    ),
  );
  const stop = new Stop({timeoutMs: limitMs, ...(signal && {signal})}, 'the cache', () => killGroup(worker));
  const answered = new Promise<CacheAnswer>((resolve, reject) => {
    worker.once('message', answer => resolve(answer as CacheAnswer));
    worker.once('error', reject);
    worker.once('exit', code => reject(new Error(`its client ended with exit status ${code}`)));
  });
  answered.catch(() => undefined);
  try {
    if (worker.pid !== undefined) {
      const startTicks = (await startTicksOf(worker.pid)) ?? '';
      onResource?.({kind: 'process', pid: worker.pid, startTicks, name: 'the client of the Actions cache'});
      // A worker that is gone already says so by its exit.
      worker.send(request, () => undefined);
    }
    const answer = await Promise.race([answered, stop.raised]);
    if (answer.kind === 'unavailable') throw new Error('this runner offers no cache service');
    worker.disconnect();
    await ended;
    return {answer, log};
  } finally {
    stop.clear();
    killGroup(worker);
  }
}

function killGroup(worker: ChildProcess): void {
  if (worker.pid === undefined || worker.exitCode !== null || worker.signalCode !== null) return;
  try {
    process.kill(-worker.pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

/** What the library reads: the service, its token, proxies. Its folders are ours, so that a killed one leaves nothing elsewhere. */
function workerEnvironment(
  env: NodeJS.ProcessEnv,
  staging: string,
  request: CacheRequest,
): NodeJS.ProcessEnv {
  const wanted =
    /^(PATH|HOME|LANG|TMPDIR|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR)|GITHUB_SERVER_URL|RUNNER_TRACKING_ID|ACTIONS_.*|CACHE_UPLOAD_.*|SEGMENT_DOWNLOAD_.*|(https?|no|all)_proxy)$/i;
  return {
    ...Object.fromEntries(Object.entries(env).filter(([name]) => wanted.test(name))),
    // Names in an entry are relative to the workspace.
    GITHUB_WORKSPACE: staging,
    RUNNER_TEMP: staging,
    // A machine's memory is a file with holes: it stays one (GNU tar manual, "sparse").
    TAR_OPTIONS: request.operation === 'restore' ? ONLY_OUR_FOLDER : '--sparse',
  };
}
