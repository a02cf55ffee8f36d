import * as core from '@actions/core';
import type {CacheEntry} from '../base/cache.ts';
import type {OwnedResource} from '../base/events.ts';

/** What post needs to clean up after a main that was killed. Written before anything is started, and again with each new resource. */
export interface PostState {
  readonly schema: 1;
  readonly resources: readonly OwnedResource[];
  /** What is worth keeping in GitHub's cache, and the folder its client may work in. */
  readonly cacheSaves: readonly CacheEntry[];
  readonly storeDir?: string;
}

const KEY = 'post';

/** Keeps the list of owned resources in the runner's state file as it grows. */
export class StateKeeper {
  #state: PostState;

  constructor(storeDir: string) {
    this.#state = {schema: 1, resources: [], cacheSaves: [], storeDir};
    this.#save();
  }

  addResource(resource: OwnedResource): void {
    this.#state = {...this.#state, resources: [...this.#state.resources, resource]};
    this.#save();
  }

  addCacheSave(entry: CacheEntry): void {
    this.#state = {...this.#state, cacheSaves: [...this.#state.cacheSaves, entry]};
    this.#save();
  }

  #save(): void {
    core.saveState(KEY, JSON.stringify(this.#state));
  }
}

/** The state of this step's main; empty when main never got so far. @throws when it is no state of ours. */
export function readPostState(): PostState {
  const text = core.getState(KEY);
  if (text === '') return {schema: 1, resources: [], cacheSaves: []};
  const state = JSON.parse(text) as PostState;
  if (state.schema !== 1 || !Array.isArray(state.resources) || !Array.isArray(state.cacheSaves)) {
    throw new Error(`the saved state is not of schema 1: ${text.slice(0, 200)}`);
  }
  return state;
}
