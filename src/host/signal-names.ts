import {constants} from 'node:os';

/** `SIGKILL` for 9 (signal(7)). */
export function signalName(number: number): string {
  const known = Object.entries(constants.signals).find(([, value]) => value === number);
  return known?.[0] ?? `signal ${number}`;
}
