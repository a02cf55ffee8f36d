/** What @actions/cache says on its standard output: workflow commands (actions/toolkit, `command.ts`) and plain lines. */
export interface CacheLine {
  readonly level: 'debug' | 'info' | 'warning' | 'error';
  readonly text: string;
}

/** Reads the library's output, keeps its secrets out of it, and finds in it what its functions do not return. */
export class CacheLog {
  readonly #onLine: (line: string) => void;
  #secrets: readonly string[] = [];
  #lines: readonly CacheLine[] = [];
  #rest = '';

  constructor(onLine: (line: string) => void = () => undefined) {
    this.#onLine = onLine;
  }

  write(text: string): void {
    const lines = (this.#rest + text).split(/\r?\n/);
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#take(line);
  }

  /** Bytes of the entry's tar as they go over the wire; undefined when the library did not say. */
  get sizeBytes(): number | undefined {
    const texts = this.#lines.map(({text}) => text);
    for (const pattern of [/^Cache Size: .*\((\d+) B\)$/, /^File Size: (\d+)$/]) {
      const found = texts.map(text => pattern.exec(text)?.[1]).find(size => size !== undefined);
      if (found !== undefined) return Number(found);
    }
    return undefined;
  }

  /** Why it failed; undefined when nothing says that it did. */
  get failure(): string | undefined {
    const said = this.#lines.filter(({level}) => level === 'warning' || level === 'error').at(-1)?.text;
    const failed = this.#lines.find(({text}) => text.startsWith('Failed to save: '))?.text ?? said;
    // For every refusal the library says that another job may be at it; what the service answered stands in a debug line.
    const refused = this.#lines.flatMap(
      ({text}) => /^Failed to reserve cache: (?:Error: )?(.*)/.exec(text)?.[1] ?? [],
    )[0];
    return (
      refused ??
      failed
        ?.replace(/^Failed to (save|restore): (Error: )?/, '')
        .replace(/^Unable to reserve .*More details: /, '')
    );
  }

  /** What the library said when it left the entry alone because of `cache-mode`. */
  get skipped(): string | undefined {
    return this.#lines.find(({text}) => /^Cache (save|restore) skipped: /.test(text))?.text;
  }

  #take(line: string): void {
    const command = /^::([a-z-]+)(?: [^:]*)?::(.*)$/.exec(line);
    const data = decoded(command?.[2] ?? line);
    const name = command?.[1] ?? 'info';
    if (name === 'add-mask') {
      if (data !== '') this.#secrets = [...this.#secrets, data];
      return;
    }
    const text = this.#secrets.reduce((shown, secret) => shown.replaceAll(secret, '***'), data);
    const level = name === 'debug' || name === 'warning' || name === 'error' ? name : 'info';
    this.#lines = [...this.#lines, {level, text}];
    this.#onLine(text);
  }
}

/** The service's answer when there is an entry of this key, whole or just being written. */
export function isTaken(reason: string): boolean {
  return /\(409\)|already[ _-]?exist/i.test(reason);
}

function decoded(data: string): string {
  return data.replaceAll('%0D', '\r').replaceAll('%0A', '\n').replaceAll('%25', '%');
}
