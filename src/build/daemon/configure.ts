import {UserError} from '../../base/errors.ts';
import type {Emit} from '../../base/events.ts';
import {dirName} from '../../base/path.ts';
import type {Files, Session} from '../../base/ports.ts';
import type {Versions} from '../../base/result.ts';
import {releaseInGuest} from '../guest-build.ts';
import {parseWorkers} from '../inspect.ts';
import {type FinalConfig, finalConfig} from './config.ts';
import {foreseeDaemon, type PreparedDaemon} from './prepare.ts';
import {configPath, type DaemonProcess, findDaemon, restartDaemon} from './process.ts';
import {type Document, readToml} from './toml.ts';

/** True when the daemon is to run in another way than the archive has it. */
export function changesDaemon({request, given}: PreparedDaemon): boolean {
  return given !== undefined || request.flags.length > 0 || request.mirrors.length > 0;
}

/**
 * Gives the VM's daemon its configuration and flags and starts it anew.
 * @returns the versions with the workers that it has now.
 * @throws UserError with the daemon's own log when it does not come up.
 */
export async function configureDaemon(
  ports: {readonly files: Files; readonly emit: Emit},
  session: Session,
  versions: Versions,
  prepared: PreparedDaemon,
  signal: AbortSignal,
): Promise<Versions> {
  const release = await releaseInGuest(session, versions.buildkit.version, signal);
  const flags = foreseeDaemon(prepared, release, ports.emit);
  const daemon = await findDaemon(session, signal);
  const path = configPath(daemon.argv);
  const parts = {
    existing: await readExisting(session, path, signal),
    given: prepared.given,
    mirrors: prepared.request.mirrors,
  };
  const config = finalConfig(parts, release);
  if (config) await writeConfig(ports, session, path, config, prepared, signal);
  const restarted = await restartDaemon(session, daemon, flags, signal);
  if (!restarted.ok) throw startFailed(prepared, restarted.log);
  if (flags.length > 0 && daemon.main.pid !== daemon.pid) await checkFlags(session, daemon, flags, signal);
  const {stdout} = await session.output(['sh', '-c', WORKERS_SCRIPT], {signal, timeoutMs: 60_000});
  return {...versions, workers: parseWorkers(stdout)};
}

const WORKERS_SCRIPT = 'PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin; buildctl debug workers -v';

/** The archive's own configuration; undefined when it ships none. */
async function readExisting(
  session: Session,
  path: string,
  signal: AbortSignal,
): Promise<Document | undefined> {
  const {code, stdout} = await session.output(['cat', path], {signal});
  if (code !== 0 || stdout.trim() === '') return undefined;
  return readToml(stdout, `the archive's own ${path}`, {
    stage: 'inspect',
    hint: 'nothing can be merged with it: leave out buildkitd-config and registry-mirrors for this archive',
  });
}

async function writeConfig(
  ports: {readonly files: Files; readonly emit: Emit},
  session: Session,
  path: string,
  {text, kept}: FinalConfig,
  {files}: PreparedDaemon,
  signal: AbortSignal,
): Promise<void> {
  if (kept.length > 0) {
    ports.emit({
      kind: 'notice',
      message: `the archive has a ${path} of its own, which is merged with; of it stay: ${kept.join(', ')}`,
    });
  }
  const folders = new Set([dirName(path), ...files.map(({guestPath}) => dirName(guestPath))]);
  const made = await session.output(['mkdir', '-p', ...folders], {signal});
  if (made.code !== 0) throw new Error(`cannot make the daemon's folders in the VM: ${made.stderr.trim()}`);
  for (const file of files) {
    await session.put(ports.files.openRead(file.path), file.guestPath, {mode: 0o600, signal});
  }
  await session.put(text, path, {signal});
}

function startFailed({request, given}: PreparedDaemon, log: string): UserError {
  const inputs = [
    ...(given ? [given.input] : []),
    ...(request.flags.length > 0 ? ['buildkitd-flags'] : []),
    ...(request.mirrors.length > 0 ? ['registry-mirrors'] : []),
  ];
  return new UserError(`BuildKit does not start with ${inputs.join(' and ')}; its log ends with:\n${log}`, {
    input: inputs[0] ?? 'buildkitd-config',
    stage: 'inspect',
    hint: `mend what the log names, or leave out ${inputs.join(', ')}`,
  });
}

/** What starts the daemon may not hand its arguments on. @throws UserError then. */
async function checkFlags(
  session: Session,
  {main}: DaemonProcess,
  flags: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const {argv} = await findDaemon(session, signal);
  const lost = flags.filter(flag => !argv.includes(flag));
  if (lost.length === 0) return;
  throw new UserError(
    `buildkitd-flags: ${lost.join(' ')} did not reach the daemon: this archive starts it by ${main.argv.join(' ')}, which does not hand arguments on`,
    {
      input: 'buildkitd-flags',
      stage: 'inspect',
      hint: 'use keys of buildkitd-config in place of flags',
    },
  );
}
