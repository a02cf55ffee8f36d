import {messageOf} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import type {Files} from '../base/ports.ts';
import type {StoreFolder, StoreKey} from '../base/store.ts';
import {judge} from './store-plan.ts';

export interface NotesPorts {
  readonly folder: StoreFolder;
  readonly files: Pick<Files, 'readText' | 'writeText'>;
  /** Wall-clock time in milliseconds since 1970. */
  readonly nowMs: () => number;
  readonly emit: Emit;
}

/** Short texts in the store, each under the hash of what it is about. A store that does not work has none: no method rejects. */
export class Notes {
  readonly #ports: NotesPorts;

  constructor(ports: NotesPorts) {
    this.#ports = ports;
  }

  async find(digest: string): Promise<string | undefined> {
    const {folder, files} = this.#ports;
    const key = keyOf(digest);
    try {
      const entry = await folder.read(key);
      const trust = judge(entry, await folder.bootId());
      if (!entry || trust.kind === 'absent' || trust.kind === 'damaged') return undefined;
      await folder.touch(key);
      return await files.readText(entry.path);
    } catch (error) {
      this.#debug('a note cannot be read', error);
      return undefined;
    }
  }

  /** Writes a note, in the place of an older one. */
  async keep(digest: string, label: string, text: string): Promise<void> {
    const {folder, files, nowMs} = this.#ports;
    const key = keyOf(digest);
    try {
      const lock = await folder.tryLock(key);
      if (!lock) return;
      try {
        const path = await folder.begin(key);
        await files.writeText(path, text);
        const measured = await folder.measure(path);
        const bootId = await folder.bootId();
        await folder.commit(key, path, {schema: 1, digest, label, ...measured, bootId, createdMs: nowMs()});
      } finally {
        await folder.abandon(key);
        await lock.release();
      }
    } catch (error) {
      this.#debug('a note was not kept', error);
    }
  }

  async forget(digest: string): Promise<void> {
    const {folder} = this.#ports;
    const key = keyOf(digest);
    try {
      const lock = await folder.tryLock(key);
      await folder.remove(key).finally(() => lock?.release());
    } catch (error) {
      this.#debug('a note could not be removed', error);
    }
  }

  #debug(what: string, error: unknown): void {
    this.#ports.emit({kind: 'debug', message: `${what}: ${messageOf(error)}`});
  }
}

function keyOf(digest: string): StoreKey {
  return {kind: 'notes', digest};
}
