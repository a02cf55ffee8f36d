import * as core from '@actions/core';
import {messageOf} from '../base/errors.ts';
import type {JobEvent} from '../base/events.ts';
import {saveEntries} from '../host/cache-save.ts';
import {cleanUp} from '../host/cleanup.ts';
import {inert} from '../report/inert.ts';
import {actionsCache} from './cache.ts';
import {readPostState} from './state.ts';

/** Runs after the job whatever happened to main, and trusts nothing but main's saved state. A failure here never fails the job. */
export async function post(): Promise<void> {
  try {
    const state = readPostState();
    const done = await cleanUp(state.resources);
    core.info(done.length === 0 ? 'Nothing was left to clean up.' : `Cleaned up: ${done.join(', ')}`);
    if (state.cacheSaves.length > 0 && state.storeDir !== undefined) {
      await saveEntries(actionsCache(state.storeDir, process.env), state.cacheSaves, say);
    }
  } catch (error) {
    core.warning(`cleaning up failed: ${messageOf(error)}`);
  }
}

function say(event: JobEvent): void {
  if (event.kind === 'warning') core.warning(inert(event.message));
  if (event.kind === 'notice') core.info(inert(event.message));
}
