import {type Binaries, BUNDLED_RUNC, type RuncChoice} from '../base/derive.ts';
import {UserError} from '../base/errors.ts';
import type {Session} from '../base/ports.ts';
import type {Versions} from '../base/result.ts';
import type {TreePacker} from '../base/tree.ts';
import {type Units, unitsFor} from '../base/units.ts';
import {unpackArgv} from './context.ts';
import {findDaemon, restartDaemon} from './daemon/process.ts';
import {parseProgram} from './inspect.ts';

/** What takes the place of a machine's own BuildKit. */
export interface NewBuildkit {
  readonly binaries: Binaries;
  readonly runc: RuncChoice;
  /** For people, and in case that the daemon does not say it. */
  readonly version: string;
}

export interface Installed {
  /** The runc that was asked for is not among the binaries, so the archive's own runs. */
  readonly runc: RuncChoice;
}

const STAGING = '/var/lib/buildkit-archive-install';

/** Where systemd reads units before those of packages and of images (systemd.unit(5)). */
const UNIT_DIR = '/etc/systemd/system';
const OWN_UNIT = 'buildkit.service';

/**
 * `sh -c SCRIPT install PID UNIT STAGING NEW…`: stops the daemon and whatever would start it again, puts the new executables where the old ones are (names
 * that were not there go beside the daemon), and forgets the state of the old one, which the new one may not be able to read. Prints nothing.
 */
const INSTALL_SCRIPT = `
set -e
pid=$1 unit=$2 staging=$3 keep=$4
shift 4
PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin
exe=$(readlink "/proc/$pid/exe")
root=$(tr '\\0' '\\n' <"/proc/$pid/cmdline" | sed -n -e 's/^--\\{0,1\\}root=//p' -e '/^--\\{0,1\\}root$/{n;p;}' | tail -n 1)
if [ -n "$unit" ]; then
  sockets=$(systemctl show --property=TriggeredBy "$unit" | sed 's/^TriggeredBy=//')
  [ -z "$sockets" ] || systemctl stop $sockets
  systemctl stop "$unit"
fi
kill "$pid" 2>/dev/null || :
tries=0
while [ -d "/proc/$pid" ]; do
  [ "$tries" -lt 100 ] || kill -KILL "$pid" 2>/dev/null || :
  [ "$tries" -lt 200 ] || { echo "buildkitd does not end" >&2; exit 1; }
  tries=$((tries + 1))
  sleep 0.1
done
dir=\${exe%/*}
# Helpers of the old release: none of them may serve the new one by chance.
for helper in "$dir"/buildkit-*; do
  [ "\${helper##*/}" = "$keep" ] || rm -f "$helper"
done
for name; do
  target=$(command -v "$name" || :)
  case $target in /*) ;; *) target=$dir/$name ;; esac
  # Of a link the place is taken, not what it points to; a running program is not written over.
  cp "$staging/$name" "$target.new"
  chmod 0755 "$target.new"
  mv -f "$target.new" "$target"
done
rm -rf "$staging"
root=\${root:-/var/lib/buildkit}
case $root in /*/*) find "$root" -mindepth 1 -maxdepth 1 -exec rm -rf {} + 2>/dev/null || : ;; esac
`;

/**
 * Puts another BuildKit into a machine and starts it, with the unit file that fits; kernel, systemd and all else stay the archive's.
 * @throws UserError with the daemon's log when it does not come up.
 */
export async function installBuildkit(
  session: Session,
  packer: TreePacker,
  found: Versions,
  {binaries, runc, version}: NewBuildkit,
  signal: AbortSignal,
): Promise<Installed> {
  const bringsRunc = binaries.names.includes(BUNDLED_RUNC);
  const takesRunc = runc === 'bundled' && bringsRunc;
  const names = binaries.names.filter(name => name !== BUNDLED_RUNC || takesRunc);
  await send(session, packer, binaries.dir, names, signal);
  const said = await session.output([`${STAGING}/buildkitd`, '--version'], {signal, timeoutMs: 60_000});
  const wanted = parseProgram(said.stdout)?.version ?? version;
  const daemon = await findDaemon(session, signal);
  const units = newUnits(found.buildkit.version, wanted, daemon);
  const keep = takesRunc ? '' : BUNDLED_RUNC;
  const argv = ['sh', '-c', INSTALL_SCRIPT, 'install', String(daemon.pid), daemon.unit ?? '', STAGING, keep];
  const installed = await session.output([...argv, ...names], {signal, timeoutMs: 120_000});
  if (installed.code !== 0) {
    throw new Error(`${version} could not be put into the machine: ${installed.stderr.trim()}`);
  }
  const unit = daemon.transient ? undefined : daemon.unit;
  if (units) await writeUnits(session, units, unit ?? OWN_UNIT, signal);
  const started = units ? {...daemon, unit: unit ?? OWN_UNIT, transient: false} : daemon;
  const restarted = await restartDaemon(session, started, [], signal);
  if (!restarted.ok) throw startFailed(version, found, restarted.log);
  return {runc: takesRunc ? 'bundled' : 'archive'};
}

async function send(
  session: Session,
  packer: TreePacker,
  dir: string,
  names: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const {stream} = packer.packFiles(dir, names);
  let broken: Error | undefined;
  stream.once('error', error => {
    broken = error;
  });
  let stderr = '';
  try {
    const exit = await session.run(unpackArgv(STAGING), {
      stdin: stream,
      bulk: 'stdin',
      signal,
      onStderr: chunk => {
        stderr = `${stderr}${chunk.toString('utf8')}`.slice(0, 4096);
      },
    });
    if (broken) throw broken;
    if (exit.code !== 0) throw new Error(`BuildKit could not be sent into the machine: ${stderr.trim()}`);
  } finally {
    stream.destroy();
  }
}

/**
 * The units that a release needs in place of the archive's: those that upstream ships with it, when the ones for the archive's own release would not
 * do (a daemon before v0.9.0 takes no `fd://` address, one before v0.10.0 does not tell systemd that it is ready), or when there are none.
 */
export function newUnits(
  old: string,
  wanted: string,
  daemon: {readonly unit?: string; readonly transient: boolean},
): Units | undefined {
  const units = unitsFor(wanted);
  const hasUnit = daemon.unit !== undefined && !daemon.transient;
  return hasUnit && unitsFor(old).service === units.service ? undefined : units;
}

async function writeUnits(session: Session, units: Units, unit: string, signal: AbortSignal): Promise<void> {
  const socketUnit = unit.replace(/\.service$/, '.socket');
  const service = units.service.replaceAll('buildkit.socket', socketUnit);
  // Drop-ins were made for the old one's command.
  const script = `rm -rf "${UNIT_DIR}/$1" "${UNIT_DIR}/$1.d" "/run/systemd/system/$1.d"; mkdir -p ${UNIT_DIR}`;
  await session.output(['sh', '-c', script, 'units', unit], {signal});
  await session.put(service, `${UNIT_DIR}/${unit}`, {signal});
  if (units.socket === undefined) {
    // A socket unit that nobody hands to a daemon would take its clients.
    await session.output(['systemctl', 'mask', '--now', socketUnit], {signal});
  } else {
    await session.put(units.socket, `${UNIT_DIR}/${socketUnit}`, {signal});
  }
  await session.output(['systemctl', 'daemon-reload'], {signal});
}

function startFailed(version: string, found: Versions, log: string): UserError {
  return new UserError(
    `BuildKit ${version} does not start in the machine of the archive (${found.os}, Linux ${found.kernel}); its log ends with:\n${log}`,
    {
      stage: 'inspect',
      hint: 'it may need another kernel or runc: try runc-version: archive, or name another base with archive',
    },
  );
}
