import {UserError} from '../base/errors.ts';
import type {Session} from '../base/ports.ts';
import type {Versions, Worker} from '../base/result.ts';
import {compareVersions, parseVersion} from '../base/version.ts';

/** A socket-activated daemon under emulation needs seconds; one that does not come in this time is broken. */
const READY_LIMIT_SECONDS = 60;

/**
 * The daemon is socket-activated, so the first `debug workers` starts it; the loop gives it its time. An archive without a unit for it
 * (the published v0.3.0) has it started by hand.
 */
const READY_SCRIPT = `
PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin
end=$(( $(date +%s) + $1 ))
start_by_hand() {
  systemctl cat buildkit.service >/dev/null 2>&1 && return
  systemctl cat buildkitd.service >/dev/null 2>&1 && return
  systemd-run --unit=buildkitd --property=Delegate=yes buildkitd && return
  setsid buildkitd </dev/null >/var/log/buildkitd.log 2>&1 &
}
tried=
until error=$(buildctl debug workers -v 2>&1 >/run/buildkit-archive-workers); do
  [ -n "$tried" ] || { tried=1; start_by_hand >/dev/null 2>&1; }
  if [ "$(date +%s)" -ge "$end" ]; then
    printf '%s\n' "$error"
    systemctl status --no-pager --lines=15 buildkit.service buildkitd.service 2>&1
    exit 1
  fi
  sleep 0.2
done
cat /run/buildkit-archive-workers
rm -f /run/buildkit-archive-workers
`;

/**
 * Waits until the daemon answers. @returns what `buildctl debug workers -v` prints, for `inspect`.
 * @throws UserError with its status when it does not.
 */
export async function awaitBuildkit(session: Session, signal: AbortSignal): Promise<string> {
  const {code, stdout} = await session.output(
    ['sh', '-c', READY_SCRIPT, 'ready', String(READY_LIMIT_SECONDS)],
    {
      signal,
      timeoutMs: (READY_LIMIT_SECONDS + 60) * 1000,
    },
  );
  if (code === 0) return stdout;
  throw new UserError(`BuildKit does not answer in the VM:\n${stdout.trim()}`, {
    stage: 'inspect',
    hint: "look around in it: buildkit-archive ssh --archive …; journalctl -u buildkit shows the daemon's log",
  });
}

/**
 * Asks a machine that was restored whether its daemon answers, and whether it is the one that `versions` speaks of: a worker keeps its ID with its
 * state folder. @throws when it does not, or is not.
 */
export async function checkAlive(session: Session, versions: Versions, signal: AbortSignal): Promise<void> {
  // The garbage of a program that lives for a moment is not worth collecting: a fifth of its time under TCG.
  const script = `${PATHS}export GOGC=off; exec buildctl debug workers`;
  const {code, stdout, stderr} = await session.output(['sh', '-c', script], {signal});
  if (code !== 0) throw new Error(`BuildKit does not answer: ${(stderr || stdout).trim()}`);
  const missing = versions.workers.find(({id}) => !stdout.includes(id));
  if (missing || versions.workers.length === 0) throw new Error('another BuildKit answers than was frozen');
}

/** Reads facts that were kept as JSON. @throws when they are none. */
export function parseVersions(value: unknown): Versions {
  const versions = value as Partial<Versions> | null | undefined;
  if (typeof versions?.buildkit?.version !== 'string' || !Array.isArray(versions.workers)) {
    throw new Error('it does not say which BuildKit it holds');
  }
  return versions as Versions;
}

const PATHS = 'PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin; ';

/**
 * One script for all questions, side by side: a round trip to an emulated machine costs more than an answer, and a Go program of 60 MB a second. Each answer
 * stands under a line `@@name`. The daemon's own version is among its workers' from v0.11.0 on. buildkitd takes `buildkit-runc` before `runc` (cmd/buildkitd,
 * `getOCIExecutor`), so that is the one to ask. Its argument is what `buildctl debug workers -v` has printed, when that is known.
 */
const SCRIPT = `
PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin
cd "$(mktemp -d)" || exit 1
{
  if [ -n "$1" ]; then printf '%s\n' "$1"; else buildctl debug workers -v 2>&1; fi >workers
  grep -q '^BuildKit:' workers || buildkitd --version >buildkitd 2>&1
} &
systemctl show --property=Version --property=SystemState --property=NFailedUnits >systemd 2>&1 &
{ buildctl --version; } >buildctl 2>&1 &
{ if command -v buildkit-runc >/dev/null; then buildkit-runc --version; else runc --version; fi; } >runc 2>&1 &
{ uname -r; } >kernel
{ uname -m; } >architecture
{ cat /etc/os-release || cat /usr/lib/os-release; } >os 2>/dev/null
wait
if ! grep -qx NFailedUnits=0 systemd; then
  systemctl list-units --failed --plain --no-legend --no-pager >failed 2>&1
fi
for name in *; do printf '\n@@%s\n' "$name"; cat "$name"; done
rm -rf "$PWD"
`;

/** Asks the machine what it really is. @throws UserError when there is no BuildKit in it. */
export async function inspect(session: Session, signal: AbortSignal, workers = ''): Promise<Versions> {
  const {stdout} = await session.output(['sh', '-c', SCRIPT, 'inspect', workers], {
    signal,
    timeoutMs: 60_000,
  });
  return parseInspection(stdout);
}

/** Reads what the script printed. @throws UserError when there is no BuildKit. */
export function parseInspection(text: string): Versions {
  const sections = sectionsOf(text);
  const section = (name: string): string => sections.get(name) ?? '';
  const buildkit = daemonOf(section('workers')) ?? parseProgram(section('buildkitd'));
  if (buildkit === undefined) {
    throw new UserError(
      `no BuildKit was found in the VM: buildkitd --version printed ${JSON.stringify(section('buildkitd'))}`,
      {
        stage: 'inspect',
        hint: 'is this disk a BuildKit archive?',
      },
    );
  }
  const runc = parseRunc(section('runc'));
  return {
    buildkit,
    buildctl: parseBuildctl(section('buildctl')),
    ...(runc && {runc}),
    kernel: section('kernel'),
    os: osName(section('os')),
    architecture: section('architecture'),
    systemd: parseSystemd(section('systemd'), section('failed')),
    workers: parseWorkers(section('workers')),
  };
}

/** A warning when the BuildKit found is another one than asked for: archives exist whose name and disk differ. */
export function versionMismatch(expected: string | undefined, found: Versions): string | undefined {
  const asked = expected === undefined ? undefined : parseVersion(expected);
  const real = parseVersion(found.buildkit.version);
  if (!asked || (real && compareVersions(asked, real) === 0)) return undefined;
  return `the archive holds BuildKit ${found.buildkit.version}, not ${expected} as asked for; the results are those of ${found.buildkit.version}`;
}

function sectionsOf(text: string): Map<string, string> {
  const sections = new Map<string, string>();
  for (const part of text.split(/^@@/m).slice(1)) {
    const end = part.indexOf('\n');
    sections.set(part.slice(0, end), part.slice(end + 1).trim());
  }
  return sections;
}

/** `BuildKit:` and package, version, commit, in the first worker's block: those of the daemon that runs. */
function daemonOf(workers: string): Versions['buildkit'] | undefined {
  const line = /^BuildKit:\s*(\S.*)$/m.exec(workers)?.[1];
  return line === undefined ? undefined : parseProgram(`buildkitd ${line}`);
}

/** `buildkitd github.com/moby/buildkit v0.20.2 97437fdd…`; v0.3 to v0.5 print the same four words. */
export function parseProgram(text: string): Versions['buildkit'] | undefined {
  const match = /^build(?:kitd|ctl)\s+(\S+)\s+(\S+)(?:\s+(\S+))?\s*$/m.exec(text);
  if (!match?.[2]) return undefined;
  return {version: match[2], ...(match[3] && {commit: match[3]}), ...(match[1] && {package: match[1]})};
}

function parseBuildctl(text: string): Versions['buildctl'] {
  const {version, commit} = parseProgram(text) ?? {version: 'unknown'};
  return {version, ...(commit !== undefined && {commit})};
}

function parseRunc(text: string): Versions['runc'] {
  const version = /^runc version (\S+)/m.exec(text)?.[1];
  if (version === undefined) return undefined;
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}:\\s*(\\S.*)$`, 'm').exec(text)?.[1]?.trim();
  const [commit, spec, go, libseccomp] = ['commit', 'spec', 'go', 'libseccomp'].map(field);
  return {
    version,
    ...(commit && {commit}),
    ...(spec && {spec}),
    ...(go && {go}),
    ...(libseccomp && {libseccomp}),
  };
}

function osName(osRelease: string): string {
  const value =
    /^PRETTY_NAME=(.*)$/m.exec(osRelease)?.[1] ?? /^NAME=(.*)$/m.exec(osRelease)?.[1] ?? 'unknown';
  return value.replace(/^(["'])(.*)\1$/, '$2');
}

/** `systemctl show` of the manager: `Version=252.39-1~deb12u1`, `SystemState=running`. */
function parseSystemd(properties: string, failed: string): Versions['systemd'] {
  const version = /^Version=(?:systemd )?(\S+)/m.exec(properties)?.[1];
  return {
    ...(version && {version}),
    state: /^SystemState=(\S+)/m.exec(properties)?.[1] ?? 'unknown',
    // A bullet may stand before the name, also with --plain in some releases.
    failedUnits: failed.split('\n').flatMap(line => /^[●*\s]*(\S+\.\w+)\s/.exec(`${line} `)?.[1] ?? []),
  };
}

/** `buildctl debug workers -v`: blocks that begin with `ID:`; labels are indented under `Labels:`. */
export function parseWorkers(text: string): readonly Worker[] {
  return text
    .split(/^(?=ID:)/m)
    .filter(block => block.startsWith('ID:'))
    .map(block => {
      const labels = Object.fromEntries(
        [...block.matchAll(/^\t([\w./-]+):[ \t]+(.*)$/gm)]
          .filter(match => match[1]?.startsWith('org.'))
          .map(match => [match[1], match[2]?.trim() ?? '']),
      );
      const snapshotter = labels['org.mobyproject.buildkit.worker.snapshotter'];
      return {
        id: /^ID:\s*(\S+)/.exec(block)?.[1] ?? '',
        platforms: (/^Platforms:\s*(.*)$/m.exec(block)?.[1] ?? '')
          .split(',')
          .filter(platform => platform !== ''),
        labels,
        ...(snapshotter !== undefined && {snapshotter}),
      };
    });
}
