import {type SpawnOptions, spawn} from 'node:child_process';
import {asCanceled, throwIfCanceled} from '../base/errors.ts';

const STDERR_TAIL_BYTES = 8 * 1024;
const KILL_AFTER_MS = 10_000;

/** An external tool that failed: its command line, how it ended and the last it said. */
export class ToolError extends Error {
  override readonly name = 'ToolError';
  readonly argv: readonly string[];
  readonly exitCode: number | undefined;
  readonly stderrTail: string;
  /** Some tools say what went wrong as JSON on standard output. */
  readonly stdout: string;

  constructor(argv: readonly string[], ended: string, exitCode?: number, stderrTail = '', stdout = '') {
    const said = stderrTail.trim();
    super(`${argv.join(' ')}: ${ended}${said ? `\n${said}` : ''}`);
    this.argv = argv;
    this.exitCode = exitCode;
    this.stderrTail = stderrTail;
    this.stdout = stdout;
  }
}

export interface ToolOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
  /** Sent to the tool's standard input. */
  readonly input?: string;
  /** Called with each line of standard error. */
  readonly onLine?: (line: string) => void;
}

export interface ToolOutput {
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a tool by argv and gives what it printed. The tool leads its own process group, so an abort ends what
 * it started too.
 * @throws ToolError when it cannot be started or does not exit with 0; CanceledError on abort.
 */
export async function run(argv: readonly string[], options: ToolOptions = {}): Promise<ToolOutput> {
  throwIfCanceled(options.signal);
  const [command = '', ...args] = argv;
  const spawnOptions: SpawnOptions = {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  };
  return await new Promise<ToolOutput>((resolve, reject) => {
    const child = spawn(command, args, spawnOptions);
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    const stop = groupKiller(child.pid);
    const onAbort = (): void => stop.now();
    options.signal?.addEventListener('abort', onAbort, {once: true});
    const settle = (): void => {
      stop.done();
      options.signal?.removeEventListener('abort', onAbort);
    };
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
    if (options.onLine && child.stderr) eachLine(child.stderr, options.onLine);
    // A tool that ends before it has read its input is judged by its exit code, not by our EPIPE.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input ?? '');
    child.once('error', error => {
      settle();
      reject(new ToolError(argv, `cannot be started: ${error.message}`));
    });
    child.once('close', (code, killedBy) => {
      settle();
      const errorText = Buffer.concat(stderr).toString('utf8');
      if (options.signal?.aborted) return reject(asCanceled(options.signal));
      const printed = Buffer.concat(stdout).toString('utf8');
      if (code === 0) return resolve({stdout: printed, stderr: errorText});
      const ended = killedBy ? `ended by ${killedBy}` : `exit code ${code}`;
      reject(new ToolError(argv, ended, code ?? undefined, errorText.slice(-STDERR_TAIL_BYTES), printed));
    });
  });
}

/** Ends a process group: SIGTERM, so that tools like mmdebstrap clean up, and SIGKILL when that is ignored. */
function groupKiller(pid: number | undefined): {now(): void; done(): void} {
  let timer: NodeJS.Timeout | undefined;
  const kill = (signal: NodeJS.Signals): void => {
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // The group is gone already.
    }
  };
  return {
    now: () => {
      kill('SIGTERM');
      timer = setTimeout(() => kill('SIGKILL'), KILL_AFTER_MS);
    },
    done: () => clearTimeout(timer),
  };
}

function eachLine(stream: NodeJS.ReadableStream, onLine: (line: string) => void): void {
  let rest = '';
  stream.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('utf8')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  });
  stream.on('end', () => {
    if (rest) onLine(rest);
  });
}
