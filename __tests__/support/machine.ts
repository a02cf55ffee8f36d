import {execFileSync} from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import {homedir, tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {CanceledError} from '../../src/base/errors.ts';
import type {JobEvent} from '../../src/base/events.ts';
import type {JobResult} from '../../src/base/result.ts';
import {localPorts} from '../../src/host/local.ts';
import {type JobPorts, runJob} from '../../src/job.ts';
import {parseInputs} from '../../src/plan/inputs.ts';
import {makePlan, type Plan} from '../../src/plan/plan.ts';

const CACHE =
  process.env.BUILDKIT_ARCHIVE_CACHE ??
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'buildkit-archive');

/** The store that tests share, so that one boot of an archive serves most of them. */
export const ITG_STORE = join(CACHE, 'itg-store');

/** Where the forge keeps what is slow to make. */
export const FORGE_CACHE = join(CACHE, 'forge');

/** Folder of the forged archive of a release. @throws when scripts/itg.sh has not made it. */
export function archiveDir(version: string): string {
  const dir = join(CACHE, 'archives', version);
  if (!existsSync(join(dir, 'archive.json')))
    throw new Error(`no archive of ${version} in ${dir}: run scripts/itg.sh`);
  return dir;
}

export const diskOf = (version: string): string => join(archiveDir(version), 'vm.qcow2');

/** A new folder with these files; a static busybox is put where `busybox: true` asks for it. */
export function contextDir(
  files: Readonly<Record<string, string>>,
  options: {busybox?: boolean} = {},
): string {
  const dir = mkdtempSync(join(tmpdir(), 'itg-context-'));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), {recursive: true});
    writeFileSync(join(dir, name), text);
  }
  if (options.busybox !== false) copyFileSync(staticBusybox(), join(dir, 'busybox'));
  return dir;
}

export function staticBusybox(): string {
  const path = execFileSync('dpkg', ['-L', 'busybox-static'], {encoding: 'utf8'})
    .split('\n')
    .find(line => line.endsWith('/busybox') && existsSync(line));
  if (path === undefined) throw new Error('install busybox-static, or run scripts/itg.sh');
  return path;
}

/** The first lines of Dockerfiles that need commands and no network. */
export const BUSYBOX =
  'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n';

export interface Played {
  readonly result: JobResult;
  readonly events: readonly JobEvent[];
  readonly log: string;
}

export interface PlayOptions {
  readonly signal?: AbortSignal;
  readonly ports?: Partial<JobPorts>;
  readonly onEvent?: (event: JobEvent) => void;
  /** Another store than the one that all tests share. */
  readonly storeDir?: string;
}

export function planFor(raw: Readonly<Record<string, string>>): Plan {
  const inputs = parseInputs({archive: diskOf('v0.20.2'), accelerator: 'tcg', ...raw});
  return makePlan(inputs, {workspaceDir: process.cwd(), storeDir: ITG_STORE});
}

/** Runs the whole job under TCG, on BuildKit v0.20.2 unless the inputs say otherwise. */
export async function play(
  raw: Readonly<Record<string, string>>,
  options: PlayOptions = {},
): Promise<Played> {
  const events: JobEvent[] = [];
  const listen = (event: JobEvent): void => {
    events.push(event);
    options.onEvent?.(event);
  };
  const signal = options.signal ?? new AbortController().signal;
  const plan = planFor(raw);
  const {storeDir = plan.archive.storeDir} = options;
  const placed = {...plan, archive: {...plan.archive, storeDir}};
  const result = await runJob(placed, {...localPorts, ...options.ports}, listen, signal);
  return {result, events, log: events.map(event => (event.kind === 'build-log' ? event.text : '')).join('')};
}

/** Plays a job that ends where a machine would be booted. Whether it came to that tells one that was restored, or failed before, from one that was not. */
export async function untilBoot(
  run: (options: Pick<PlayOptions, 'signal' | 'onEvent'>) => Promise<Played>,
): Promise<Played & {readonly hasBegunToBoot: boolean}> {
  const stop = new AbortController();
  const played = await run({
    signal: stop.signal,
    onEvent: event => {
      if (event.kind === 'stage-started' && event.title === 'Boot the VM')
        stop.abort(new CanceledError('seen'));
    },
  });
  return {...played, hasBegunToBoot: stop.signal.aborted};
}

/** Command lines of all processes. */
export function commandLines(): ReadonlyMap<string, string> {
  const pids = readdirSync('/proc').filter(name => /^\d+$/.test(name));
  return new Map(
    pids.flatMap((pid): [string, string][] => {
      try {
        return [[pid, readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')]];
      } catch {
        return [];
      }
    }),
  );
}

/**
 * What a job must not leave behind: QEMU processes and folders of ours in the temporary folder. scripts/itg.sh gives each run a temporary folder of its own,
 * so that other jobs on the machine are not seen.
 */
export function leftovers(): readonly string[] {
  const ours = `${tmpdir()}/bka-`;
  const processes = [...commandLines()].filter(
    ([, line]) => line.includes('qemu-system') && line.includes(ours),
  );
  const folders = readdirSync(tmpdir()).filter(name => name.startsWith('bka-'));
  return [...processes.map(([pid]) => `process ${pid}`), ...folders];
}
