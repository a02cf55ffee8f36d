import {type Stage, UserError} from '../base/errors.ts';

/** How a tar ended, with the end of what it wrote to standard error in the C locale. */
export interface TarEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly text: string;
}

const KEPT_TEXT_CHARS = 64 * 1024;

/** The beginning and the end of a stream of text. */
export class TailText {
  #head = '';
  #tail = '';

  add(chunk: Buffer): void {
    const text = chunk.toString('latin1');
    const room = KEPT_TEXT_CHARS - this.#head.length;
    this.#head += text.slice(0, Math.max(0, room));
    this.#tail = (this.#tail + text.slice(Math.max(0, room))).slice(-KEPT_TEXT_CHARS);
  }

  text(): string {
    return Buffer.from(this.#head + this.#tail, 'latin1').toString('utf8');
  }
}

/** Messages after which the archive is complete but for the entry they name (GNU tar, src/create.c and misc.c). */
const HARMLESS = [
  /: (?:Cannot (?:stat|open|readlink|read|savedir): )?(?:No such file or|Not a) directory$/,
  /: (?:File|Directory) (?:is )?removed before we read it$/,
  /: (?:file|directory) changed as we read it$/,
  /: (?:file|directory) is the archive; not dumped$/,
  /: socket ignored$/,
  /: File shrank by \d+ bytes?; padding with zeros$/,
  /: (?:Warning: )?Cannot (?:l?listxattr|lgetxattr|llistxattrat|getxattr|acl_get)/i,
];

/** What a user other than root cannot unpack, and what a result is not to hold anyway. */
const HARMLESS_IN_OUTPUTS = [/: Cannot mknod: Operation not permitted$/];

/**
 * The warnings of a tar that has done its work.
 * @throws UserError or Error with the first message that is an error.
 */
export function judgeTarEnd({code, signal, text}: TarEnd, program: string, stage: Stage): string[] {
  const messages = text
    .split('\n')
    .map(line => line.replace(/^[^:]*tar: /, '').trim())
    .filter(
      line =>
        line !== '' && !/^(?:Exiting with failure|Error is not recoverable|Error exit delayed)/.test(line),
    );
  if (code === 0) return messages;
  const harmless = stage === 'outputs' ? HARMLESS_IN_OUTPUTS : HARMLESS;
  const errors = messages.filter(line => !harmless.some(pattern => pattern.test(line)));
  if (errors.length === 0 && messages.length > 0 && (code === 1 || code === 2)) return messages;
  throw tarError(errors[0], {code, signal, text}, program, stage);
}

function tarError(message: string | undefined, end: TarEnd, program: string, stage: Stage): Error {
  const how = end.signal ? `was killed by ${end.signal}` : `ended with status ${end.code}`;
  if (message === undefined) return new Error(`${program} ${how}`);
  if (/No space left on device|Disk quota exceeded/.test(message)) {
    return new UserError(`no space left: ${message}`, {stage, hint: 'Free some disk space and run again.'});
  }
  if (/Permission denied|Operation not permitted/.test(message)) {
    return new UserError(`not permitted: ${message}`, {
      stage,
      hint:
        stage === 'context'
          ? 'Make the file readable, or leave it out with a line in .dockerignore.'
          : 'Make the folder writable for this user.',
    });
  }
  if (
    /unrecognized option|invalid option|illegal option|unknown option|Option .* is not supported/i.test(
      message,
    )
  ) {
    return new UserError(`${program} does not know an option that is needed: ${message}`, {
      stage,
      hint: 'Install GNU tar 1.29 or newer.',
    });
  }
  return new Error(`${program} ${how}: ${message}`);
}
