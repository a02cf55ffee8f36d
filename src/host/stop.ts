import {asCanceled, CanceledError} from '../base/errors.ts';
import type {RunOptions} from '../base/ports.ts';

/** Turns a signal or a time limit into one rejection, after asking the command to end. */
export class Stop {
  readonly raised: Promise<never>;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #off: () => void;

  constructor(options: RunOptions, name: string, terminate: () => void) {
    const {promise, reject} = withRejecter();
    this.raised = promise;
    const raise = (error: Error): void => {
      terminate();
      reject(error);
    };
    const {signal, timeoutMs} = options;
    this.#timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => raise(new Error(`${name} did not end within ${timeoutMs / 1000} s`)), timeoutMs);
    const onAbort = (): void => raise(signal ? asCanceled(signal) : new CanceledError());
    signal?.addEventListener('abort', onAbort, {once: true});
    this.#off = () => signal?.removeEventListener('abort', onAbort);
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#off();
  }
}

function withRejecter(): {promise: Promise<never>; reject: (error: Error) => void} {
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<never>((_, no) => {
    reject = no;
  });
  promise.catch(() => undefined);
  return {promise, reject};
}
