import {messageOf} from '../base/errors.ts';
import type {Clock} from '../base/ports.ts';
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

/** Writes a stopped machine's state to a file. @throws with QEMU's reason; CanceledError. */
export async function saveState(qmp: Qmp, clock: Clock, path: string, signal: AbortSignal): Promise<void> {
  await qmp.execute('migrate', {uri: `exec:cat > ${quoteWord(path)}`});
  await completed(qmp, clock, signal);
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
