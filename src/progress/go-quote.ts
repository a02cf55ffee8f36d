const simple: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  '\\': 92,
  '"': 34,
  "'": 39,
};
const escapes = /\\(?:([abfnrtv\\"'])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([0-7]{3}))/g;

/**
 * The text of a Go string literal, as `%q` prints it (strconv.Quote); undefined when it is none. `\xNN` stands
 * for a byte that is not UTF-8, and becomes U+FFFD as everywhere.
 */
export function goUnquote(literal: string): string | undefined {
  if (literal.length < 2 || !literal.startsWith('"') || !literal.endsWith('"')) return undefined;
  return literal
    .slice(1, -1)
    .replace(escapes, (_, letter?: string, byte?: string, short?: string, long?: string, octal?: string) => {
      if (letter !== undefined) return String.fromCharCode(simple[letter] ?? 0xfffd);
      const code =
        octal === undefined ? Number.parseInt(byte ?? short ?? long ?? '', 16) : parseInt(octal, 8);
      const isByte = byte !== undefined || octal !== undefined;
      if (code > 0x10ffff || (isByte && code > 0x7f)) return '\uFFFD';
      return String.fromCodePoint(code);
    });
}
