/** Characters that take two columns (UAX #11, East Asian Wide and Fullwidth, by block; emoji by property). */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;
const NO_WIDTH = /[\p{M}\p{Cf}\p{Default_Ignorable_Code_Point}]/u;

/** Columns that `text` (one line, without controls) takes in a terminal. */
export function displayWidth(text: string): number {
  if (/^[ -~]*$/.test(text)) return text.length;
  let columns = 0;
  for (const char of text) columns += widthOf(char);
  return columns;
}

/** `text` in exactly `columns` columns: cut with `…` when longer, filled with spaces when shorter. */
export function toColumns(text: string, columns: number): string {
  const width = displayWidth(text);
  if (width <= columns) return text + ' '.repeat(columns - width);
  let kept = '';
  let used = 0;
  for (const char of text) {
    if (used + widthOf(char) > columns - 1) break;
    kept += char;
    used += widthOf(char);
  }
  return `${kept}…${' '.repeat(Math.max(0, columns - used - 1))}`;
}

function widthOf(char: string): number {
  if (NO_WIDTH.test(char)) return 0;
  return WIDE.test(char) ? 2 : 1;
}
