import type {Readable} from 'node:stream';
import {asCanceled, CanceledError} from '../../base/errors.ts';
import {TransferError} from '../../base/http.ts';
import type {Clock} from '../../base/ports.ts';
import type {TransferPolicy} from './policy.ts';

/**
 * The chunks of an answer. Only the time spent waiting for the server counts as a stall, not what the reader takes to write them.
 * @throws TransferError when the connection breaks or hardly anything comes; `CanceledError` when `signal` is aborted.
 */
export async function* bodyChunks(
  body: Readable,
  clock: Clock,
  policy: TransferPolicy,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const iterator = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const watchdog = new Watchdog(body, clock, policy);
  const onAbort = (): void => void body.destroy(asCanceled(signal));
  signal.addEventListener('abort', onAbort, {once: true});
  if (signal.aborted) onAbort();
  try {
    for (;;) {
      const next = await watchdog.during(() => iterator.next());
      if (next.done) return;
      watchdog.received(next.value.length);
      yield next.value;
    }
  } catch (error) {
    if (signal.aborted) throw asCanceled(signal);
    if (error instanceof TransferError || error instanceof CanceledError) throw error;
    throw new TransferError('reset', 'the connection broke', {cause: error});
  } finally {
    watchdog.stop();
    signal.removeEventListener('abort', onAbort);
    body.destroy();
  }
}

/** Everything an answer has to say, up to a limit; undefined when it is longer. */
export async function bodyBytes(
  chunks: AsyncIterable<Buffer>,
  limitBytes: number,
): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of chunks) {
    sizeBytes += chunk.length;
    if (sizeBytes > limitBytes) return undefined;
    parts.push(chunk);
  }
  return Buffer.concat(parts);
}

/** Destroys a body that brings less than `stallBytes` in a whole period of `stallMs` in which it was waited for. */
class Watchdog {
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  #bytes = 0;
  #waitedMs = 0;
  #waitingSinceMs: number | undefined;

  constructor(body: Readable, clock: Clock, policy: TransferPolicy) {
    this.#clock = clock;
    void this.#watch(body, policy);
  }

  async during<T>(wait: () => Promise<T>): Promise<T> {
    this.#waitingSinceMs = this.#clock.nowMs();
    try {
      return await wait();
    } finally {
      this.#waitedMs += this.#clock.nowMs() - this.#waitingSinceMs;
      this.#waitingSinceMs = undefined;
    }
  }

  received(bytes: number): void {
    this.#bytes += bytes;
  }

  stop(): void {
    this.#stop.abort();
  }

  async #watch(body: Readable, policy: TransferPolicy): Promise<void> {
    for (;;) {
      const isOver = await this.#clock.sleep(policy.stallMs, this.#stop.signal).then(
        () => this.#stop.signal.aborted,
        () => true,
      );
      if (isOver) return;
      const nowMs = this.#clock.nowMs();
      const waitedMs =
        this.#waitedMs + (this.#waitingSinceMs === undefined ? 0 : nowMs - this.#waitingSinceMs);
      // A reader that was busy for part of the period gets the benefit of the doubt.
      if (this.#bytes < policy.stallBytes && waitedMs >= policy.stallMs * 0.9) {
        body.destroy(new TransferError('timeout', `no data for ${policy.stallMs / 1000} s`));
        return;
      }
      [this.#bytes, this.#waitedMs] = [0, 0];
      if (this.#waitingSinceMs !== undefined) this.#waitingSinceMs = nowMs;
    }
  }
}
