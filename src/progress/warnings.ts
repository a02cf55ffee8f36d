import {countOf} from './numbers.ts';

const lintLine = /\(line (\d{1,9})\)$/;

/** The Dockerfile line that a lint warning ends with: `StageNameCasing: … (line 1)` (v0.14.0 on). */
export function parseLintLine(message: string): number | undefined {
  const found = lintLine.exec(message)?.[1];
  return found === undefined ? undefined : countOf(found);
}
