/** A whole number from digits; 0 for what is no number. */
export function countOf(digits: string | undefined): number {
  const value = Number(digits ?? '');
  return Number.isSafeInteger(value) ? value : 0;
}

/** Seconds, to the microsecond: what is left after subtracting floating point times is noise. */
export function roundSeconds(seconds: number): number {
  return Math.round(seconds * 1e6) / 1e6;
}
