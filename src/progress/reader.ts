/**
 * The door of this room.
 *
 *   const reader = createProgressReader({form: 'trace'});
 *   reader.write(chunk);        // bytes or text, cut anywhere; never throws
 *   reader.trace();             // what is known by now, at any time
 *   reader.end();               // at the end of the stream
 *
 * A trace has the steps; the source excerpt and the final error stand in buildctl's stderr alone:
 *   mergeTrace(fromTraceFile.trace(), fromStderr.trace())
 */
import type {BuildTrace} from '../base/trace.ts';
import {anyReader, plainReader} from './detect.ts';
import {Fold} from './fold.ts';
import {JsonReader} from './json.ts';
import {defaultLimits, type ProgressLimits} from './limits.ts';
import {LineSplitter} from './lines.ts';
import {NoiseFilter} from './noise.ts';
import type {LineReader} from './source.ts';
import {TailReader} from './tail.ts';

export {mergeTrace} from './merge.ts';

/**
 * - `trace`: a file of `--trace`, every release.
 * - `rawjson`: stderr of `--progress=rawjson` (v0.13.0 on), with the plain text behind it.
 * - `plain`: the plain log of any release: stdout of v0.3.0–v0.4.0, stderr of all later ones.
 * - `tail`: only the source excerpt and the final error of buildctl's stderr, whatever its progress is.
 * - `auto`: any of these, found out by the first lines that tell.
 */
export type ProgressForm = 'trace' | 'rawjson' | 'plain' | 'tail' | 'auto';

export interface ProgressReader {
  /** Takes the next chunk, cut anywhere. Never throws. */
  write(chunk: Uint8Array | string): void;
  /** The stream has ended: a last line without a line feed counts, too. */
  end(): void;
  /** What is known by now. Later input does not change it. */
  trace(): BuildTrace;
}

export interface ProgressOptions {
  readonly form: ProgressForm;
  readonly limits?: Partial<ProgressLimits>;
}

export function createProgressReader(options: ProgressOptions): ProgressReader {
  const limits = {...defaultLimits, ...options.limits};
  const fold = new Fold(limits);
  const source = sourceFor(options.form, fold);
  const isCopied = options.form === 'plain' || options.form === 'auto';
  const noise = isCopied ? new NoiseFilter() : undefined;
  const clean = (line: string): string => (noise === undefined ? line : noise.clean(line));
  const hasJson = options.form !== 'plain' && options.form !== 'tail';
  const splitter = new LineSplitter(
    hasJson ? limits.jsonBytes : limits.plainLineBytes,
    line => source.line(clean(line)),
    line => source.cutLine(clean(line)),
  );
  return {
    write: chunk => splitter.write(chunk),
    end: () => {
      splitter.end();
      source.end();
    },
    trace: () => fold.trace(),
  };
}

function sourceFor(form: ProgressForm, fold: Fold): LineReader {
  switch (form) {
    case 'trace':
    case 'rawjson':
      return new JsonReader(fold);
    case 'plain':
      return plainReader(fold);
    case 'tail':
      return new TailReader(fold);
    case 'auto':
      return anyReader(fold);
  }
}
