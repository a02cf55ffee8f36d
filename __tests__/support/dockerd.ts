import {type ChildProcess, execFileSync, spawn, spawnSync} from 'node:child_process';
import {appendFileSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

/** A docker engine for tests. While it runs, this process's docker client speaks to it (`DOCKER_HOST`). */
export interface Engine {
  /** Runs the client and gives what it printed. @throws when it fails. */
  docker(...args: string[]): string;
  /** Names of the containers that we have left, running or not. */
  containers(): readonly string[];
  /** Names of all images. */
  images(): readonly string[];
  stop(): Promise<void>;
}

const START_LIMIT_MS = 60_000;

/** Under jest a child does not get what was set in `process.env`, unless it is handed on. */
function answersNow(): boolean {
  const {status} = spawnSync('docker', ['version', '--format', '{{.Server.Version}}'], {env: process.env});
  return status === 0;
}

/**
 * The engine of this machine when there is one, which belongs to somebody else: only what is ours in it is looked at. Else one of our own, with its data,
 * socket, network bridge and process in nobody's way; that needs root.
 */
export async function startEngine(): Promise<Engine> {
  if (answersNow()) return engine(async () => undefined);
  const dir = mkdtempSync(join(tmpdir(), 'itg-dockerd-'));
  const bridge = `bka${process.pid}`.slice(0, 15);
  const address = `172.30.${process.pid % 256}.1/24`;
  const run = (...argv: string[]): void => void execFileSync(argv[0] ?? '', argv.slice(1), {stdio: 'pipe'});
  run('ip', 'link', 'add', bridge, 'type', 'bridge');
  run('ip', 'address', 'add', address, 'dev', bridge);
  run('ip', 'link', 'set', bridge, 'up');
  const log = openSync(join(dir, 'log'), 'a');
  const child = spawn(
    'dockerd',
    [
      ...['--data-root', join(dir, 'data'), '--exec-root', join(dir, 'exec'), '--pidfile', join(dir, 'pid')],
      ...['--host', `unix://${dir}/docker.sock`, '--bridge', bridge],
    ],
    {stdio: ['ignore', log, log]},
  );
  closeSync(log);
  const before = process.env.DOCKER_HOST;
  process.env.DOCKER_HOST = `unix://${dir}/docker.sock`;
  const stop = async (): Promise<void> => {
    if (before === undefined) delete process.env.DOCKER_HOST;
    else process.env.DOCKER_HOST = before;
    await ended(child);
    run('ip', 'link', 'delete', bridge);
    forgetBridge(bridge);
    // What a killed engine left mounted is no folder to remove.
    for (const path of mountsUnder(dir)) run('umount', '--lazy', path);
    rmSync(dir, {recursive: true, force: true});
  };
  try {
    await answers(child, join(dir, 'log'));
  } catch (error) {
    await stop();
    throw error;
  }
  return engine(stop);
}

function engine(stop: () => Promise<void>): Engine {
  const docker = (...args: string[]): string =>
    execFileSync('docker', args, {encoding: 'utf8', stdio: 'pipe', env: process.env});
  const lines = (text: string): string[] => text.split('\n').filter(line => line !== '');
  return {
    docker,
    containers: () =>
      lines(docker('ps', '--all', '--filter', 'label=buildkit-archive', '--format', '{{.Names}}')),
    images: () => lines(docker('image', 'ls', '--format', '{{.Repository}}:{{.Tag}}')),
    stop,
  };
}

async function answers(child: ChildProcess, log: string): Promise<void> {
  const deadlineMs = Date.now() + START_LIMIT_MS;
  while (Date.now() < deadlineMs && child.exitCode === null) {
    if (answersNow()) return;
    await new Promise(resolve => setTimeout(resolve, 200));
  }
  appendFileSync(log, `exit status ${child.exitCode}\n`);
  throw new Error(`dockerd does not answer:\n${readFileSync(log, 'utf8').slice(-4000)}`);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = new Promise(resolve => child.once('close', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
  await closed;
  clearTimeout(timer);
}

/** Docker leaves its rules for a bridge when it ends. */
function forgetBridge(bridge: string): void {
  for (const table of ['nat', 'filter']) {
    const {stdout} = spawnSync('iptables', ['--table', table, '--list-rules'], {encoding: 'utf8'});
    for (const rule of (stdout ?? '').split('\n')) {
      const [command, ...rest] = rule.split(' ');
      if (command === '-A' && rest.includes(bridge)) spawnSync('iptables', ['--table', table, '-D', ...rest]);
    }
  }
}

/** Deepest first (proc(5), /proc/self/mounts). */
function mountsUnder(dir: string): readonly string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .flatMap(line => line.split(' ')[1] ?? [])
    .filter(path => path.startsWith(`${dir}/`))
    .reverse();
}
