import {messageOf} from '../base/errors.ts';
import type {Clock, Files} from '../base/ports.ts';
import {quoteWord} from '../base/quote.ts';
import type {Qmp} from './qmp.ts';

const POLL_MS = 5;
/** Leaves out memory that lies in a shared file (QEMU 4.0 and newer; qapi/migration.json). */
const IGNORE_SHARED = 'x-ignore-shared';

/** True when this QEMU can leave memory in a file out of the stream. */
export async function canIgnoreShared(qmp: Qmp): Promise<boolean> {
  const capabilities = (await qmp.execute('query-migrate-capabilities')) as readonly {capability: string}[];
  return capabilities.some(({capability}) => capability === IGNORE_SHARED);
}

export async function setIgnoreShared(qmp: Qmp, state: boolean): Promise<void> {
  await qmp.execute('migrate-set-capabilities', {capabilities: [{capability: IGNORE_SHARED, state}]});
}

/** Ends the name of a note that says why a state was not written. */
const NOTE = '.failed';
/** QEMU is through by then; what is left is in a pipe. */
const WRITE_LIMIT_MS = 10_000;

/**
 * Writes a stopped machine's state to a file, which is there when it is whole. QEMU knows nothing of what it has put into the pipe: when the disk
 * is full at the very end it says `completed` all the same.
 * @throws with the reason of whoever failed; CanceledError.
 */
export async function saveState(
  qmp: Qmp,
  {clock, files}: {readonly clock: Clock; readonly files: Pick<Files, 'exists' | 'readText'>},
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const [part, whole, note] = [`${path}.part`, path, `${path}${NOTE}`].map(quoteWord);
  const write = `said=$(cat 2>&1 > ${part}) && mv ${part} ${whole} || { rm -f ${part}; echo "$said" > ${note}; }`;
  await qmp.execute('migrate', {uri: `exec:${write}`});
  const failure = await completed(qmp, clock, signal).then(
    () => undefined,
    error => {
      if (signal.aborted) throw error;
      return error as Error;
    },
  );
  const endMs = clock.nowMs() + WRITE_LIMIT_MS;
  while (!(await files.exists(path))) {
    if (await files.exists(`${path}${NOTE}`)) {
      const said = (await files.readText(`${path}${NOTE}`)).trim();
      throw new Error(`the device state could not be written: ${said || messageOf(failure)}`);
    }
    if (clock.nowMs() > endMs) throw failure ?? new Error('the device state is not written in time');
    await clock.sleep(POLL_MS, signal);
  }
  if (failure) throw failure;
}

/** Reads a state into a machine that waits for it; it is stopped afterwards. @throws with QEMU's reason; CanceledError. */
export async function loadState(qmp: Qmp, clock: Clock, path: string, signal: AbortSignal): Promise<void> {
  await qmp.execute('migrate-incoming', {uri: `exec:cat ${quoteWord(path)}`});
  await completed(qmp, clock, signal);
}

async function completed(qmp: Qmp, clock: Clock, signal: AbortSignal): Promise<void> {
  while (true) {
    const info = (await qmp.execute('query-migrate')) as {status?: string; 'error-desc'?: string};
    if (info.status === 'completed') return;
    if (info.status === 'failed' || info.status === 'cancelled') {
      throw new Error(
        `QEMU's migration ${info.status}: ${messageOf(info['error-desc'] ?? 'no reason given')}`,
      );
    }
    await clock.sleep(POLL_MS, signal);
  }
}
