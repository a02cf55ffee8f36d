/** What a reader keeps at most, so that its memory does not grow with what it reads. */
export interface ProgressLimits {
  /** Steps beyond this number are dropped. */
  readonly steps: number;
  /** Steps beyond this number keep `smallLogChars` of log, not `headChars` + `tailChars`. */
  readonly stepsWithFullLogs: number;
  readonly headLines: number;
  readonly tailLines: number;
  /** UTF-16 units of text kept at a log's head, and as many at its tail. */
  readonly headChars: number;
  readonly tailChars: number;
  readonly smallLogChars: number;
  /** A longer log line is cut, and ends with `…`. */
  readonly lineChars: number;
  readonly statusesPerStep: number;
  readonly intervalsPerStep: number;
  readonly warnings: number;
  /** Names, errors, warnings: cut beyond this length. */
  readonly textChars: number;
  /** A longer line of a plain log is cut before it is looked at; a longer JSON object is dropped. */
  readonly plainLineBytes: number;
  readonly jsonBytes: number;
}

export const defaultLimits: ProgressLimits = {
  steps: 5000,
  stepsWithFullLogs: 500,
  headLines: 200,
  tailLines: 200,
  headChars: 64 * 1024,
  tailChars: 64 * 1024,
  smallLogChars: 4 * 1024,
  lineChars: 4096,
  statusesPerStep: 300,
  intervalsPerStep: 100,
  warnings: 1000,
  textChars: 32 * 1024,
  plainLineBytes: 1024 * 1024,
  jsonBytes: 64 * 1024 * 1024,
};
