import {oneLine, plain} from './inert.ts';
import {truncate} from './text.ts';

/**
 * Hostile text as Markdown that shows it and does nothing, for use within a line or a table's cell. Signs that open a
 * construct stand as character references, which never do (CommonMark 0.31, 6.2); `:` and `www.` because of GFM's
 * extended autolinks (6.9), and `@` in an element of its own, since e-mail addresses are linked after decoding.
 */
export function escapeMarkdown(text: string, maxChars = 300): string {
  return truncate(oneLine(text), maxChars)
    .replace(/[&<>`*_[\]|~!\\@#$:^]|(?<=www)\./gi, char => `&#${char.charCodeAt(0)};`)
    .replaceAll('&#64;', '<span>&#64;</span>');
}

/**
 * Hostile text as code. GitHub's own references (`@name`, `#1`, commits) are made after Markdown, from the text as it
 * is read, but never within `<code>`.
 */
export function code(text: string, maxChars = 300): string {
  const escaped = escapeMarkdown(text, maxChars);
  return escaped === '' ? '' : `<code>${escaped}</code>`;
}

/** Text as prose, unless something in it could become a reference on GitHub: then as code. */
export function prose(text: string, maxChars = 300): string {
  return /[@#]|GH-|\b[0-9a-f]{7,}\b/i.test(text) ? code(text, maxChars) : escapeMarkdown(text, maxChars);
}

/** Lines in a fence that none of them can close (CommonMark 0.31, 4.5). */
export function fence(lines: readonly string[], info = 'text'): string {
  const body = lines.map(line => plain(line).replace(/\n/g, ' ')).join('\n');
  const longest = Math.max(2, ...(body.match(/`+/g) ?? []).map(run => run.length));
  const marks = '`'.repeat(longest + 1);
  return `${marks}${info}\n${body}\n${marks}\n`;
}

/** A table (GFM 4.10); cells are Markdown on one line without `|`, which `code` and `escapeMarkdown` give. */
export function table(
  head: readonly string[],
  align: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return `${[line(head), line(align), ...rows.map(line)].join('\n')}\n`;
}

/** A folded section; the empty lines let the body be Markdown. `title` is HTML. */
export function details(title: string, body: string, open = false): string {
  return `<details${open ? ' open' : ''}><summary>${title}</summary>\n\n${body}\n</details>\n`;
}
