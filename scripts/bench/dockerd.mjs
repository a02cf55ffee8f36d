// A docker engine of our own, on a socket and a store in `dir`; or the machine's, when it has one.
import {spawn, spawnSync} from 'node:child_process';
import {existsSync, openSync} from 'node:fs';
import {readFile} from 'node:fs/promises';
import {join} from 'node:path';

const START_SECONDS = 30;

/** @returns undefined, with a line on standard error, when there is none to be had. */
export async function startDocker(dir, extraArgs = []) {
  if (spawnSync('docker', ['info'], {stdio: 'ignore'}).status === 0) {
    return {env: process.env, stop: async () => undefined};
  }
  const dockerd = ['/usr/bin/dockerd', '/usr/sbin/dockerd'].find(path => existsSync(path));
  if (!dockerd || process.getuid() !== 0) {
    console.error('there is neither a docker engine nor dockerd that root may start (Debian: docker.io)');
    return undefined;
  }
  const host = `unix://${dir}/docker.sock`;
  const log = openSync(join(dir, 'dockerd.log'), 'w');
  const args = [
    ...['--host', host, '--data-root', join(dir, 'docker'), '--exec-root', join(dir, 'docker-exec')],
    ...['--pidfile', join(dir, 'docker.pid'), ...extraArgs],
  ];
  const child = spawn(dockerd, args, {stdio: ['ignore', log, log]});
  const ended = new Promise(resolve => child.once('close', resolve));
  const env = {...process.env, DOCKER_HOST: host};
  const stop = async () => {
    child.kill();
    await ended;
  };
  for (let i = 0; i < START_SECONDS * 4 && child.exitCode === null; i++) {
    if (spawnSync('docker', ['info'], {stdio: 'ignore', env}).status === 0) return {env, stop};
    await new Promise(resolve => setTimeout(resolve, 250));
  }
  await stop();
  console.error((await readFile(join(dir, 'dockerd.log'), 'utf8')).slice(-2_000));
  return undefined;
}
