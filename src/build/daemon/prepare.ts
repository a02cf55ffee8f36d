import type {DaemonRequest} from '../../base/daemon.ts';
import {UserError} from '../../base/errors.ts';
import type {Emit} from '../../base/events.ts';
import {resolvePath, shortPath} from '../../base/path.ts';
import type {Files} from '../../base/ports.ts';
import {compareVersions, type Version} from '../../base/version.ts';
import type {Release} from '../versions/table.ts';
import {configWarnings, type GivenConfig} from './config.ts';
import {finalFlags} from './flags.ts';
import {adoptRegistryFiles, type RegistryFile} from './registry-files.ts';
import {readToml} from './toml.ts';

/** The daemon's part of a build, looked at before anything was started. */
export interface PreparedDaemon {
  readonly request: DaemonRequest;
  readonly given?: GivenConfig;
  /** Files of this machine that the configuration names. */
  readonly files: readonly RegistryFile[];
  /** The release that warnings were given for. */
  readonly foreseen?: Version;
}

/**
 * Reads the configuration, and says what the expected release does not know of it.
 * @throws UserError for a file that is not there or is no TOML, and for what would change the result on that release.
 */
export async function prepareDaemon(
  ports: {readonly files: Files; readonly emit: Emit},
  request: DaemonRequest,
  workspaceDir: string,
  expected: Version | undefined,
): Promise<PreparedDaemon> {
  const read = await readGiven(ports.files, request, workspaceDir);
  const locate = async (path: string): Promise<string | undefined> => {
    const absolute = resolvePath(workspaceDir, path);
    return (await ports.files.kind(absolute)) === 'file' ? absolute : undefined;
  };
  const adopted = read && (await adoptRegistryFiles(read, locate));
  for (const path of adopted?.missing ?? []) {
    ports.emit({
      kind: 'warning',
      message: `${read?.input}: there is no file ${path} on this machine; the daemon will look for it in the VM`,
    });
  }
  const prepared = {request, ...(adopted && {given: adopted.given}), files: adopted?.files ?? []};
  if (!expected) return prepared;
  foreseeDaemon(prepared, expected, ports.emit);
  return {...prepared, foreseen: expected};
}

/** Warns of what `release` does not know. @throws UserError for what would change the result. @returns its flags. */
export function foreseeDaemon(prepared: PreparedDaemon, release: Release, emit: Emit): readonly string[] {
  const {request, given, foreseen} = prepared;
  const {argv, warnings} = finalFlags(request.flags, release);
  const said = foreseen && !('flags' in release) && compareVersions(foreseen, release) === 0;
  for (const message of [...configWarnings({given, mirrors: request.mirrors}, release), ...warnings]) {
    if (!said) emit({kind: 'warning', message});
  }
  return argv;
}

async function readGiven(
  files: Files,
  {config}: DaemonRequest,
  workspaceDir: string,
): Promise<GivenConfig | undefined> {
  if (!config) return undefined;
  const hint = 'mend the line; the keys are those of buildkitd.toml (docs/versions.md lists them)';
  if (config.kind === 'text') {
    const input = 'buildkitd-config-inline';
    return {...readToml(config.text, input, {input, stage: 'inputs', hint}), input};
  }
  const input = 'buildkitd-config';
  if ((await files.kind(config.path)) !== 'file') {
    throw new UserError(`${input}: there is no file ${config.path}`, {
      input,
      stage: 'inputs',
      hint: 'give the path of a buildkitd.toml, relative to the workspace',
    });
  }
  const name = `${input}: ${shortPath(workspaceDir, config.path)}`;
  return {...readToml(await files.readText(config.path), name, {input, stage: 'inputs', hint}), input};
}
