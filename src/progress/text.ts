/** At most `maxChars` UTF-16 units of a text, with `…` where it was cut; never half a surrogate pair. */
export function cut(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const last = text.charCodeAt(maxChars - 1);
  const end = last >= 0xd800 && last <= 0xdbff ? maxChars - 1 : maxChars;
  return `${text.slice(0, end)}…`;
}

/**
 * The same text without its parent: a slice of a string keeps the whole string alive in V8, so that one kept
 * line would keep the chunk it came in.
 */
export function detached(text: string): string {
  return ` ${text}`.slice(1);
}

const replacement = 0xfffd;

/** A text without the half characters at its end: what is cut at a byte can end within a character. */
export function withoutCutCharacter(text: string): string {
  let end = text.length;
  while (end > 0 && text.charCodeAt(end - 1) === replacement) end -= 1;
  return text.slice(0, end);
}
