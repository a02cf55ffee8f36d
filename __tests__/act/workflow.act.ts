import {execFileSync, spawn} from 'node:child_process';
import {mkdtempSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {archiveDir, commandLines} from '../support/machine.ts';
import {type Registry, startRegistry} from '../support/registry.ts';

/** A line of `act --json`; workflow commands have `command`, a step's own output has `raw_output`. */
interface ActLine {
  readonly job?: string;
  readonly msg?: string;
  readonly command?: string;
  readonly name?: string;
  readonly arg?: string;
  readonly raw?: string;
  readonly content?: string;
  readonly kvPairs?: Readonly<Record<string, string>>;
  readonly raw_output?: boolean;
  readonly stage?: string;
  readonly step?: string;
  readonly stepResult?: string;
  readonly jobResult?: string;
}

const {BUSYBOX} = process.env;
const REPOSITORY = 'ctrsploit/buildkit-v0.20.2';
const FROM_CACHE = 'the disk comes from the Actions cache';
/** The store of every job lies in here, by which its QEMU is known. */
const home = mkdtempSync(join(tmpdir(), 'act-home-'));
const foldersOfOurs = (): string[] => readdirSync(tmpdir()).filter(name => name.startsWith('bka-'));
const foldersBefore = foldersOfOurs();

/** One play of the workflow. */
interface Play {
  readonly code: number | null;
  readonly lines: readonly ActLine[];
  /** What the registry was asked for, as its own log has it, without the repository's name; what is asked again after a broken connection once. */
  readonly requests: readonly string[];
}

let registry: Registry;
/** The image's manifest in the registry. */
let manifest: {digest: string; config: {digest: string}; layers: readonly {digest: string}[]};
let first: Play;
/** The job that passes once more: on another machine, with the same cache. */
let second: Play;

async function play(stores: string, more: readonly string[] = []): Promise<Play> {
  const before = (await registry.requests()).length;
  const {code, lines} = await runAct(stores, more);
  const requests = (await registry.requests())
    .slice(before)
    .map(request => request.replace(`/v2/${REPOSITORY}/`, ''));
  return {code, lines, requests: requests.filter((request, i) => request !== requests[i - 1])};
}

/** `node` is on PATH; act keeps its files, the cache among them, under HOME, which is thrown away. */
async function runAct(
  stores: string,
  more: readonly string[],
): Promise<{code: number | null; lines: readonly ActLine[]}> {
  const image = `127.0.0.1:${registry.port}/${REPOSITORY}`;
  const variables = {
    STORES: join(home, stores),
    PINNED: `${image}@${manifest.digest}`,
    TAGGED: `${image}:latest`,
    BUSYBOX: BUSYBOX ?? '',
  };
  const child = spawn(
    'act',
    [
      'push',
      ...['-W', '__tests__/act/workflow.yml', '-e', join(home, 'event.json')],
      ...['-P', 'ubuntu-latest=-self-hosted', '--json', '--concurrent-jobs', '1'],
      ...['--cache-server-addr', '127.0.0.1', '--artifact-server-addr', '127.0.0.1'],
      ...['--artifact-server-path', join(home, 'artifacts')],
      ...Object.entries(variables).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
      ...more,
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {...process.env, HOME: home, XDG_CACHE_HOME: join(home, '.cache')},
    },
  );
  let text = '';
  child.stdout.on('data', chunk => {
    text += chunk;
  });
  let errors = '';
  child.stderr.on('data', chunk => {
    errors += chunk;
  });
  const code = await new Promise<number | null>(resolve => child.once('close', resolve));
  const lines = text.split('\n').flatMap(line => {
    try {
      return [JSON.parse(line) as ActLine];
    } catch {
      return [];
    }
  });
  if (lines.length === 0) throw new Error(`act printed no JSON: ${text.slice(-2000)}${errors.slice(-2000)}`);
  return {code, lines};
}

const ofJob = (job: string, {lines} = first): readonly ActLine[] =>
  lines.filter(line => line.job?.endsWith(`/${job}`));
const messages = (job: string, played = first): string =>
  ofJob(job, played)
    .map(line => line.msg ?? '')
    .join('\n');
const outputsOf = (job: string, played = first): Record<string, string> =>
  Object.fromEntries(
    ofJob(job, played)
      .filter(line => line.command === 'set-output')
      .map(line => [line.name ?? '', line.arg ?? '']),
  );

beforeAll(async () => {
  if (!BUSYBOX) throw new Error('set BUSYBOX, or run scripts/act.sh');
  registry = await startRegistry();
  const image = `127.0.0.1:${registry.port}/${REPOSITORY}`;
  execFileSync('skopeo', [
    ...['copy', '--quiet', '--dest-tls-verify=false'],
    ...[`oci:${archiveDir('v0.20.2')}/oci:buildkit-v0.20.2`, `docker://${image}:latest`],
  ]);
  const response = await fetch(`http://${image.replace('/', '/v2/')}/manifests/latest`, {
    headers: {accept: 'application/vnd.oci.image.manifest.v1+json'},
  });
  const digest = response.headers.get('docker-content-digest') ?? '';
  manifest = {...((await response.json()) as typeof manifest), digest};
  // Without it act takes what the checkout is at, which may be a tag, for which there is no cache.
  writeFileSync(join(home, 'event.json'), '{"ref": "refs/heads/main"}');
  first = await play('first');
  second = await play('second', ['--job', 'success']);
});
afterAll(async () => {
  await registry?.stop();
  rmSync(home, {recursive: true, force: true});
});

const ended = ({code, lines}: Play) => ({
  code,
  jobs: lines.flatMap(line => line.jobResult ?? []),
  tail: code === 0 ? [] : lines.slice(-40).map(line => line.msg ?? ''),
});

test('act ran all jobs to their end', () => {
  expect(ended(first)).toEqual({code: 0, jobs: ['success', 'success'], tail: []});
  expect(ended(second)).toEqual({code: 0, jobs: ['success'], tail: []});
});

describe('the archive', () => {
  const disk = (): string => `GET blobs/${manifest.layers.at(-1)?.digest}`;
  const config = (): string => `GET blobs/${manifest.config.digest}`;

  test('is pulled by the first job, for a digest, and kept in the cache by its post', () => {
    expect(first.requests.slice(0, 3)).toEqual([`GET manifests/${manifest.digest}`, config(), disk()]);
    expect(messages('success')).not.toContain(FROM_CACHE);
    expect(messages('success')).toMatch(
      /Saved to the Actions cache as buildkit-archive-disk-1-sha256-[0-9a-f]{64} /,
    );
    expect(messages('success')).toMatch(
      /Saved to the Actions cache as buildkit-archive-documents-1-sha256-[0-9a-f]{64} /,
    );
  });

  test('comes out of the cache for a tag: the registry is asked what it names, and for no layer', () => {
    expect(first.requests.slice(3)).toEqual(['GET manifests/latest', config()]);
    expect(messages('failure')).toContain(FROM_CACHE);
  });

  test('comes out of the cache for a digest, without any request', () => {
    expect(second.requests).toEqual([]);
    expect(messages('success', second)).toContain(FROM_CACHE);
    expect(outputsOf('success', second)).toMatchObject({result: 'success', 'buildkit-version': 'v0.20.2'});
  });
});

describe('a build that passes', () => {
  test('sets the outputs', () => {
    const outputs = outputsOf('success');
    expect(outputs).toMatchObject({
      result: 'success',
      'buildkit-version': 'v0.20.2',
      'buildkit-commit': '97437fdd7e32f29bb80288d800cd4ffcb34e1c15',
      'failure-kind': '',
      accelerator: 'tcg',
    });
    expect(outputs['runc-version']).toMatch(/^1\./);
    expect(outputs['kernel-version']).toMatch(/^\d+\.\d+/);
    expect(outputs.imageid).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(Number(outputs['boot-seconds'])).toBeGreaterThan(0);
    const steps = JSON.parse(outputs.steps ?? '[]') as {name: string; state: string}[];
    expect(steps.find(step => step.name.includes('RUN sh hello.sh'))?.state).toBe('done');
  });

  test('writes a summary with versions, steps and a picture', () => {
    const summary = ofJob('success').find(line => line.command === 'summary')?.content ?? '';
    expect(summary).toContain('v0.20.2');
    expect(summary).toContain('```mermaid');
    expect(summary).toMatch(/RUN sh hello\.sh/);
  });

  test('the later step saw them', () => {
    expect(ofJob('success').some(line => line.msg?.startsWith('seen: v0.20.2 1.'))).toBe(true);
  });

  test('post ran', () => {
    expect(ofJob('success').some(line => line.stage === 'Post' && line.stepResult === 'success')).toBe(true);
  });
});

describe('a build that fails', () => {
  test('says why, and a hostile log sets nothing', () => {
    const outputs = outputsOf('failure');
    expect(outputs).toMatchObject({result: 'failure', 'failure-kind': 'run-failed'});
    expect(outputs).not.toHaveProperty('pwned');
  });

  test('annotates the failing lines of the Dockerfile', () => {
    const errors = ofJob('failure').filter(line => line.command === 'error');
    expect(errors).toHaveLength(1);
    // act reads a command with `::` in its text otherwise than the runner does, so the line itself is looked at.
    expect(errors[0]?.raw).toMatch(
      /^::error title=[^:]*,file=__tests__\/act\/failing\/Dockerfile,line=5,endLine=6::/,
    );
    expect(errors[0]?.raw).toContain('last words');
  });

  test('shows the last lines in the summary', () => {
    const summary = ofJob('failure').find(line => line.command === 'summary')?.content ?? '';
    expect(summary).toContain('last words');
    expect(summary).not.toMatch(/^::/m);
  });
});

test('no process and no folder is left', () => {
  const lines = [...commandLines()].map(([, line]) => line);
  expect(lines.filter(line => line.includes('qemu-system') && line.includes(home))).toEqual([]);
  // Other jobs on this machine have folders too; theirs belong to a running QEMU.
  const orphans = foldersOfOurs().filter(
    name => !foldersBefore.includes(name) && !lines.some(line => line.includes(name)),
  );
  expect(orphans).toEqual([]);
});
