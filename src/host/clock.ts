import {asCanceled} from '../base/errors.ts';
import type {Clock} from '../base/ports.ts';

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(asCanceled(signal));
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(asCanceled(signal as AbortSignal));
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      }, ms);
      signal?.addEventListener('abort', onAbort, {once: true});
    }),
};
