import {CanceledError} from '../base/errors.ts';

/**
 * A signal that is aborted by SIGINT, SIGTERM or SIGHUP. The hosted runner cancels with SIGINT, SIGTERM 7.5 s later and SIGKILL 2.5 s after that, so what
 * listens has 7.5 s; further signals while it cleans up are ignored, since giving up half-way would leave the machine behind.
 */
export function cancelOnSignals(): {readonly signal: AbortSignal; dispose(): void} {
  const controller = new AbortController();
  const listeners = (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map(name => {
    const listener = (): void => controller.abort(new CanceledError(`canceled by ${name}`));
    process.on(name, listener);
    return () => process.off(name, listener);
  });
  return {
    signal: controller.signal,
    dispose: () => {
      for (const off of listeners) off();
    },
  };
}
