import {randomBytes} from 'node:crypto';
import * as core from '@actions/core';
import type {JobEvent} from '../base/events.ts';
import {CommandGuard, inert, plain} from '../report/inert.ts';

import {frozenText, upText} from '../report/start.ts';

/**
 * Prints a job's events to a workflow's log: a group a stage, warnings as annotations. The build's own log comes from the VM and goes
 * between `stop-commands` and a random token; while that guard is open nothing of ours may be a command, so warnings wait.
 */
export class WorkflowLog {
  readonly #write: (text: string) => void;
  readonly #guard = new CommandGuard();
  #guarded = false;
  #waiting: string[] = [];

  constructor(write: (text: string) => void = text => process.stdout.write(text)) {
    this.#write = write;
  }

  readonly listen = (event: JobEvent): void => {
    switch (event.kind) {
      case 'stage-started':
        this.#close();
        core.startGroup(inert(event.title));
        break;
      case 'stage-finished':
        this.#close();
        core.info(
          `${event.stage}: ${event.seconds.toFixed(1)} s${event.detail === undefined ? '' : `, ${inert(event.detail)}`}`,
        );
        core.endGroup();
        this.#flushWarnings();
        break;
      case 'build-log':
        this.#open();
        this.#write(this.#guard.write(event.text));
        break;
      case 'warning':
        this.#waiting.push(inert(event.message));
        if (!this.#guarded) this.#flushWarnings();
        break;
      case 'notice':
        if (this.#guarded) break;
        if (event.location) core.notice(plain(event.message), {title: 'Foreseen', ...event.location});
        else core.info(inert(event.message));
        break;
      case 'debug':
        if (!this.#guarded) core.debug(inert(event.message));
        break;
      case 'booted':
        core.info(inert(upText(event.machine)));
        break;
      case 'frozen':
        core.info(`kept the VM for the next run: ${frozenText(event)}`);
        break;
      case 'inspected':
        core.info(
          inert(
            `BuildKit ${event.versions.buildkit.version} (${event.versions.buildkit.commit ?? 'commit unknown'}), runc ${event.versions.runc?.version ?? 'unknown'}, kernel ${event.versions.kernel}, ${event.versions.os}`,
          ),
        );
        break;
      case 'finished':
        this.#close();
        this.#flushWarnings();
        break;
      case 'progress':
        // A pull is worth its lines; a boot or a context is over soon.
        if (event.stage === 'archive' && !this.#guarded) core.info(inert(event.text));
        break;
      case 'cache-save':
      case 'resource':
        break;
    }
  };

  #open(): void {
    if (this.#guarded) return;
    this.#guarded = true;
    this.#write(this.#guard.begin(randomBytes(24).toString('hex')));
  }

  #close(): void {
    if (!this.#guarded) return;
    this.#write(this.#guard.end());
    this.#guarded = false;
  }

  #flushWarnings(): void {
    for (const message of this.#waiting) core.warning(message);
    this.#waiting = [];
  }
}
