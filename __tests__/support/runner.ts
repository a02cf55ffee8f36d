import {type ChildProcess, spawn} from 'node:child_process';
import {mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

/** Plays the parts of a hosted runner that act does not: its files, its cancel, its kill. */
export class Runner {
  readonly dir = mkdtempSync(join(tmpdir(), 'itg-runner-'));
  /** What machines and steps before this one have left. */
  readonly #tools: string;
  readonly #store: string | undefined;
  log = '';
  #child: ChildProcess | undefined;

  /**
   * @param options.tools the runner's tool cache; a new one without it.
   * @param options.store another store than the one in it.
   */
  constructor(options: {readonly tools?: string; readonly store?: string} = {}) {
    this.#tools = options.tools ?? join(this.dir, 'tools');
    this.#store = options.store;
    mkdirSync(join(this.dir, 'temp'));
    for (const name of ['state', 'output', 'summary', 'env', 'path']) writeFileSync(join(this.dir, name), '');
  }

  /** Starts one of dist/*.cjs with inputs and saved state, as the runner sets them, and more of an environment. */
  start(
    script: 'main' | 'post',
    inputs: Readonly<Record<string, string>> = {},
    env: NodeJS.ProcessEnv = {},
  ): void {
    const variables = Object.entries(inputs).map(([name, value]) => [`INPUT_${name.toUpperCase()}`, value]);
    const state = Object.entries(this.fileCommands('state')).map(([name, value]) => [`STATE_${name}`, value]);
    const child = spawn(process.execPath, [`dist/${script}.cjs`], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        TMPDIR: tmpdir(),
        GITHUB_WORKSPACE: process.cwd(),
        GITHUB_STATE: join(this.dir, 'state'),
        GITHUB_OUTPUT: join(this.dir, 'output'),
        GITHUB_STEP_SUMMARY: join(this.dir, 'summary'),
        RUNNER_TEMP: join(this.dir, 'temp'),
        RUNNER_TOOL_CACHE: this.#tools,
        ...(this.#store !== undefined && {BUILDKIT_ARCHIVE_STORE: this.#store}),
        ...(process.env.DOCKER_HOST !== undefined && {DOCKER_HOST: process.env.DOCKER_HOST}),
        ...env,
        ...Object.fromEntries(script === 'main' ? variables : state),
      },
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', chunk => {
        this.log += chunk;
      });
    }
    this.#child = child;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** The step's end, or SIGKILL after `patienceMs`, as a hosted runner does it. */
  async end(patienceMs = 600_000): Promise<{code: number | null; signal: NodeJS.Signals | null}> {
    const child = this.#child as ChildProcess;
    const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
    const result = await new Promise<{code: number | null; signal: NodeJS.Signals | null}>(resolve => {
      if (child.exitCode !== null || child.signalCode !== null)
        resolve({code: child.exitCode, signal: child.signalCode});
      else child.once('close', (code, signal) => resolve({code, signal}));
    });
    clearTimeout(timer);
    return result;
  }

  async until(pattern: RegExp, timeoutMs = 180_000): Promise<void> {
    const deadlineMs = Date.now() + timeoutMs;
    while (!pattern.test(this.log)) {
      if (Date.now() > deadlineMs || this.#child?.exitCode !== null)
        throw new Error(`no ${pattern} in:\n${this.log}`);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  }

  /** Values in a file of file commands (`NAME<<DELIMITER`, value, delimiter; docs of GITHUB_STATE and GITHUB_OUTPUT). */
  fileCommands(name: 'state' | 'output'): Record<string, string> {
    const found: Record<string, string> = {};
    const lines = readFileSync(join(this.dir, name), 'utf8').split('\n');
    for (let i = 0; i < lines.length; i++) {
      const match = /^([^<=]+)<<(.+)$/.exec(lines[i] ?? '');
      if (!match?.[1] || !match[2]) continue;
      const end = lines.indexOf(match[2], i);
      found[match[1]] = lines.slice(i + 1, end).join('\n');
      i = end;
    }
    return found;
  }

  remove(): void {
    rmSync(this.dir, {recursive: true, force: true});
  }
}
