import {type ParseArgsConfig, parseArgs} from 'node:util';
import {UserError} from '../base/errors.ts';
import {nearest} from '../base/nearest.ts';
import {compareVersions, formatVersion, parseVersion, type Version} from '../base/version.ts';
import {NEWEST, OLDEST} from '../build/versions/entry.ts';
import {parseKeyValue} from '../plan/values.ts';

/**
 * `parseArgs` for a command that takes no inputs of a build.
 * @param usage the command's synopsis, for the hint.
 * @throws UserError for an unknown flag or a missing value.
 */
export function readOptions<T extends ParseArgsConfig>(
  config: T,
  usage: string,
): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    throw badOption(error, Object.keys(config.options ?? {}), usage);
  }
}

/** What `parseArgs` refuses, in our words: an unknown option with the nearest known one. @param hint for when none is near. */
export function badOption(error: unknown, known: readonly string[], hint: string): UserError {
  const {message} = error as Error;
  const option = /^Unknown option '(-[^']*)'/.exec(message)?.[1];
  if (option === undefined) return usageError(message, hint);
  const near = nearest(option.replace(/^-+/, ''), known);
  return usageError(`there is no option ${option}`, near === undefined ? hint : `did you mean --${near}?`);
}

export function usageError(message: string, usage: string): UserError {
  return new UserError(message, {stage: 'inputs', hint: usage});
}

/** A release as the version table knows it, or a commit after one. @throws UserError for what is none. */
export function parseRelease(text: string): Version {
  const parsed = parseVersion(text);
  if (parsed && compareVersions(parsed, OLDEST) >= 0) return parsed;
  throw new UserError(
    `buildkit-version: ${JSON.stringify(text)} is not a release from ${formatVersion(OLDEST)} on; allowed: one such as ${formatVersion(NEWEST)} or 0.21.0-rc1`,
    {input: 'buildkit-version', stage: 'inputs', hint: 'docs/versions.md says what works from which release'},
  );
}

/** `--build-arg K=V`, several times; the last one of a name counts. */
export function parseBuildArgs(items: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    items.map(item => {
      const {key, value} = parseKeyValue('build-arg', item);
      return [key, value];
    }),
  );
}
