import type {Instruction, Stage} from './types.ts';
import {expandVariables} from './variables.ts';

/**
 * Groups instructions into stages. Names are lower case, as `parseFrom` of BuildKit keeps them; bases have the
 * global `ARG`s (those before the first `FROM`) filled in.
 */
export function groupStages(
  instructions: readonly Instruction[],
  buildArgs: Readonly<Record<string, string>>,
): Stage[] {
  const globals: Record<string, string> = {};
  const stages: (Stage & {instructions: Instruction[]})[] = [];
  for (const instruction of instructions) {
    const current = stages.at(-1);
    if (instruction.keyword === 'FROM') {
      stages.push(newStage(instruction, stages, globals));
    } else if (current) {
      current.instructions.push(instruction);
    } else if (instruction.keyword === 'ARG') {
      declare(instruction, globals, buildArgs);
    }
  }
  return stages;
}

function newStage(
  from: Instruction,
  earlier: readonly Stage[],
  globals: Readonly<Record<string, string>>,
): Stage & {instructions: Instruction[]} {
  const words = from.args.split(/\s+/);
  const baseText = words[0] ?? '';
  const base = expandVariables(baseText, globals);
  const name = /^as$/i.test(words[1] ?? '') ? words[2]?.toLowerCase() : undefined;
  const baseStage = earlier.findLast(
    stage => stage.name !== undefined && stage.name === base.toLowerCase(),
  )?.index;
  const platform = from.flags.find(flag => flag.name === 'platform')?.value;
  return {
    index: earlier.length,
    ...(name === undefined ? {} : {name}),
    from,
    baseText,
    base,
    ...(baseStage === undefined ? {} : {baseStage}),
    ...(platform === undefined ? {} : {platform: expandVariables(platform, globals)}),
    instructions: [],
  };
}

function declare(
  arg: Instruction,
  globals: Record<string, string>,
  buildArgs: Readonly<Record<string, string>>,
): void {
  for (const word of arg.args.match(/(?:"[^"]*"|'[^']*'|\S)+/g) ?? []) {
    const equals = word.indexOf('=');
    const name = equals === -1 ? word : word.slice(0, equals);
    const fallback = equals === -1 ? undefined : word.slice(equals + 1).replace(/^(["'])(.*)\1$/, '$2');
    const value =
      buildArgs[name] ?? (fallback === undefined ? undefined : expandVariables(fallback, globals));
    if (value !== undefined) globals[name] = value;
  }
}

/** What a `COPY`, `ADD` or `RUN` takes from another stage or image: `--from=` and `--mount=…,from=`. */
export function sourcesOf(instruction: Instruction): string[] {
  const own = instruction.trigger ?? instruction;
  return own.flags.flatMap(flag => {
    if (flag.name === 'from' && flag.value !== undefined) return [flag.value];
    if (flag.name !== 'mount') return [];
    const from = /(?:^|,)from=([^,"]+)/.exec(flag.value ?? '')?.[1];
    return from === undefined ? [] : [from];
  });
}

/** Sources and destination of a `COPY` or `ADD` without flags and heredocs. */
export function copyArguments(instruction: Instruction): {sources: string[]; destination: string} {
  const own = instruction.trigger ?? instruction;
  const words = own.json ?? own.args.split(/\s+/).filter(word => word !== '');
  return {sources: words.slice(0, -1).filter(word => !/^\d*<</.test(word)), destination: words.at(-1) ?? ''};
}
