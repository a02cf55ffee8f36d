import {Readable} from 'node:stream';
import {UserError} from '../../src/base/errors.ts';
import type {Io} from '../../src/cli/io.ts';

/** What a command printed and how it ended. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly notes: string;
}

type Command = (argv: readonly string[], signal: AbortSignal, io: Io) => Promise<number>;

/** Runs a command with captured streams. */
export async function run(
  command: Command,
  argv: readonly string[],
  {stdin = Readable.from([]), colours = false}: {readonly stdin?: Readable; readonly colours?: boolean} = {},
): Promise<Ran> {
  const ran = {out: '', notes: ''};
  const io: Io = {
    stdin,
    print: text => {
      ran.out += text;
    },
    note: text => {
      ran.notes += text;
    },
    colours,
    width: 100,
  };
  const code = await command(argv, new AbortController().signal, io);
  return {code, ...ran};
}

/** The error of a command that is used wrongly. */
export async function usageErrorOf(
  command: Command,
  argv: readonly string[],
  options: Parameters<typeof run>[2] = {},
): Promise<UserError> {
  const error = await run(command, argv, options).then(
    ({code}) => new Error(`it ended with ${code}`),
    (thrown: unknown) => thrown,
  );
  if (error instanceof UserError) return error;
  throw error;
}
