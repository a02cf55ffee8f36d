import {spawn} from 'node:child_process';
import {mkdtempSync, readdirSync, rmSync, symlinkSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';

import {commandLines} from '../support/machine.ts';

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

const {ARCHIVE, BUSYBOX} = process.env;
const home = mkdtempSync(join(tmpdir(), 'act-home-'));
/** A name of our own for the disk, by which its QEMU is known. */
const disk = join(home, 'vm.qcow2');
const foldersOfOurs = (): string[] => readdirSync(tmpdir()).filter(name => name.startsWith('bka-'));
const foldersBefore = foldersOfOurs();
let lines: readonly ActLine[] = [];
let code: number | null = null;

/** `node` is on PATH; act keeps its files under HOME, which is thrown away. */
async function runAct(): Promise<void> {
  const child = spawn(
    'act',
    [
      'push',
      '-W',
      '__tests__/act/workflow.yml',
      '-P',
      'ubuntu-latest=-self-hosted',
      '--json',
      '--concurrent-jobs',
      '1',
      '--cache-server-addr',
      '127.0.0.1',
      '--artifact-server-path',
      join(home, 'artifacts'),
      '--artifact-server-addr',
      '127.0.0.1',
      '--env',
      `ARCHIVE=${disk}`,
      '--env',
      `BUSYBOX=${BUSYBOX}`,
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
  code = await new Promise(resolve => child.once('close', resolve));
  lines = text.split('\n').flatMap(line => {
    try {
      return [JSON.parse(line) as ActLine];
    } catch {
      return [];
    }
  });
  if (lines.length === 0) throw new Error(`act printed no JSON: ${text.slice(-2000)}${errors.slice(-2000)}`);
}

const ofJob = (job: string): readonly ActLine[] => lines.filter(line => line.job?.endsWith(`/${job}`));
const outputsOf = (job: string): Record<string, string> =>
  Object.fromEntries(
    ofJob(job)
      .filter(line => line.command === 'set-output')
      .map(line => [line.name ?? '', line.arg ?? '']),
  );

beforeAll(async () => {
  if (!ARCHIVE || !BUSYBOX) throw new Error('set ARCHIVE and BUSYBOX, or run scripts/act.sh');
  symlinkSync(ARCHIVE, disk);
  await runAct();
});
afterAll(() => rmSync(home, {recursive: true, force: true}));

test('act ran both jobs to their end', () => {
  const tail = lines
    .slice(-40)
    .map(line => line.msg ?? '')
    .join('\n');
  expect({code, tail: code === 0 ? '' : tail}).toEqual({code: 0, tail: ''});
  expect(lines.filter(line => line.jobResult !== undefined).map(line => line.jobResult)).toEqual([
    'success',
    'success',
  ]);
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
  expect(lines.filter(line => line.includes('qemu-system') && line.includes(disk))).toEqual([]);
  // Other jobs on this machine have folders too; theirs belong to a running QEMU.
  const orphans = foldersOfOurs().filter(
    name => !foldersBefore.includes(name) && !lines.some(line => line.includes(name)),
  );
  expect(orphans).toEqual([]);
});
