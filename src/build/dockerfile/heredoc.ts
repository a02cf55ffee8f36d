import {shellWords} from './lex.ts';

/** The head of a heredoc, before its content is read. */
export interface HeredocHead {
  readonly name: string;
  readonly expand: boolean;
  readonly chomp: boolean;
  readonly fileDescriptor: number;
}

const WORD = /^(\d*)<<(-?)\s*([^<]*)$/;

/** The heredocs a logical line opens, in their order (`heredocsFromLine` of BuildKit's parser). */
export function heredocsOf(line: string): HeredocHead[] {
  if (!line.includes('<<')) return [];
  const heads: HeredocHead[] = [];
  for (const word of shellWords(line, {rawQuotes: true, rawEscapes: true}) ?? []) {
    const head = parseHeredocWord(word);
    if (head) heads.push(head);
  }
  return heads;
}

/** Reads `3<<-"EOF"`; undefined for any other word. */
export function parseHeredocWord(word: string): HeredocHead | undefined {
  const match = WORD.exec(word);
  const rest = match?.[3] ?? '';
  if (!match || rest === '') return undefined;
  const plain = shellWords(rest, {rawQuotes: false, rawEscapes: false});
  const raw = shellWords(rest, {rawQuotes: true, rawEscapes: false});
  const [name] = plain ?? [];
  if (plain?.length !== 1 || name === undefined) return undefined;
  return {
    name,
    expand: countQuotes(name) === countQuotes(raw?.[0] ?? ''),
    chomp: match[2] === '-',
    fileDescriptor: Number(match[1] || 0),
  };
}

function countQuotes(text: string): number {
  return text.replace(/[^'"]/g, '').length;
}
