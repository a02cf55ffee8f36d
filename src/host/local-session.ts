import {type ChildProcessWithoutNullStreams, spawn} from 'node:child_process';
import {asCanceled} from '../base/errors.ts';
import type {Exit, RunOptions, Session} from '../base/ports.ts';
import {CommandSession} from './command-session.ts';
import {tiedToThisProcess} from './processes.ts';
import {Stop} from './stop.ts';
import {drain, failureOf, feed} from './streams.ts';

/** After a TERM signal a command gets this long before it is killed. */
const TERM_GRACE_MS = 1_000;

/** Commands on this machine, in the folder `dir`, which is their home; of this process's environment they see no more than where programs are. */
export function openLocalSession(dir: string): Session {
  return new LocalSession(dir);
}

class LocalSession extends CommandSession {
  readonly #dir: string;
  readonly #running = new Set<() => void>();

  constructor(dir: string) {
    super();
    this.#dir = dir;
  }

  /** There is no other way than the command's own pipes. */
  override run(argv: readonly string[], {bulk: _, ...options}: RunOptions = {}): Promise<Exit> {
    return super.run(argv, options);
  }

  async close(): Promise<void> {
    for (const end of this.#running) end();
  }

  protected async exec(argv: readonly string[], name: string, options: RunOptions): Promise<Exit> {
    if (options.signal?.aborted) throw asCanceled(options.signal);
    const [file = '', ...args] = argv;
    const child = await this.#spawn(file, args, options.env);
    const exit = new Promise<Exit>(resolve =>
      child.once('close', (code, signal) => resolve({code: code ?? undefined, signal: signal ?? undefined})),
    );
    let closed = false;
    void exit.then(() => {
      closed = true;
    });
    const streams = [drain(child.stdout, options.onStdout), drain(child.stderr, options.onStderr)];
    const terminate = (): void => {
      if (closed) return;
      endGroup(child, 'SIGTERM');
      const timer = setTimeout(() => endGroup(child, 'SIGKILL'), TERM_GRACE_MS);
      void exit.then(() => clearTimeout(timer));
    };
    this.#running.add(terminate);
    const stop = new Stop(options, name, terminate);
    const fed = feed(child.stdin, options.stdin);
    try {
      const done = await Promise.race([exit, stop.raised, ...streams.map(failureOf), failureOf(fed)]);
      await Promise.race([Promise.all(streams), stop.raised]);
      return done;
    } catch (error) {
      terminate();
      // What it has open and what it writes to is about to be removed.
      await exit;
      throw error;
    } finally {
      stop.clear();
      this.#running.delete(terminate);
      void Promise.allSettled([...streams, fed]);
    }
  }

  /** A process group of its own, so that what it has started ends with it. */
  async #spawn(
    file: string,
    args: readonly string[],
    env: RunOptions['env'],
  ): Promise<ChildProcessWithoutNullStreams> {
    const tied = await tiedToThisProcess({file, args});
    return new Promise((resolve, reject) => {
      const child = spawn(tied.file, tied.args, {
        cwd: this.#dir,
        detached: true,
        env: {PATH: process.env.PATH, HOME: this.#dir, TMPDIR: this.#dir, LANG: 'C.UTF-8', ...env},
      });
      child.stdin.on('error', () => undefined);
      child.once('error', reject);
      child.once('spawn', () => {
        child.off('error', reject);
        child.on('error', () => undefined);
        resolve(child);
      });
    });
  }
}

/** As long as its pipes are open, there is something of the group, and no other can have its number. */
function endGroup({pid}: ChildProcessWithoutNullStreams, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch {
    // It has just ended.
  }
}
