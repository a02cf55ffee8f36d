import type {Directive} from './types.ts';

const PATTERN = /^([a-zA-Z][a-zA-Z0-9]*)\s*=\s*([^\n]+?)\s*$/;
const NAMES: ReadonlySet<string> = new Set(['syntax', 'escape', 'check']);

export interface ReadDirectives {
  readonly directives: readonly Directive[];
  /** Set when a directive stands twice, which BuildKit refuses. */
  readonly repeated?: Directive;
}

/**
 * Reads the parser directives at a Dockerfile's head. They end at the first line that is none: a blank line, a
 * comment, an instruction (`DirectiveParser` of `frontend/dockerfile/parser/directives.go`).
 * @param lines without line ends and byte order mark
 */
export function readDirectives(
  lines: readonly string[],
  comment: '#' | '//' = '#',
  first = 0,
): ReadDirectives {
  const directives: Directive[] = [];
  for (let i = first; i < lines.length; i++) {
    const line = lines[i] ?? '';
    if (!line.startsWith(comment)) break;
    const match = PATTERN.exec(line.slice(comment.length).trimStart());
    const name = (match?.[1] ?? '').toLowerCase();
    if (!match || !NAMES.has(name)) break;
    const directive: Directive = {
      name: name as Directive['name'],
      value: match[2] ?? '',
      startLine: i + 1,
      endLine: i + 1,
    };
    if (directives.some(known => known.name === name)) return {directives, repeated: directive};
    directives.push(directive);
  }
  return {directives};
}

/**
 * The frontend image that a file asks for: `# syntax=`, `// syntax=`, or `{"syntax": …}` for a file that is JSON;
 * a first line `#!…` is passed over (`DetectSyntax`). The value is the reference without what follows a space.
 */
export function detectSyntax(lines: readonly string[]): Directive | undefined {
  const first = lines[0]?.startsWith('#!') ? 1 : 0;
  for (const comment of ['#', '//'] as const) {
    const found = readDirectives(lines, comment, first).directives.find(({name}) => name === 'syntax');
    if (found) return {...found, value: found.value.split(' ')[0] ?? ''};
  }
  return jsonSyntax(lines.slice(first), first);
}

function jsonSyntax(lines: readonly string[], skipped: number): Directive | undefined {
  if (
    !lines
      .find(line => line.trim() !== '')
      ?.trimStart()
      .startsWith('{')
  )
    return undefined;
  let value: unknown;
  try {
    value = (JSON.parse(lines.join('\n')) as Record<string, unknown>).syntax;
  } catch {
    return undefined;
  }
  if (typeof value !== 'string') return undefined;
  const at = lines.findIndex(line => line.includes('"syntax"'));
  const line = skipped + Math.max(at, 0) + 1;
  return {name: 'syntax', value, startLine: line, endLine: line};
}
