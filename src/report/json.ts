/** What the runner's comparison may pass over within a marker stays unescaped in JSON: anything outside of printable ASCII. */
const MARKER = /(#[^ -~]*#[^ -~]*)\[/g;

/**
 * JSON, indented, that no runner takes for a command wherever it is printed: within strings `[` of `##[` is written as an escape, and every
 * string starts with a quote, so that `::` never starts a line.
 */
export function inertJson(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2).replace(MARKER, '$1\\u005b')}\n`;
}
