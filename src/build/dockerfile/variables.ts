/** A `$name` or `${name…}` of a Dockerfile line. */
export interface VariableReference {
  readonly name: string;
  /** `:-`, `?`, `#`, `%%`, `//`, …; empty for a plain reference. */
  readonly modifier: string;
  readonly word: string;
  /** Where it stands in the text, in characters; `end` is behind it. */
  readonly start: number;
  readonly end: number;
}

const MODIFIER = /^(:?[-+?]|##?|%%?|\/\/?)/;

/**
 * The variables that BuildKit fills in: not those behind the escape character, not those in single quotes.
 * @param text an instruction's arguments
 */
export function variableReferences(text: string, escapeToken: string): VariableReference[] {
  const found: VariableReference[] = [];
  let quote = '';
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? '';
    if (quote === "'") {
      if (char === "'") quote = '';
    } else if (char === escapeToken) at++;
    else if (char === quote) quote = '';
    else if (quote === '' && (char === '"' || char === "'")) quote = char;
    else if (char === '$') {
      const reference = referenceAt(text, at);
      if (!reference) continue;
      found.push(reference);
      at = reference.end - 1;
    }
  }
  return found;
}

function referenceAt(text: string, start: number): VariableReference | undefined {
  if (text[start + 1] !== '{') {
    const name = /^[A-Za-z_]\w*/.exec(text.slice(start + 1, start + 257))?.[0];
    return name === undefined
      ? undefined
      : {name, modifier: '', word: '', start, end: start + 1 + name.length};
  }
  let depth = 0;
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === '{') depth++;
    if (text[at] !== '}' || --depth > 0) continue;
    const body = text.slice(start + 2, at);
    const name = /^\w+/.exec(body)?.[0] ?? '';
    const rest = body.slice(name.length);
    const modifier = MODIFIER.exec(rest)?.[0] ?? rest.slice(0, 1);
    return {name, modifier, word: rest.slice(modifier.length), start, end: at + 1};
  }
  return undefined;
}

/** Fills in what is known; a variable without a value becomes empty, as in BuildKit. */
export function expandVariables(text: string, values: Readonly<Record<string, string>>): string {
  let result = '';
  let from = 0;
  for (const reference of variableReferences(text, '\\')) {
    result += text.slice(from, reference.start) + expandOne(reference, values);
    from = reference.end;
  }
  return (result + text.slice(from)).replace(/^(["'])(.*)\1$/, '$2');
}

function expandOne(
  {name, modifier, word}: VariableReference,
  values: Readonly<Record<string, string>>,
): string {
  const value = values[name];
  const missing = value === undefined || (modifier.startsWith(':') && value === '');
  if (modifier.endsWith('-')) return missing ? expandVariables(word, values) : value;
  if (modifier.endsWith('+')) return missing ? '' : expandVariables(word, values);
  return value ?? '';
}
