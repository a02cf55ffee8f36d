import {spawn} from 'node:child_process';
import {randomBytes} from 'node:crypto';
import {createInterface} from 'node:readline';
import {asCanceled} from '../base/errors.ts';
import type {Lender, Session} from '../base/ports.ts';
import {localForwards} from './forward.ts';
import {childEnvironment, startTicksOf} from './processes.ts';
import {RELAY_PROGRAM} from './relay.ts';

/**
 * Lends for as long as this process is not asked to end.
 * @param onWaiting told when there is nothing to do but to wait.
 */
export function lendUntil(done: AbortSignal, onWaiting: () => void): Lender {
  return {
    outlives: false,
    async lend(session, options) {
      await using _ = await localForwards.open(session, options);
      options.onOpen();
      onWaiting();
      const {signal} = options;
      await new Promise(resolve => {
        for (const end of [done, signal]) {
          if (end.aborted) resolve(undefined);
          end.addEventListener('abort', resolve, {once: true});
        }
      });
      if (signal.aborted && !done.aborted) throw asCanceled(signal);
    },
  };
}

/**
 * Lends by a process of its own that goes on when this one ends (`forward-main.ts`), and by a relay in the guest that is tied to no session.
 * @param helperPath that process's script.
 */
export function lendDetached(helperPath: string): Lender {
  return {
    outlives: true,
    async lend(session, {socketPath, guestPath, signal, onOpen, onProcess}) {
      if (signal.aborted) throw asCanceled(signal);
      const token = randomBytes(24).toString('hex');
      const helper = await Helper.start(helperPath);
      try {
        onProcess({pid: helper.pid, startTicks: helper.startTicks, name: 'the forward to BuildKit'});
        helper.tell({socketPath, token});
        const {port} = (await helper.said(signal)) as {port: number};
        await startRelay(session, token, port, guestPath, signal);
        await helper.said(signal);
        onOpen();
        helper.release();
      } catch (error) {
        helper.end();
        throw error;
      }
    },
  };
}

const START_RELAY = `
IFS= read -r token
command -v perl >/dev/null || { echo 'it has no perl'; exit 3; }
printf '%s\\n' "$token" | setsid perl -e "$1" "$2" "$3" >/dev/null 2>&1 &
`;

async function startRelay(
  session: Session,
  token: string,
  port: number,
  guestPath: string,
  signal: AbortSignal,
): Promise<void> {
  const {code, stdout, stderr} = await session.output(
    ['sh', '-c', START_RELAY, 'relay', RELAY_PROGRAM, String(port), guestPath],
    {stdin: `${token}\n`, signal},
  );
  if (code !== 0) throw new Error(`the VM cannot be kept for others: ${(stdout || stderr).trim()}`);
}

const HELPER_TIMEOUT_MS = 30_000;

/** The process that goes on: told once what to do, it says each step as a line of JSON. */
class Helper {
  readonly pid: number;
  readonly startTicks: string;
  readonly #child: ReturnType<typeof spawnHelper>;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ReturnType<typeof spawnHelper>, startTicks: string) {
    this.pid = child.pid as number;
    this.startTicks = startTicks;
    this.#child = child;
    this.#lines = createInterface({input: child.stdout})[Symbol.asyncIterator]();
  }

  static async start(path: string): Promise<Helper> {
    const child = spawnHelper(path);
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('spawn', () => resolve());
    });
    child.stdin.on('error', () => undefined);
    return new Helper(child, (await startTicksOf(child.pid as number)) ?? '');
  }

  tell(what: unknown): void {
    this.#child.stdin.end(JSON.stringify(what));
  }

  async said(signal: AbortSignal): Promise<unknown> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(HELPER_TIMEOUT_MS)]);
    const stopped = new Promise<never>((_, reject) => {
      limit.addEventListener(
        'abort',
        () =>
          reject(
            signal.aborted ? asCanceled(signal) : new Error('the VM does not answer the forward for others'),
          ),
        {once: true},
      );
    });
    const line = await Promise.race([this.#lines.next(), stopped]);
    if (line.done) throw new Error('the process that forwards to BuildKit has ended');
    return JSON.parse(line.value);
  }

  release(): void {
    this.#child.stdout.destroy();
    this.#child.unref();
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }
}

function spawnHelper(path: string) {
  return spawn(process.execPath, [path], {
    stdio: ['pipe', 'pipe', 'ignore'],
    detached: true,
    cwd: '/',
    env: childEnvironment(),
  });
}
