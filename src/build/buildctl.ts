import type {Emit} from '../base/events.ts';
import type {Exit} from '../base/ports.ts';
import type {BuildTrace} from '../base/trace.ts';
import {createProgressReader, mergeTrace} from '../progress/reader.ts';
import type {BuildSite} from './site.ts';

export interface BuildRun {
  readonly exit: Exit;
  readonly trace: BuildTrace;
  readonly timedOut: boolean;
}

export interface BuildctlOptions {
  readonly emit: Emit;
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Told what is known when the link breaks, so that a build whose VM died still has a trace. */
  readonly salvage: (trace: BuildTrace) => void;
}

/**
 * For `sh -c SCRIPT build PIPE ARGV…`: runs buildctl and, when it has ended without ever opening the trace, opens and closes the pipe so that
 * its reader ends, too.
 */
const SCRIPT = `
pipe=$1
shift
"$@"
code=$?
exec 3<>"$pipe"
exec 3>&-
exit "$code"
`;

/** After the time limit buildctl gets this long to cancel its build, which marks the running steps as canceled. */
const TIMEOUT_GRACE_MS = 15_000;

/** Runs buildctl at its site, streams its log, and reads its progress from `--trace`, which every release since v0.3.0 writes. */
export async function runBuildctl(
  site: BuildSite,
  argv: readonly string[],
  options: BuildctlOptions,
): Promise<BuildRun> {
  const {session, layout} = site;
  const progress = new Progress(options.emit);
  const limit = new TimeLimit(site, options.timeoutMs);
  const done = new AbortController();
  const reading = session.run(['cat', layout.trace], {
    onStdout: chunk => progress.trace(chunk),
    signal: AbortSignal.any([options.signal, done.signal]),
  });
  reading.catch(() => undefined);
  try {
    const exit = await session.run(['sh', '-c', SCRIPT, 'build', layout.trace, ...argv], {
      env: options.env,
      onStdout: chunk => progress.log('stdout', chunk),
      onStderr: chunk => progress.log('stderr', chunk),
      signal: AbortSignal.any([options.signal, limit.hard]),
    });
    await reading;
    return {exit, trace: progress.end(), timedOut: limit.exceeded};
  } catch (error) {
    if (limit.hard.aborted && !options.signal.aborted) {
      return {exit: {code: undefined, signal: 'SIGKILL'}, trace: progress.end(), timedOut: true};
    }
    options.salvage(progress.end());
    throw error;
  } finally {
    done.abort();
    limit.dispose();
  }
}

/** The log as it comes, to the listener and to the readers. */
class Progress {
  readonly #emit: Emit;
  readonly #readers = {
    trace: createProgressReader({form: 'trace'}),
    // Up to v0.4 the plain log is on standard output, later on standard error.
    stdout: createProgressReader({form: 'plain'}),
    stderr: createProgressReader({form: 'plain'}),
  };
  readonly #decoders = {stdout: new TextDecoder(), stderr: new TextDecoder()};

  constructor(emit: Emit) {
    this.#emit = emit;
  }

  trace(chunk: Buffer): void {
    this.#readers.trace.write(chunk);
  }

  log(stream: 'stdout' | 'stderr', chunk: Buffer): void {
    this.#readers[stream].write(chunk);
    const text = this.#decoders[stream].decode(chunk, {stream: true});
    if (text !== '') this.#emit({kind: 'build-log', text});
  }

  /** The steps come from the trace, where there is one; the source excerpt and the final error stand only in the log. */
  end(): BuildTrace {
    const {trace, stdout, stderr} = this.#readers;
    for (const reader of [trace, stdout, stderr]) reader.end();
    return [stdout.trace(), stderr.trace()].reduce(mergeTrace, trace.trace());
  }
}

/** Interrupts buildctl when its time is up, and gives up on it when that does not help. */
class TimeLimit {
  exceeded = false;
  readonly #hard = new AbortController();
  readonly #timers: NodeJS.Timeout[] = [];

  constructor({session, interrupt}: BuildSite, timeoutMs: number) {
    const onTime = (): void => {
      this.exceeded = true;
      session.output(interrupt).catch(() => undefined);
      this.#timers.push(setTimeout(() => this.#hard.abort(), TIMEOUT_GRACE_MS));
    };
    this.#timers.push(setTimeout(onTime, timeoutMs));
  }

  get hard(): AbortSignal {
    return this.#hard.signal;
  }

  dispose(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
