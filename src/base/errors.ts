/** The stage of a job an error belongs to; printed with it and stored in `JobResult.outcome`. */
export const STAGES = [
  'inputs',
  'plan',
  'archive',
  'vm',
  'inspect',
  'context',
  'build',
  'outputs',
  'report',
  'forge',
  'cleanup',
] as const;
export type Stage = (typeof STAGES)[number];

export interface UserErrorOptions {
  /** What to do next, as an instruction. */
  readonly hint?: string;
  /** The input's name as the user wrote it, e.g. `context`. */
  readonly input?: string;
  readonly stage?: Stage;
  readonly cause?: unknown;
}

/** An error the user can mend: printed as message and hint, without a stack. */
export class UserError extends Error {
  override readonly name = 'UserError';
  readonly hint: string | undefined;
  readonly input: string | undefined;
  readonly stage: Stage | undefined;

  constructor(message: string, options: UserErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : {cause: options.cause});
    this.hint = options.hint;
    this.input = options.input;
    this.stage = options.stage;
  }
}

/** Content that is not what its name or digest says, or that cannot be read. Another source may have it whole. */
export class DamagedError extends UserError {}

/** The job was stopped by a signal or by its caller, not by a fault. */
export class CanceledError extends Error {
  override readonly name = 'CanceledError';
  constructor(reason = 'canceled', options: {cause?: unknown} = {}) {
    super(reason, options);
  }
}

/** The link into a machine broke; why, is for the machine's owner to say. */
export class ConnectionLostError extends Error {
  override readonly name = 'ConnectionLostError';
}

/** `cause` as one line, without a stack; for messages that quote another error. */
export function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

/** Throws `CanceledError` when `signal` is aborted, with its reason. */
export function throwIfCanceled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw asCanceled(signal);
}

/** The `CanceledError` that `signal`'s reason stands for. */
export function asCanceled(signal: AbortSignal): CanceledError {
  return signal.reason instanceof CanceledError
    ? signal.reason
    : new CanceledError(messageOf(signal.reason ?? 'canceled'), {cause: signal.reason});
}
