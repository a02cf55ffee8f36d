import type {Instruction} from './types.ts';

/** A step's name taken apart; the place in the stage comes with `Step.position`. */
export interface StepText {
  /** Upper case: `RUN`, `COPY`, `FROM`; other words for internal steps. */
  readonly keyword: string;
  /** Without `[stage 2/5]`, `ONBUILD`, `LINK`. */
  readonly text: string;
  readonly onbuild: boolean;
  /** The plain log of v0.3.0 to v0.8.3 cuts names at 72 bytes and adds `...`. */
  readonly cut: boolean;
}

const PREFIX = /^\[(?:[^\]\s]+ )*? *\d+\/\d+\] /;
const CUT_AT_BYTES = 72;

/** Reads a step's name in the spelling of any release. */
export function parseStepText(name: string): StepText {
  const cut = name.endsWith('...') && new TextEncoder().encode(name).length >= CUT_AT_BYTES;
  let text = (cut ? name.slice(0, -3) : name).replace(PREFIX, '');
  const onbuild = /^ONBUILD /.test(text);
  text = text.replace(/^ONBUILD /, '').replace(/^LINK (?=(?:COPY|ADD) )/, '');
  return {keyword: (/^\S+/.exec(text)?.[0] ?? '').toUpperCase(), text, onbuild, cut};
}

/** Stands for text that only the build knows: a variable's value, a mangled `%d`. */
const UNKNOWN = '\0';
/** Go's `fmt` with no arguments, which v0.3.0 and v0.4.0 put names through: `%3d` → `%!d(MISSING)`. */
const MANGLED = /%!.?\((?:MISSING|NOVERB|BADWIDTH|BADPREC)\)/;

/**
 * How well a step's name fits an instruction, 0 to 1. Quotes, escapes and white space do not count (v0.3.0 and
 * v0.4.0 take the quotes away), variables fit any text, and a cut name fits what it begins.
 */
export function textScore(step: StepText, instruction: Instruction): number {
  if (step.keyword !== instruction.keyword) return 0;
  const name = canonical(step.text);
  const own = canonical(instruction.text);
  if (name === own) return 1;
  const pattern = wildcards(instruction.text, MANGLED.test(step.text));
  const pieces = pattern.split(UNKNOWN);
  const open = step.cut || instruction.heredocs.length > 0;
  if (fits(pieces, name, open)) {
    const literal = pieces.join('').length;
    return 0.6 + 0.35 * Math.min(1, literal / Math.max(1, name.length));
  }
  return 0.5 * similarity(name, own);
}

function canonical(text: string): string {
  return text.replace(/^\w+/, keyword => keyword.toUpperCase()).replace(/["'\\`\s]/g, '');
}

function wildcards(text: string, mangled: boolean): string {
  const open = text.replace(/\\?\$(?:\{[^}]*\}|\w+|[?$!@*#-])?/g, UNKNOWN);
  const plain = canonical(open);
  return mangled ? plain.replace(/%[-+# 0]*[\d*]*(?:\.[\d*]*)?[a-zA-Z%]?/g, UNKNOWN) : plain;
}

/** True when `name` is the pieces in their order with any text between; `open`: more may follow or be missing. */
function fits(pieces: readonly string[], name: string, open: boolean): boolean {
  const [first = '', ...rest] = pieces;
  if (!name.startsWith(first)) return open && first.startsWith(name);
  let at = first.length;
  for (const [i, piece] of rest.entries()) {
    const last = i === rest.length - 1;
    const found = last && !open ? name.length - piece.length : name.indexOf(piece, at);
    if (found < at || !name.startsWith(piece, found)) return open && found < at;
    at = found + piece.length;
  }
  return open || rest.length > 0 || at === name.length;
}

const COMPARED_CHARS = 2000;

/** Dice coefficient of the pairs of neighbouring characters, 0 to 1. */
function similarity(a: string, b: string): number {
  const left = pairs(a);
  const right = pairs(b);
  let common = 0;
  for (const pair of left) if (right.has(pair)) common++;
  return left.size + right.size === 0 ? 0 : (2 * common) / (left.size + right.size);
}

function pairs(text: string): Set<string> {
  const found = new Set<string>();
  for (let i = 0; i + 1 < Math.min(text.length, COMPARED_CHARS); i++) found.add(text.slice(i, i + 2));
  return found;
}
