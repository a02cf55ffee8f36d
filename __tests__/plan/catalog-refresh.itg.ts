import {execFileSync, spawnSync} from 'node:child_process';
import {copyFileSync, mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {parse} from 'yaml';
import {formatReference} from '../../src/base/image-reference.ts';
import {type CatalogEntry, resolveVersion} from '../../src/plan/catalog.ts';
import {parseSources} from '../../src/plan/catalog-sources.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {type MadeImage, makeImage, makeLayer, pushImage} from '../support/registry-images.ts';

const dir = mkdtempSync(join(tmpdir(), 'catalog-'));
const [catalog, output] = [join(dir, 'catalog.yml'), join(dir, 'catalog-data.ts')];
let registry: Registry;
let images: MadeImage[];

beforeAll(async () => {
  registry = await startRegistry();
  images = await Promise.all(
    ['a', 'b', 'c', 'd'].map(async content => makeImage([await makeLayer([{name: 'vm.qcow2', content}])])),
  );
});
afterAll(async () => {
  await registry.stop();
  rmSync(dir, {recursive: true, force: true});
});
const push = (name: string, image = 0): Promise<void> => {
  const [repository = '', tag = ''] = name.split(':');
  return pushImage(`http://127.0.0.1:${registry.port}`, repository, tag, images[image] as MadeImage);
};
const registries = (): string[] =>
  ['new/', 'old/docker_archive'].map(path => `127.0.0.1:${registry.port}/${path}`);
const refresh = (list = registries().join(',')) =>
  spawnSync(
    process.execPath,
    ['scripts/catalog.mjs', '--catalog', catalog, '--output', output, '--registries', list],
    {
      encoding: 'utf8',
    },
  );
const entries = (): CatalogEntry[] => parse(readFileSync(catalog, 'utf8')).archives;

test('revisions, digests and new archives come from both forms of registries', async () => {
  copyFileSync('src/plan/catalog.yml', catalog);
  await push('new/buildkit-v0.20.2:v0.2.0', 0);
  await push('new/buildkit-v0.20.2:v0.10.0', 1);
  await push('new/buildkit-v0.20.2:latest', 1);
  await push('new/buildkit-v0.20.2:ctr_v0.10.0', 3);
  await push('old/docker_archive:buildkit-v0.20.2_v0.1.0', 2);
  await push('old/docker_archive:buildkit-v0.20.2', 2);
  await push('old/docker_archive:buildkit-v0.22.0-debug_v0.1.0', 3);
  await push('old/docker_archive:ctr_buildkit-v0.23.0_v0.1.0', 3);
  const {status, stdout, stderr} = refresh();
  expect(stderr).toBe('');
  expect(status).toBe(0);
  const [newer, older] = registries();
  const digest = (i: number) => images[i]?.digest;
  const found = entries().find(({name}) => name === 'v0.20.2');
  expect(found?.revisions).toEqual(['v0.1.0', 'v0.2.0', 'v0.10.0']);
  expect(found?.digests).toEqual({
    'v0.2.0': {[`${newer}`]: digest(0)},
    'v0.10.0': {[`${newer}`]: digest(1)},
    'v0.1.0': {[`${older}:`]: digest(2)},
  });
  expect(entries().at(-1)).toEqual({
    name: 'v0.22.0-debug',
    buildkit: 'v0.22.0',
    revisions: ['v0.1.0'],
    digests: {'v0.1.0': {[`${older}:`]: digest(3)}},
  });
  expect(entries()).toHaveLength(23);
  expect(stdout).toContain('v0.22.0-debug: new in');

  const sources = parseSources(registries());
  const references = resolveVersion('0.20', {sources, catalog: entries()}).references.map(formatReference);
  expect(references).toEqual([
    `127.0.0.1:${registry.port}/new/buildkit-v0.20.2:v0.10.0@${digest(1)}`,
    `127.0.0.1:${registry.port}/old/docker_archive:buildkit-v0.20.2`,
  ]);
});

test('what is known stays as it is: comments, fields, order', () => {
  const text = readFileSync(catalog, 'utf8');
  const before = readFileSync('src/plan/catalog.yml', 'utf8');
  const lines = new Set(text.split('\n'));
  expect(before.split('\n').filter(line => !lines.has(line))).toEqual(['    revisions: [v0.1.0, v0.2.0]']);
});

test('a second run changes nothing', () => {
  const before = readFileSync(catalog, 'utf8');
  expect(refresh()).toMatchObject({status: 0, stdout: '', stderr: ''});
  expect(readFileSync(catalog, 'utf8')).toBe(before);
});

test('the module that the program reads says the same', async () => {
  const {CATALOG} = await import(output);
  expect(CATALOG).toEqual(entries());
});

test('a registry that fails leaves everything as it was', () => {
  const before = readFileSync(catalog, 'utf8');
  const {status, stderr} = refresh('no-such-host.invalid/x:');
  expect(status).toBe(1);
  expect(stderr).toMatch(/^no-such-host\.invalid\/x:.* (ENOTFOUND|EAI_AGAIN|\()/);
  expect(readFileSync(catalog, 'utf8')).toBe(before);
});

test("the repository's own catalog-data.ts is made by the script", () => {
  const fresh = join(dir, 'fresh.ts');
  execFileSync(process.execPath, ['scripts/catalog.mjs', '--offline', '--output', fresh]);
  expect(readFileSync(fresh, 'utf8')).toBe(readFileSync('src/plan/catalog-data.ts', 'utf8'));
});
