import {execFileSync} from 'node:child_process';
import {
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
} from 'node:fs';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {FORGE_CACHE} from './machine.ts';

/** The folder with the executables that the forge has built of a release. @throws when scripts/itg.sh has not had it do so. */
export function builtBinaries(version: string): string {
  const name = readdirSync(FORGE_CACHE).find(entry =>
    new RegExp(`^module-${version}-[0-9a-f]{16}$`).test(entry),
  );
  if (name === undefined) throw new Error(`no build of ${version} in ${FORGE_CACHE}: run scripts/itg.sh`);
  return join(FORGE_CACHE, name, 'bin');
}

/** This machine's runc, in the place of the one that a release brings. */
export function hostRunc(): string {
  const path = ['/usr/sbin/runc', '/usr/bin/runc', '/usr/local/sbin/runc'].find(existsSync);
  if (path === undefined)
    throw new Error('no runc on this machine: run scripts/itg.sh, whose docker engine brings one');
  return path;
}

export interface ReleaseMirror {
  readonly url: string;
  /** Paths that were asked for. */
  readonly asked: string[];
  stop(): Promise<void>;
}

/** A release page on loopback with one release's tarball, made of what the forge has built and a runc. */
export async function startReleaseMirror(version: string): Promise<ReleaseMirror> {
  const dir = mkdtempSync(join(tmpdir(), 'itg-mirror-'));
  const bin = join(dir, 'tree/bin');
  mkdirSync(bin, {recursive: true});
  const built = builtBinaries(version);
  for (const name of readdirSync(built)) copyFileSync(join(built, name), join(bin, name));
  copyFileSync(hostRunc(), join(bin, 'buildkit-runc'));
  mkdirSync(join(dir, 'www', version), {recursive: true});
  const tarball = join(dir, 'www', version, `buildkit-${version}.linux-amd64.tar.gz`);
  execFileSync('tar', ['-C', join(dir, 'tree'), '-I', 'gzip -1', '-cf', tarball, 'bin']);
  const asked: string[] = [];
  const server = createServer(({url = ''}, response) => {
    asked.push(url);
    const path = join(dir, 'www', url);
    if (existsSync(path)) createReadStream(path).pipe(response);
    else response.writeHead(404).end();
  });
  await new Promise<void>(resolve => void server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    stop: async () => {
      await new Promise(resolve => {
        server.close(resolve);
        server.closeAllConnections();
      });
      rmSync(dir, {recursive: true, force: true});
    },
  };
}
