import {afterAll, afterEach, beforeAll, beforeEach, expect, test} from '@jest/globals';
import {type CacheServer, startCacheServerV1} from '../support/cache-server.ts';
import {startCacheServerV2} from '../support/cache-server-v2.ts';
import {qcow2} from '../support/images.ts';
import {contextDir, leftovers} from '../support/machine.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {type MadeImage, makeImage, makeLayer, noise, pushImage} from '../support/registry-images.ts';
import {Runner} from '../support/runner.ts';

/** The action as the runner starts it, with an archive whose disk does not boot: only what comes before and behind the machine is of interest. */
let registry: Registry;
let image: MadeImage;
let runner: Runner;
beforeAll(async () => {
  registry = await startRegistry();
  image = makeImage([
    await makeLayer([{name: 'vm.qcow2', content: Buffer.concat([qcow2(), noise(300_000)])}]),
  ]);
  await pushImage(`http://127.0.0.1:${registry.port}`, 'x/archive', 'v1', image);
});
afterAll(() => registry.stop());
beforeEach(() => {
  runner = new Runner();
});
afterEach(() => {
  runner.remove();
  expect(leftovers()).toEqual([]);
});

/** Main and post of a run. @returns their logs. */
async function step(server: CacheServer, event: NodeJS.ProcessEnv, inputs: Record<string, string> = {}) {
  const env = {...server.env, ...event};
  const all = {
    archive: `127.0.0.1:${registry.port}/x/archive@${image.digest}`,
    context: contextDir({Dockerfile: 'FROM scratch\n'}),
    accelerator: 'tcg',
    'boot-timeout': '1s',
    ...inputs,
  };
  runner.start('main', all, env);
  expect(await runner.end()).toEqual({code: 1, signal: null});
  const main = runner.log;
  runner.log = '';
  runner.start('post', {}, env);
  expect(await runner.end()).toEqual({code: 0, signal: null});
  return {main, post: runner.log};
}

test.each<[string, () => Promise<CacheServer>]>([
  ['version 1', startCacheServerV1],
  ['version 2', () => startCacheServerV2('azure')],
])(
  'what was pulled is saved in post although the job failed (%s), and is there for the next machine',
  async (_, start) => {
    await using server = await start();
    const push = {GITHUB_EVENT_NAME: 'push', GITHUB_REF_TYPE: 'branch'};
    const first = await step(server, push);
    expect(first.post).toMatch(/^Saved to the Actions cache as buildkit-archive-disk-1-sha256-\w{64} /m);
    expect(first.post).toMatch(/^Saved to the Actions cache as buildkit-archive-documents-1-sha256-\w{64} /m);
    const before = await registry.requests();
    runner.remove();
    runner = new Runner();
    const second = await step(server, push);
    expect(second.main).toContain('the disk comes from the Actions cache');
    expect(second.post).not.toContain('Actions cache');
    expect(await registry.requests()).toEqual(before);
  },
);

test('in a release nothing is read and nothing is saved', async () => {
  await using server = await startCacheServerV2();
  const {main, post} = await step(server, {GITHUB_EVENT_NAME: 'release', GITHUB_REF_TYPE: 'tag'});
  expect(main).toContain('the Actions cache is not used: a cache is not safe in a release');
  expect(post).not.toContain('Actions cache');
  expect(server.calls).toEqual([]);
});

test('in a release with "cache: always" it is', async () => {
  await using server = await startCacheServerV2();
  const release = {GITHUB_EVENT_NAME: 'release', GITHUB_REF_TYPE: 'tag'};
  await step(server, release, {cache: 'always'});
  expect(server.entries.filter(entry => entry.complete)).toHaveLength(2);
});
