import {parseArgs} from 'node:util';
import {UserError} from '../base/errors.ts';
import {INPUT_NAMES, INPUTS, type InputName} from '../plan/inputs.ts';
import {badOption} from './options.ts';

/** The names that docker and buildx have for a flag; each stands for an input. */
const ALIASES: Readonly<Record<string, InputName>> = {
  'build-arg': 'build-args',
  label: 'labels',
  tag: 'tags',
  output: 'outputs',
  platform: 'platforms',
  'add-host': 'add-hosts',
  secret: 'secrets',
  'no-cache-filter': 'no-cache-filters',
};
const SHORT: Readonly<Record<string, string>> = {file: 'f', output: 'o', tag: 't'};

export interface CommandArgs {
  /** Inputs as a workflow would give them: one text a name. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly flags: ReadonlySet<string>;
  readonly options: Readonly<Record<string, string>>;
  readonly positionals: readonly string[];
}

/**
 * Reads a command's arguments: every input is a flag, lists by repeating it, and booleans may stand alone (`--no-cache`).
 * @param own flags (`boolean`) and options (`string`) of the command itself.
 * @throws UserError for an unknown flag or a missing value.
 */
export function readArgs(
  argv: readonly string[],
  own: Readonly<Record<string, 'boolean' | 'string'>> = {},
): CommandArgs {
  const booleans = INPUT_NAMES.filter(
    name => typeof INPUTS[name].parse(INPUTS[name].default, name) === 'boolean',
  );
  const names = [...INPUT_NAMES, ...Object.keys(ALIASES)];
  const options = Object.fromEntries([
    ...names.map(name => [name, {type: 'string' as const, multiple: true, ...short(name)}]),
    ...Object.entries(own).map(([name, type]) => [name, {type}]),
  ]);
  let parsed: {values: Record<string, unknown>; positionals: string[]};
  try {
    parsed = parseArgs({
      args: argv.map(arg => (booleans.some(name => arg === `--${name}`) ? `${arg}=true` : arg)),
      options,
      allowPositionals: true,
      strict: true,
    }) as typeof parsed;
  } catch (error) {
    throw badOption(error, Object.keys(options), 'buildkit-archive --help lists the flags');
  }
  const inputs: Record<string, string> = {};
  for (const name of names) {
    const given = parsed.values[name] as string[] | undefined;
    if (given === undefined) continue;
    if (name === 'secret') given.forEach(refuseDockerSecret);
    const input = ALIASES[name] ?? (name as InputName);
    inputs[input] = joined(input, inputs[input], given);
  }
  return {
    inputs,
    flags: new Set(Object.keys(own).filter(name => parsed.values[name] === true)),
    options: Object.fromEntries(
      Object.keys(own).flatMap(name =>
        typeof parsed.values[name] === 'string' ? [[name, parsed.values[name]]] : [],
      ),
    ),
    positionals: parsed.positionals,
  };
}

/** `docker build --secret id=ID,src=PATH` would be a secret called "id" here. */
function refuseDockerSecret(item: string): void {
  const id = /^(?:type=\w+,)?id=([^,]*),(?:type|src|source|env)=/.exec(item)?.[1];
  if (id === undefined) return;
  throw new UserError("--secret takes ID=VALUE, and no fields like docker's", {
    input: 'secrets',
    stage: 'inputs',
    hint: `write --secret-files ${id}=PATH for a file, or --secret ${id}="$VARIABLE" for a value`,
  });
}

function short(name: string): {short?: string} {
  const letter = SHORT[name];
  return letter === undefined ? {} : {short: letter};
}

/** Repeated lists grow line by line; anything else that is given twice is a mistake rather than a wish. */
function joined(name: InputName, before: string | undefined, given: readonly string[]): string {
  const all = [...(before === undefined ? [] : [before]), ...given];
  if (all.length > 1 && !('list' in INPUTS[name])) {
    throw new UserError(`--${name} is given ${all.length} times`, {
      input: name,
      stage: 'inputs',
      hint: 'give it once',
    });
  }
  return all.join('\n');
}
