import {UserError} from '../../base/errors.ts';
import {resolvePath} from '../../base/path.ts';
import type {Session} from '../../base/ports.ts';

/** The daemon as it runs in the VM. */
export interface DaemonProcess {
  readonly pid: number;
  /** buildkitd's own arguments, from the program's name on. */
  readonly argv: readonly string[];
  /** The systemd service it runs in; absent when it was started by hand. */
  readonly unit?: string;
  /** The service has no file: systemd-run made it. */
  readonly transient: boolean;
  /** What the service runs: the daemon, or what starts it (a script, a debugger). */
  readonly main: {readonly pid: number; readonly exe: string; readonly argv: readonly string[]};
}

/** Where all releases look when they are told nothing (util/appdefaults, `ConfigDir`). */
const DEFAULT_CONFIG = '/etc/buildkit/buildkitd.toml';

/**
 * A daemon that was started by hand stands in the cgroup of the session that did it, whose service is sshd's: the service counts when its main process
 * is the daemon or what started it.
 */
const FIND_SCRIPT = `
started_by() {
  ancestor=$1
  while [ "\${ancestor:-0}" -gt 1 ]; do
    [ "$ancestor" != "$2" ] || return 0
    ancestor=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$ancestor/status")
  done
  return 1
}
for dir in /proc/[0-9]*; do
  read -r name <"$dir/comm" && [ "$name" = buildkitd ] || continue
  pid=\${dir#/proc/}
  unit=$(sed -n 's#^.*/\\([^/]*\\.service\\)\\(/.*\\)\\{0,1\\}$#\\1#p' "$dir/cgroup" | head -n 1)
  main= file=
  [ -z "$unit" ] || main=$(systemctl show --property=MainPID "$unit" | sed 's/^MainPID=//')
  started_by "$pid" "\${main:-0}" || { unit= main=$pid; }
  [ -z "$unit" ] || file=$(systemctl show --property=FragmentPath "$unit" | sed 's/^FragmentPath=//')
  printf '%s\\n' "$pid" "$unit" "$main" "$(readlink "/proc/$main/exe")" "$file"
  exit
done 2>/dev/null
exit 1
`;

/** @throws UserError when there is no process of that name. */
export async function findDaemon(session: Session, signal: AbortSignal): Promise<DaemonProcess> {
  const {code, stdout} = await session.output(['sh', '-c', FIND_SCRIPT], {signal});
  const [pid = '', unit = '', main = '', exe = '', unitFile = ''] = stdout.split('\n');
  if (code !== 0 || pid === '') {
    throw new UserError('no process named buildkitd was found in the VM, although BuildKit answers', {
      stage: 'inspect',
      hint: 'leave out buildkitd-config, buildkitd-flags and registry-mirrors for this archive',
    });
  }
  const argvOf = async (id: string): Promise<readonly string[]> => {
    const {stdout: text} = await session.output(['cat', `/proc/${id}/cmdline`], {signal});
    return text.split('\0').slice(0, -1);
  };
  const argv = await argvOf(pid);
  return {
    pid: Number(pid),
    argv,
    ...(unit !== '' && {unit}),
    transient: unitFile.startsWith('/run/systemd/transient/'),
    main: {pid: Number(main), exe, argv: main === pid ? argv : await argvOf(main)},
  };
}

/** The configuration file that a daemon with these arguments reads. */
export function configPath(argv: readonly string[]): string {
  const at = argv.findLastIndex(word => /^--?config(?:=|$)/.test(word));
  const word = argv[at];
  if (word === undefined) return DEFAULT_CONFIG;
  const value = word.includes('=') ? word.slice(word.indexOf('=') + 1) : argv[at + 1];
  return value ? resolvePath('/', value) : DEFAULT_CONFIG;
}

/** A drop-in that replaces the command of a service (systemd.service(5), `ExecStart=`; quoting of systemd.syntax(7)). */
export function dropIn(argv: readonly string[]): string {
  const words = argv.map(word => {
    const escaped = word
      .replace(/[\\"]/g, '\\$&')
      .replaceAll('\n', '\\n')
      .replaceAll('\t', '\\t')
      .replaceAll('%', '%%')
      .replaceAll('$', '$$$$');
    return `"${escaped}"`;
  });
  return `[Service]\nExecStart=\nExecStart=${words.join(' ')}\n`;
}

/**
 * Restarts the daemon and waits for it: `sh -c SCRIPT restart LIMIT PID UNIT TRANSIENT ARGV…`, of which ARGV is for a daemon without a unit file. A daemon
 * that dies is not waited for. Fails with the last lines that it printed.
 */
const RESTART_SCRIPT = `
exec 3>&1 >/dev/null 2>&1
PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin
limit=$1 pid=$2 unit=$3 transient=$4
shift 4
end=$(( $(date +%s) + limit ))
if [ -n "$unit" ]; then
  [ -n "$transient" ] || systemctl daemon-reload
  systemctl stop "$unit"
  systemctl reset-failed "$unit"
  if [ -n "$transient" ]; then
    systemd-run --unit="$unit" --property=Delegate=yes "$@"
  else
    timeout "$limit" systemctl start "$unit"
  fi
  died() { systemctl is-failed --quiet "$unit"; }
  log() {
    journalctl --sync
    id=$(systemctl show --property=InvocationID "$unit" | sed 's/^InvocationID=//')
    lines=$(journalctl --no-pager --output=cat --lines=60 "_SYSTEMD_INVOCATION_ID=$id")
    [ -n "$lines" ] || lines=$(journalctl --no-pager --output=cat --lines=60 --unit="$unit")
    printf '%s\\n' "$lines"
  }
else
  kill "$pid"
  tries=0
  while [ -d "/proc/$pid" ] && [ "$tries" -lt 200 ]; do
    [ "$tries" -lt 100 ] || kill -KILL "$pid"
    tries=$(( tries + 1 ))
    sleep 0.1
  done
  rm -f /run/buildkitd-ended
  # What outlives this script must not hold its output open.
  { setsid "$@"; : >/run/buildkitd-ended; } </dev/null >/run/buildkitd.log 2>&1 3>&- &
  died() { [ -e /run/buildkitd-ended ]; }
  log() { tail -n 60 /run/buildkitd.log; }
fi
error=
until died; do
  error=$(timeout 20 buildctl debug workers 2>&1 >/dev/null) && exit 0
  [ "$(date +%s)" -lt "$end" ] || { log >&3; printf '%s\\n' "$error" >&3; exit 1; }
  sleep 0.2
done
log >&3
exit 1
`;

/** A daemon under emulation needs seconds; one that does not come in this time is broken. */
const RESTART_LIMIT_SECONDS = 60;
/** Where systemd looks for what is to last until the next boot (systemd.unit(5)); after all other drop-ins by its name. */
const dropInDir = (unit: string): string => `/run/systemd/system/${unit}.d`;
const DROP_IN = 'zz-buildkit-archive.conf';

export type Restarted = {readonly ok: true} | {readonly ok: false; readonly log: string};

/** Starts the daemon anew with `flags` behind its own, and waits until it answers or has died. */
export async function restartDaemon(
  session: Session,
  daemon: DaemonProcess,
  flags: readonly string[],
  signal: AbortSignal,
): Promise<Restarted> {
  const {pid, unit, transient, main} = daemon;
  const argv = [main.exe, ...main.argv.slice(1), ...flags];
  if (unit !== undefined && !transient && flags.length > 0) {
    await session.output(['mkdir', '-p', dropInDir(unit)], {signal});
    await session.put(dropIn(argv), `${dropInDir(unit)}/${DROP_IN}`, {signal});
  }
  // systemd fills in variables in what systemd-run is given, too (systemd.service(5), "Command lines").
  const byHand = transient ? argv.map(word => word.replaceAll('$', '$$$$')) : argv;
  const places = [String(RESTART_LIMIT_SECONDS), String(pid), unit ?? '', transient ? 'transient' : ''];
  const {code, stdout} = await session.output(['sh', '-c', RESTART_SCRIPT, 'restart', ...places, ...byHand], {
    signal,
    timeoutMs: (3 * RESTART_LIMIT_SECONDS + 30) * 1000,
  });
  return code === 0 ? {ok: true} : {ok: false, log: logTail(stdout)};
}

const MAX_LOG_LINES = 15;

/** The last lines of a daemon's log, without Go's stack traces: a function's name, then its place behind a tab. */
export function logTail(log: string): string {
  const lines = log.split('\n').filter(line => line.trim() !== '');
  const told = lines.filter(
    (line, index) => !/^\t\S+:\d+/.test(line) && !/^\t\S+:\d+/.test(lines[index + 1] ?? ''),
  );
  return told.slice(-MAX_LOG_LINES).join('\n');
}
