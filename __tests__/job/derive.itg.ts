import {copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {summary} from '../../src/report/summary.ts';
import {pushArchive} from '../support/archive-images.ts';
import {
  BUSYBOX,
  contextDir,
  leftovers,
  type Played,
  type PlayOptions,
  play as playJob,
  untilBoot,
} from '../support/machine.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {builtBinaries, hostRunc, type ReleaseMirror, startReleaseMirror} from '../support/release-mirror.ts';
import {snapshotsIn} from '../support/warm.ts';

let mirror: ReleaseMirror;
let registry: Registry;
const dir = mkdtempSync(join(tmpdir(), 'itg-derive-'));
const storeDir = join(dir, 'store');

beforeAll(async () => {
  mirror = await startReleaseMirror('v0.32.2');
  registry = await startRegistry();
  // Three archives are nearer to v0.32.2 by number, or as near; this registry has the last of them alone.
  pushArchive('v0.20.2', registry.port, 'mine/buildkit-v0.20.2:latest');
});
afterAll(async () => {
  await mirror?.stop();
  await registry?.stop();
  rmSync(dir, {recursive: true, force: true});
  expect(leftovers()).toEqual([]);
});

const play = (raw: Record<string, string>, options: PlayOptions = {}): Promise<Played> =>
  playJob(
    {
      archive: '',
      context: contextDir({Dockerfile: `${BUSYBOX}RUN echo 1\n`}),
      registries: `127.0.0.1:${registry.port}/mine/`,
      'release-mirror': mirror.url,
      ...raw,
    },
    {...options, storeDir},
  );
const isPull = (request: string): boolean => request.includes('/mine/');
const said = ({events}: Played): string =>
  events.flatMap(event => ('message' in event ? [event.message] : [])).join('\n');

test('a release that nobody archived is put into the nearest archive that a registry has, and the report says so', async () => {
  const played = await play({'buildkit-version': 'v0.32.2'});
  const {result} = played;
  expect(result.outcome).toEqual({kind: 'built'});
  expect(result.versions).toMatchObject({
    buildkit: {version: 'v0.32.2'},
    buildctl: {version: 'v0.32.2'},
    systemd: {state: 'running', failedUnits: []},
    derived: {archiveBuildkit: 'v0.20.2', runc: 'bundled', source: expect.stringContaining(mirror.url)},
  });
  expect(said(played)).toContain('nobody archived BuildKit v0.32.2: it is put into the archive of v0.21.1');
  expect(result.machine?.start).toMatchObject({kind: 'cold'});
  const text = summary(result, {expect: 'success'});
  expect(text).toContain('kernel and systemd of v0.20.2, BuildKit and runc of v0.32.2');
  expect(mirror.asked.filter(path => path.endsWith('.tar.gz'))).toHaveLength(1);
});

test('the second run goes on from the frozen machine, without the release page', async () => {
  mirror.asked.length = 0;
  const {result} = await play({'buildkit-version': '0.32'});
  expect(result.outcome).toEqual({kind: 'built'});
  expect(result.machine?.start?.kind).toBe('restored');
  expect(result.versions?.buildkit.version).toBe('v0.32.2');
  expect(result.versions?.derived).toMatchObject({archiveBuildkit: 'v0.20.2'});
  expect(mirror.asked).toEqual([]);
});

test('the archive itself has no use for that frozen machine, nor has the same BuildKit with another runc', async () => {
  for (const raw of [
    {'buildkit-version': 'v0.20.2'},
    {'buildkit-version': 'v0.32.2', 'runc-version': 'archive'},
  ]) {
    const {hasBegunToBoot, result} = await untilBoot(options => play(raw, options));
    expect([hasBegunToBoot, result.machine]).toEqual([true, undefined]);
    expect(result.warnings.join()).not.toContain('snapshot');
  }
});

test('binaries of one’s own, with the runc of the archive', async () => {
  const own = join(dir, 'own');
  mkdirSync(own);
  const built = builtBinaries('v0.12.5');
  for (const name of readdirSync(built)) copyFileSync(join(built, name), join(own, name));
  copyFileSync(hostRunc(), join(own, 'buildkit-runc'));
  const kept = snapshotsIn(storeDir);
  expect(kept).not.toEqual([]);
  const played = await play({
    'buildkit-version': 'v0.20.2',
    'buildkit-binaries': own,
    'runc-version': 'archive',
    snapshot: 'off',
  });
  expect(played.result.outcome).toEqual({kind: 'built'});
  expect(snapshotsIn(storeDir)).toEqual(kept);
  expect(played.result.versions).toMatchObject({
    buildkit: {version: 'v0.12.5'},
    derived: {archiveBuildkit: 'v0.20.2', runc: 'archive', source: own},
  });
  // What a build of one's own calls itself is its own affair.
  expect(played.result.warnings.join()).not.toContain('not v0.20.2 as asked for');
});

test('a release that does not exist fails before anything is pulled', async () => {
  const before = (await registry.requests()).filter(isPull);
  const {result} = await play({'buildkit-version': 'v0.99.0'});
  expect(result.outcome).toMatchObject({
    kind: 'infra-failed',
    stage: 'archive',
    internal: false,
    message: expect.stringContaining('status 404'),
    hint: expect.stringContaining('is there a release v0.99.0'),
  });
  expect((await registry.requests()).filter(isPull)).toEqual(before);
});
