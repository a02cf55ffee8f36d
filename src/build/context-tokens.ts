/** One part of a pattern; the expression it stands for in BuildKit's matcher is behind it. */
export type Token =
  | {readonly kind: 'char'; readonly char: string}
  /** `[^/]` */
  | {readonly kind: 'one'}
  | {readonly kind: 'set'; readonly set: RegExp}
  /** `[^/]*` */
  | {readonly kind: 'star'}
  /** `.*`, in which RE2's dot is anything but a newline. */
  | {readonly kind: 'all'}
  /** As a whole optional: `.*` and a `/`. */
  | {readonly kind: 'directories'};

/**
 * A function that says whether the tokens match a whole path. It follows all ways at once, as RE2 does: a
 * backtracking expression would let an ignore file of a few bytes hold the process for hours.
 */
export function tokenMatcher(tokens: readonly Token[]): (path: string) => boolean {
  const head = literal(tokens);
  const tail = literal([...tokens].reverse()).reverse();
  const prefix = head.join('');
  const suffix = tail.join('');
  if (head.length === tokens.length) return path => path === prefix;
  return path => path.startsWith(prefix) && path.endsWith(suffix) && simulate(tokens, path);
}

function literal(tokens: readonly Token[]): string[] {
  const chars: string[] = [];
  for (const token of tokens) {
    if (token.kind !== 'char') break;
    chars.push(token.char);
  }
  return chars;
}

/** Places in the token list that the part of the path read so far can have led to. */
interface Places {
  /** 1 where token i is next. */
  readonly next: Uint8Array;
  /** 1 where a `directories` token has begun and not yet met its `/`. */
  readonly within: Uint8Array;
}

function simulate(tokens: readonly Token[], path: string): boolean {
  let now = noPlaces(tokens.length);
  reach(tokens, now, 0);
  for (const char of path) {
    const then = noPlaces(tokens.length);
    let alive = false;
    for (let i = 0; i < tokens.length; i++) {
      if ((now.next[i] || now.within[i]) && step(tokens, then, i, char)) alive = true;
    }
    if (!alive) return false;
    now = then;
  }
  return now.next[tokens.length] === 1;
}

function noPlaces(count: number): Places {
  return {next: new Uint8Array(count + 1), within: new Uint8Array(count + 1)};
}

/** Marks token `i` as next, and those behind it that may match nothing. */
function reach(tokens: readonly Token[], places: Places, i: number): void {
  for (let at = i; places.next[at] === 0; at++) {
    places.next[at] = 1;
    const kind = tokens[at]?.kind;
    if (kind !== 'star' && kind !== 'all' && kind !== 'directories') return;
  }
}

/** Takes `char` at token `i`; true when that is possible. */
function step(tokens: readonly Token[], then: Places, i: number, char: string): boolean {
  const token = tokens[i] as Token;
  switch (token.kind) {
    case 'char':
      return char === token.char && advance(tokens, then, i + 1);
    case 'one':
      return char !== '/' && advance(tokens, then, i + 1);
    case 'set':
      return token.set.test(char) && advance(tokens, then, i + 1);
    case 'star':
      return char !== '/' && advance(tokens, then, i);
    case 'all':
      return char !== '\n' && advance(tokens, then, i);
    case 'directories':
      if (char === '\n') return false;
      then.within[i] = 1;
      return char !== '/' || advance(tokens, then, i + 1);
  }
}

function advance(tokens: readonly Token[], then: Places, i: number): true {
  reach(tokens, then, i);
  return true;
}
