import {fileURLToPath} from 'node:url';
import {cacheDecision} from '../archive/store-policy.ts';
import type {ActionsCache, CacheMode} from '../base/cache.ts';
import type {Emit} from '../base/events.ts';
import {openActionsCache} from '../host/cache.ts';

/** The Actions cache, where the mode and the event allow it and the runner has one. */
export function openCache(
  mode: CacheMode,
  storeDir: string,
  env: NodeJS.ProcessEnv,
  emit: Emit,
): ActionsCache | undefined {
  // Set by the runner for every action; without them there is no service to speak to.
  if (!env.ACTIONS_CACHE_URL && !env.ACTIONS_RESULTS_URL) return undefined;
  const {use, reason} = cacheDecision(mode, {eventName: env.GITHUB_EVENT_NAME, refType: env.GITHUB_REF_TYPE});
  if (!use) {
    emit({kind: 'notice', message: `the Actions cache is not used: ${reason}`});
    return undefined;
  }
  return actionsCache(storeDir, env);
}

/** The client runs as a process of its own, bundled beside this file. */
export function actionsCache(storeDir: string, env: NodeJS.ProcessEnv): ActionsCache {
  return openActionsCache({
    workerPath: fileURLToPath(new URL('./cache.cjs', import.meta.url)),
    storeDir,
    env,
  });
}
