import type {WriteStream} from 'node:tty';
import type {JobEvent} from '../base/events.ts';
import {InertStream, inert} from '../report/inert.ts';

import {frozenText, upText} from '../report/start.ts';

const CLEAR_LINE = '\r\u001b[K';

/** Prints a job's events for a person: stages as lines, progress as one live line that the next output replaces. */
export class TerminalLog {
  readonly colours: boolean;
  readonly #out: WriteStream;
  readonly #build = new InertStream();
  #liveLine = false;

  constructor(out: WriteStream) {
    this.#out = out;
    // https://no-color.org
    this.colours = out.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
  }

  readonly listen = (event: JobEvent): void => {
    switch (event.kind) {
      case 'stage-started':
        this.#print(`${this.#bold('==>')} ${inert(event.title)}\n`);
        break;
      case 'stage-finished':
        this.#print(this.#build.flush());
        this.#print(this.#dim(`    ${event.seconds.toFixed(1)} s\n`));
        break;
      case 'progress':
        if (!this.#out.isTTY) break;
        this.#clear();
        this.#out.write(`    ${inert(event.text)}`.slice(0, (this.#out.columns ?? 80) - 1));
        this.#liveLine = true;
        break;
      case 'notice':
        this.#print(`    ${inert(placed(event))}\n`);
        break;
      case 'warning':
        this.#print(`${this.#colour('33', 'warning:')} ${inert(event.message)}\n`);
        break;
      case 'booted':
        this.#print(`    ${inert(upText(event.machine))}\n`);
        break;
      case 'frozen':
        this.#print(`    kept the VM for the next run: ${frozenText(event)}\n`);
        break;
      case 'inspected':
        this.#print(
          inert(
            `    BuildKit ${event.versions.buildkit.version}, runc ${event.versions.runc?.version ?? 'unknown'}, kernel ${event.versions.kernel}, ${event.versions.os}\n`,
          ),
        );
        break;
      case 'build-log':
        this.#print(this.#build.write(event.text));
        break;
      case 'debug':
        if (process.env.BUILDKIT_ARCHIVE_DEBUG) this.#print(`${inert(event.message)}\n`);
        break;
      case 'cache-save':
      case 'resource':
      case 'finished':
        break;
    }
  };

  #print(text: string): void {
    if (text === '') return;
    this.#clear();
    this.#out.write(text);
  }

  #clear(): void {
    if (this.#liveLine) this.#out.write(CLEAR_LINE);
    this.#liveLine = false;
  }

  #bold(text: string): string {
    return this.#colour('1', text);
  }

  #dim(text: string): string {
    return this.#colour('2', text);
  }

  #colour(code: string, text: string): string {
    return this.colours ? `\u001b[${code}m${text}\u001b[0m` : text;
  }
}

function placed({message, location}: Extract<JobEvent, {kind: 'notice'}>): string {
  return location === undefined ? message : `${location.file}:${location.startLine}: ${message}`;
}
