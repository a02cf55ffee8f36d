/** How patient a transfer is. */
export interface TransferPolicy {
  /** Tries without any progress in between, before it is given up. */
  readonly attempts: number;
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
  /** A server that wants to be left alone for longer is given up at once: another source is quicker. */
  readonly maxRetryAfterMs: number;
  /** How long the head of an answer may take. */
  readonly answerTimeoutMs: number;
  /** A body of which fewer than `stallBytes` come in this time is cut off and asked for again. */
  readonly stallMs: number;
  readonly stallBytes: number;
  /** Connections for one blob, however much each brought. */
  readonly maxConnections: number;
}

export const DEFAULT_POLICY: TransferPolicy = {
  attempts: 5,
  firstDelayMs: 500,
  maxDelayMs: 30_000,
  maxRetryAfterMs: 120_000,
  answerTimeoutMs: 30_000,
  stallMs: 30_000,
  stallBytes: 1024,
  maxConnections: 100,
};

/** Statuses that may pass: overload and gateways' troubles (RFC 9110, 15.6; RFC 6585, 4). */
export function isPassingStatus(status: number): boolean {
  return [408, 425, 429, 500, 502, 503, 504].includes(status);
}

/**
 * How long to wait before the next try: what the server asks for, else twice as long each time, less a random quarter so that jobs of a matrix do not
 * come back all at once. @param failures How often it failed so far, from 1. @param random From 0 to 1.
 */
export function delayMs(
  policy: TransferPolicy,
  failures: number,
  retryAfterMs: number | undefined,
  random: number,
): number {
  if (retryAfterMs !== undefined) return retryAfterMs;
  const full = Math.min(policy.maxDelayMs, policy.firstDelayMs * 2 ** (failures - 1));
  return Math.round(full * (1 - random / 4));
}

/** `Retry-After`: seconds or a date (RFC 9110, 10.2.3); undefined for anything else. */
export function parseRetryAfterMs(header: string | undefined, nowEpochMs: number): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const at = /[A-Za-z]/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowEpochMs);
}
