import type {Ssh, SshLine} from '../base/ports.ts';

/**
 * A connection that is opened before the guest's network is up is lost for seconds (libslirp asks for the guest's address once, and sends its SYN again after
 * six), and one that is opened before sshd listens is refused at once. So one that is young is always there, and a refusal, which costs the guest next to nothing, is
 * answered by the next knock, however many older ones still wait. Each that reaches sshd costs the guest a process, so on a machine on which all takes long they are
 * fewer, and waited for longer.
 */
const LEAST_WAIT_MS = 2_000;
const WAIT_PER_BOOT_MS = 0.25;
const MAX_WAITING = 4;

/** How long one is waited for, by the time that the boot has taken so far. */
export function knockWaitMs(bootMs: number): number {
  return Math.max(LEAST_WAIT_MS, bootMs * WAIT_PER_BOOT_MS);
}

/** The door of a guest that boots: knocked at until somebody answers. Disposing it lets go of all connections but the one that was taken. */
export class Door implements Disposable {
  /** Resolves when there is something to take. */
  readonly answered: Promise<void>;
  readonly #ssh: Ssh;
  readonly #port: number;
  readonly #stop = new AbortController();
  #onAnswer: () => void = () => undefined;
  #line: SshLine | undefined;
  #waiting = 0;
  #count = 0;
  #startedMs: number | undefined;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(ssh: Ssh, port: number) {
    this.#ssh = ssh;
    this.#port = port;
    this.answered = new Promise(resolve => {
      this.#onAnswer = resolve;
    });
  }

  /** Knocks, unless somebody has just done so and still waits. */
  knock(nowMs: number): void {
    this.#startedMs ??= nowMs;
    const waitMs = knockWaitMs(nowMs - this.#startedMs);
    if (this.#waiting > 0 && nowMs - this.#lastMs < waitMs / MAX_WAITING) return;
    this.#lastMs = nowMs;
    this.#waiting++;
    const number = ++this.#count;
    this.#ssh
      .knock('127.0.0.1', this.#port, waitMs, this.#stop.signal)
      .then(
        line => line && this.#answer(line),
        () => undefined,
      )
      .finally(() => {
        this.#waiting--;
        if (number === this.#count) this.#lastMs = Number.NEGATIVE_INFINITY;
      });
  }

  /** The connection on which somebody answered, once. */
  take(): SshLine | undefined {
    const line = this.#line;
    this.#line = undefined;
    if (line) this.#stop.abort();
    return line;
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#line?.close();
  }

  #answer(line: SshLine): void {
    if (this.#line || this.#stop.signal.aborted) line.close();
    else {
      this.#line = line;
      this.#onAnswer();
    }
  }
}
