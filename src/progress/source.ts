/** Reads a stream of whole lines, without their line feeds. */
export interface LineReader {
  line(text: string): void;
  /** The first part of a line that is longer than the limit; the rest is lost. */
  cutLine(text: string): void;
  /** There will be no more lines. */
  end(): void;
}
