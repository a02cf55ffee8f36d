import {type ChildProcess, execFileSync, spawn} from 'node:child_process';
import {randomUUID} from 'node:crypto';
import {mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {staticBusybox} from './machine.ts';

/** A real docker-registry on loopback. The VM reaches it as 10.0.2.2 on the same port. */
export interface Registry {
  readonly port: number;
  /** Puts an image with /bin/busybox and its applets there, under `name:tag`. */
  pushBusybox(reference: string): void;
  /** Where it keeps its blobs; a second registry may serve the same. */
  readonly dataDir: string;
  /** What it was asked for so far, as its own access log has it: `GET /v2/x/archive/manifests/v1`. */
  requests(): Promise<readonly string[]>;
  stop(): Promise<void>;
}

export interface RegistryOptions {
  /** More of its configuration, as YAML: `auth: …`. */
  readonly config?: string;
  readonly dataDir?: string;
}

export async function startRegistry(options: RegistryOptions = {}): Promise<Registry> {
  const dir = mkdtempSync(join(tmpdir(), 'itg-registry-'));
  const port = await freePort();
  const config = join(dir, 'config.yml');
  const dataDir = options.dataDir ?? join(dir, 'data');
  writeFileSync(
    config,
    `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${dataDir}}, delete: {enabled: true}}\nhttp: {addr: "127.0.0.1:${port}"}\n${options.config ?? ''}\n`,
  );
  const accessLog = join(dir, 'access.log');
  const child = spawn('docker-registry', ['serve', config], {
    stdio: ['ignore', openSync(accessLog, 'w'), 'ignore'],
  });
  const ended = new Promise(resolve => child.once('close', resolve));
  await answers(port, child);
  return {
    port,
    dataDir,
    requests: () => requestsIn(accessLog, port),
    pushBusybox: reference => pushBusybox(dir, `127.0.0.1:${port}/${reference}`),
    async stop() {
      child.kill();
      await ended;
      rmSync(dir, {recursive: true, force: true});
    },
  };
}

/** The log is written behind the answers: a request of our own marks where it has to be read to. */
async function requestsIn(accessLog: string, port: number): Promise<readonly string[]> {
  const mark = `/v2/mark/${randomUUID()}`;
  await fetch(`http://127.0.0.1:${port}${mark}`);
  for (;;) {
    const lines = readFileSync(accessLog, 'utf8').split('\n');
    if (lines.some(line => line.includes(mark))) {
      const requests = lines.flatMap(line => /"([A-Z]+ \S+) HTTP/.exec(line)?.[1] ?? []);
      return requests.filter(request => request !== 'GET /v2/' && !request.includes('/v2/mark/'));
    }
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

function pushBusybox(dir: string, reference: string): void {
  const rootfs = mkdtempSync(join(dir, 'rootfs-'));
  mkdirSync(join(rootfs, 'bin'));
  execFileSync('cp', [staticBusybox(), join(rootfs, 'bin/busybox')]);
  execFileSync('sh', [
    '-c',
    'cd "$0/bin" && for a in $(./busybox --list); do [ "$a" = busybox ] || ln -s busybox "$a"; done',
    rootfs,
  ]);
  const layout = mkdtempSync(join(dir, 'layout-'));
  const image = `${layout}/oci`;
  const umoci = (...args: string[]): void => void execFileSync('umoci', args, {stdio: 'pipe'});
  umoci('init', '--layout', image);
  umoci('new', '--image', `${image}:base`);
  umoci('insert', '--image', `${image}:base`, join(rootfs, 'bin'), '/bin');
  execFileSync(
    'skopeo',
    ['copy', '--quiet', '--dest-tls-verify=false', `oci:${image}:base`, `docker://${reference}`],
    {stdio: 'pipe'},
  );
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

async function answers(port: number, child: ChildProcess): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (child.exitCode !== null) throw new Error(`docker-registry ended with exit status ${child.exitCode}`);
    const ok = await fetch(`http://127.0.0.1:${port}/v2/`).then(
      // 401 is an answer too.
      response => response.status < 500,
      () => false,
    );
    if (ok) return;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  throw new Error(`docker-registry does not answer on port ${port}`);
}
