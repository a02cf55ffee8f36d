import {execFileSync} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {
  archiveDir,
  BUSYBOX,
  contextDir,
  leftovers,
  type PlayOptions,
  play as playJob,
  untilBoot,
} from '../support/machine.ts';
import {type Registry, startRegistry} from '../support/registry.ts';

let registry: Registry;
const storeDir = mkdtempSync(join(tmpdir(), 'itg-store-'));

/** Both forms in which archives are published: a repository for each, a tag for each. */
beforeAll(async () => {
  registry = await startRegistry();
  const push = (version: string, name: string): void => {
    const from = `oci:${archiveDir(version)}/oci:buildkit-${version}`;
    execFileSync('skopeo', [
      'copy',
      '--quiet',
      '--dest-tls-verify=false',
      from,
      `docker://127.0.0.1:${registry.port}/${name}`,
    ]);
  };
  push('v0.20.2', 'ctrsploit/buildkit-v0.20.2:latest');
  push('v0.12.5', 'ssst0n3/docker_archive:buildkit-v0.12.5');
});

afterAll(async () => {
  await registry?.stop();
  rmSync(storeDir, {recursive: true, force: true});
  expect(leftovers()).toEqual([]);
});

async function play(raw: Readonly<Record<string, string>>, options: PlayOptions = {}) {
  const registries = `127.0.0.1:${registry.port}/ctrsploit/\n127.0.0.1:${registry.port}/ssst0n3/docker_archive:`;
  const context = contextDir({Dockerfile: `${BUSYBOX}RUN echo 1\n`});
  const played = await playJob({archive: '', registries, context, ...raw}, {...options, storeDir});
  const said = played.events.flatMap(event => ('message' in event ? [event.message] : []));
  return {...played, said};
}

test('a version is pulled from the first source that has it, verified, booted and built in; the next run takes it from the store', async () => {
  const first = await play({'buildkit-version': '0.20'});
  expect(first.result.outcome).toEqual({kind: 'built'});
  expect(first.result.versions?.buildkit.version).toBe('v0.20.2');
  expect(first.said.join('\n')).not.toContain('in the store already');
  const second = await play({'buildkit-version': 'v0.20.2'});
  expect(second.result.outcome).toEqual({kind: 'built'});
  expect(second.said).toContain('the disk is in the store already');
});

test('a source that does not have it is left for the next with one warning', async () => {
  const before = await registry.requests();
  const {hasBegunToBoot, events} = await untilBoot(options => play({'buildkit-version': 'v0.12.5'}, options));
  expect(hasBegunToBoot).toBe(true);
  const warnings = events.flatMap(event => (event.kind === 'warning' ? [event.message] : []));
  expect(warnings).toEqual([expect.stringContaining('; trying ')]);
  const blobs = (await registry.requests())
    .slice(before.length)
    .filter(request => /^GET .*\/blobs\//.test(request));
  expect(blobs).not.toEqual([]);
  for (const request of blobs) expect(request).toContain('/ssst0n3/docker_archive/');
});

test('an image by its name', async () => {
  const {result} = await play({archive: `127.0.0.1:${registry.port}/ctrsploit/buildkit-v0.20.2:latest`});
  expect(result.outcome).toEqual({kind: 'built'});
});

test('what nobody has fails before any boot, with what every source said', async () => {
  const {result} = await play({'buildkit-version': 'v0.9.0'});
  expect(result.outcome).toMatchObject({
    kind: 'infra-failed',
    stage: 'archive',
    internal: false,
    message: expect.stringMatching(/no registry gives the archive: .*404.*; .*404/s),
  });
});
