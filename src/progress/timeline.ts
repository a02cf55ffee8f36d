import {roundSeconds} from './numbers.ts';

// RFC 3339 with up to nine decimals (JSON forms), and Go's time.String, `2026-11-22 00:18:11.43 +0000 UTC`
// (the plain dialect of v0.3 and v0.4).
const stamp =
  /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))? ?(Z|[+-]\d\d:?\d\d)(?: [A-Z][A-Za-z0-9+-]*)?(?: m=\S+)?$/;

/** Turns BuildKit's timestamps into seconds since the first event of the build. */
export class Timeline {
  private baseSeconds: number | undefined;
  private first = Number.POSITIVE_INFINITY;

  /** A timestamp in seconds on this timeline; undefined for anything else, and for Go's zero time. */
  parse(text: unknown): number | undefined {
    if (typeof text !== 'string') return undefined;
    const parts = stamp.exec(text);
    if (parts === null || parts[1] === '0001-01-01') return undefined;
    const [, date, time, fraction = '0', zone = 'Z'] = parts;
    const zoneText = zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone;
    const wholeSeconds = Date.parse(`${date}T${time}${zoneText}`) / 1000;
    if (!Number.isFinite(wholeSeconds)) return undefined;
    // Seconds since 1970 with nanoseconds do not fit a double; the difference to the first one does.
    this.baseSeconds ??= wholeSeconds;
    return wholeSeconds - this.baseSeconds + Number(`0.${fraction}`);
  }

  /** Takes note of a start. True when it is earlier than all before, so that earlier answers are stale. */
  noteStart(seconds: number): boolean {
    if (seconds >= this.first) return false;
    this.first = seconds;
    return true;
  }

  sinceFirst(seconds: number): number {
    return roundSeconds(seconds - (Number.isFinite(this.first) ? this.first : 0));
  }
}
