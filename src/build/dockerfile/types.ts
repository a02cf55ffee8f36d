/** A range of lines of a Dockerfile, counted from 1, both ends inside. */
export interface LineRange {
  readonly startLine: number;
  readonly endLine: number;
}

/** `# syntax=`, `# escape=`, `# check=` at the head of a Dockerfile. */
export interface Directive extends LineRange {
  readonly name: 'syntax' | 'escape' | 'check';
  readonly value: string;
}

export interface Heredoc extends LineRange {
  readonly name: string;
  /** False when the name was quoted: variables in the content stay as they are. */
  readonly expand: boolean;
  /** `<<-`: leading tabs are taken off. */
  readonly chomp: boolean;
  readonly fileDescriptor: number;
  readonly content: string;
}

export interface Flag {
  /** Without dashes: `mount` of `--mount=type=cache`. */
  readonly name: string;
  /** Text after `=`; undefined for a bare flag. */
  readonly value: string | undefined;
}

/** One instruction, with its lines from the keyword to the last continuation or heredoc terminator. */
export interface Instruction extends LineRange {
  /** Upper case, e.g. `RUN`; also for words that are no instruction (`RUNN`). */
  readonly keyword: string;
  readonly flags: readonly Flag[];
  /** What follows keyword and flags, continuations joined, comments taken out. */
  readonly args: string;
  /** The elements, when `args` is a JSON array of strings. */
  readonly json?: readonly string[];
  readonly heredocs: readonly Heredoc[];
  /** The instruction behind `ONBUILD`. */
  readonly trigger?: Instruction;
  /** Keyword, flags and args as one line. */
  readonly text: string;
}

export interface Stage {
  /** Place in the file, from 0. */
  readonly index: number;
  /** Lower case, as BuildKit keeps it; undefined without `AS`. */
  readonly name?: string;
  readonly from: Instruction;
  /** As written, e.g. `alpine:${TAG}`. */
  readonly baseText: string;
  /** With the defaults of the global `ARG`s and build arguments filled in. */
  readonly base: string;
  /** The earlier stage that `base` names. */
  readonly baseStage?: number;
  readonly platform?: string;
  readonly instructions: readonly Instruction[];
}

export interface Dockerfile {
  readonly directives: readonly Directive[];
  /** The image that `# syntax=` names, in any of its spellings. */
  readonly syntax?: Directive;
  readonly escape: '\\' | '`';
  /** All instructions in their order, `ARG` before `FROM` too. */
  readonly instructions: readonly Instruction[];
  readonly stages: readonly Stage[];
  /** What BuildKit's parser would refuse; reading goes on where it can. */
  readonly problems: readonly (LineRange & {readonly message: string})[];
}
