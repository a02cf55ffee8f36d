import {type ChildProcess, spawn} from 'node:child_process';
import {constants} from 'node:fs';
import {access, open, readdir, readFile, readlink, stat} from 'node:fs/promises';
import {delimiter, join} from 'node:path';
import {CanceledError} from '../base/errors.ts';
import type {Child, CommandLine, Exit, Output, Processes} from '../base/ports.ts';

const STDERR_TAIL_BYTES = 8 * 1024;
const LAST_WORDS_MS = 200;
const OUTPUT_LIMIT_BYTES = 1024 * 1024;

export const localProcesses: Processes = {
  find: findProgram,
  start: async command => startChild(command, false),
  startDetached: command => startChild(command, true),
  output: runToEnd,
};

/** Path of a program on PATH (or of a path that is executable); undefined when there is none. */
export async function findProgram(program: string): Promise<string | undefined> {
  const candidates = program.includes('/')
    ? [program]
    : (process.env.PATH ?? '').split(delimiter).map(dir => join(dir || '.', program));
  for (const path of candidates) {
    try {
      await access(path, constants.X_OK);
      if ((await stat(path)).isFile()) return path;
    } catch {
      // Not there: the next one on PATH.
    }
  }
  return undefined;
}

async function startChild(command: CommandLine, detached: boolean): Promise<Child> {
  // Behind setpriv a missing program would only show as an exit status.
  if ((await findProgram(command.file)) === undefined) throw new Error(`there is no program ${command.file}`);
  const child = await (detached ? spawned(command, true) : spawned(await tiedToThisProcess(command)));
  const pid = child.pid as number;
  let tail = '';
  const keep = (chunk: Buffer): void => {
    tail = (tail + chunk.toString('utf8')).slice(-STDERR_TAIL_BYTES);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  let exit: Exit | undefined;
  const exited = new Promise<Exit>(resolve => {
    child.once('exit', (code, signal) => {
      exit = {code: code ?? undefined, signal: signal ?? undefined};
      const end = exit;
      // Its last words are still in the pipes; a child of its own may hold them open for ever.
      child.once('close', () => resolve(end));
      setTimeout(() => {
        child.stdout?.destroy();
        child.stderr?.destroy();
        resolve(end);
      }, LAST_WORDS_MS);
    });
  });
  return {
    pid,
    startTicks: (await startTicksOf(pid)) ?? '',
    exited,
    hasExited: () => exit !== undefined,
    stderrTail: () => tail.trim(),
    sharedMemoryPath: sizeBytes => sharedMemoryOf(pid, sizeBytes),
    async stop(graceMs) {
      if (exit) return;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      await exited;
      clearTimeout(timer);
    },
    release() {
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.unref();
    },
  };
}

/**
 * `setpriv --pdeathsig` (util-linux 2.34) has the kernel kill the child when this process dies, `kill -9` included; without it a killed
 * command line would leave a machine running.
 */
export async function tiedToThisProcess(command: CommandLine): Promise<CommandLine> {
  const setpriv = process.platform === 'linux' ? await findProgram('setpriv') : undefined;
  if (!setpriv || !(await knowsParentDeath(setpriv))) return command;
  return {...command, file: setpriv, args: ['--pdeathsig', 'KILL', '--', command.file, ...command.args]};
}

let parentDeathKnown: Promise<boolean> | undefined;
function knowsParentDeath(setpriv: string): Promise<boolean> {
  parentDeathKnown ??= runToEnd({file: setpriv, args: ['--pdeathsig', 'KILL', '--', 'true']}).then(
    ({code}) => code === 0,
    () => false,
  );
  return parentDeathKnown;
}

/**
 * A child gets no tokens and no inputs: a QEMU out of an image from the internet has no business with them. By `RUNNER_TRACKING_ID` the runner finds, at a
 * job's end, what the job has left running.
 */
export function childEnvironment(): NodeJS.ProcessEnv {
  const kept = [
    'PATH',
    'HOME',
    'USER',
    'LANG',
    'LC_ALL',
    'TMPDIR',
    'XDG_RUNTIME_DIR',
    'XDG_CACHE_HOME',
    'RUNNER_TRACKING_ID',
  ];
  return Object.fromEntries(
    kept.flatMap(name => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

async function spawned(command: CommandLine, detached = false): Promise<ChildProcess> {
  const output = command.stdoutPath === undefined ? undefined : await open(command.stdoutPath, 'w', 0o600);
  try {
    return await new Promise((resolve, reject) => {
      const child = spawn(command.file, command.args, {
        stdio: ['ignore', output?.fd ?? 'pipe', 'pipe'],
        env: {...childEnvironment(), ...command.env},
        detached,
      });
      child.once('error', reject);
      child.once('spawn', () => {
        child.off('error', reject);
        child.on('error', () => undefined);
        resolve(child);
      });
    });
  } finally {
    // Not waited for: a child that ends at once must find its caller listening.
    output?.close().catch(() => undefined);
  }
}

async function runToEnd(
  command: CommandLine,
  options: {timeoutMs?: number; signal?: AbortSignal} = {},
): Promise<Output> {
  const child = await spawned(command);
  const chunks = {stdout: '', stderr: ''};
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      if (chunks[name].length < OUTPUT_LIMIT_BYTES) chunks[name] += text;
    });
  }
  let timedOut = false;
  const timer =
    options.timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          child.kill('SIGKILL');
        }, options.timeoutMs);
  const onAbort = (): boolean => child.kill('SIGKILL');
  options.signal?.addEventListener('abort', onAbort, {once: true});
  // It may have been aborted while the child was started: nobody is told of that any more.
  if (options.signal?.aborted) onAbort();
  try {
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>(resolve =>
      child.once('close', (...end) => resolve(end)),
    );
    if (options.signal?.aborted) throw new CanceledError();
    if (timedOut) throw new Error(`${command.file} did not end within ${options.timeoutMs} ms`);
    return {code: code ?? undefined, signal: signal ?? undefined, ...chunks};
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', onAbort);
  }
}

async function sharedMemoryOf(pid: number, sizeBytes: number): Promise<string | undefined> {
  const dir = `/proc/${pid}/fd`;
  for (const name of await readdir(dir).catch(() => [])) {
    const path = `${dir}/${name}`;
    const target = await readlink(path).catch(() => '');
    const size = target.startsWith('/memfd:')
      ? await stat(path).then(
          stats => stats.size,
          () => undefined,
        )
      : undefined;
    if (size === sizeBytes) return path;
  }
  return undefined;
}

/** Field 22 of /proc/PID/stat (proc(5)); undefined when there is no such process or no /proc. */
export async function startTicksOf(pid: number): Promise<string | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The second field is the command name in parentheses and may itself hold spaces and parentheses.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    // A zombie has ended: only its parent's wait is missing.
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/**
 * Kills a process named by pid and start time and waits for its end. A process that only shares the pid is left alone.
 * @returns true when it was found running.
 */
export async function killByIdentity(pid: number, startTicks: string, timeoutMs: number): Promise<boolean> {
  if (startTicks === '' || (await startTicksOf(pid)) !== startTicks) return false;
  process.kill(pid, 'SIGKILL');
  const deadlineMs = Date.now() + timeoutMs;
  while ((await startTicksOf(pid)) === startTicks && Date.now() < deadlineMs) {
    await new Promise(resolve => setTimeout(resolve, 20));
  }
  return true;
}
