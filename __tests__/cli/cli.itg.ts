import {spawn} from 'node:child_process';
import {mkdtempSync, readFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, expect, test} from '@jest/globals';
import {Ajv2020} from 'ajv/dist/2020.js';
import {BUSYBOX, contextDir, diskOf, ITG_STORE, leftovers} from '../support/machine.ts';

afterEach(() => expect(leftovers()).toEqual([]));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function cli(...argv: string[]): Promise<Ended> {
  const child = spawn(process.execPath, ['dist/cli.cjs', ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {...process.env, BUILDKIT_ARCHIVE_STORE: ITG_STORE},
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', chunk => {
    stdout += chunk;
  });
  child.stderr.on('data', chunk => {
    stderr += chunk;
  });
  const code = await new Promise<number | null>(resolve => child.once('close', resolve));
  return {code, stdout, stderr};
}

const machine = ['--archive', diskOf('v0.20.2'), '--accelerator', 'tcg'];

test('build --json: the result alone on standard output, as its schema says; the log beside it; files on demand', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'itg-cli-'));
  const context = contextDir({Dockerfile: `${BUSYBOX}ARG A\nRUN echo "$A"; exit 4\n`});
  const files = [
    '--summary-file',
    join(dir, 's.md'),
    '--outputs-file',
    join(dir, 'o'),
    '--result',
    join(dir, 'r.json'),
  ];
  const {code, stdout, stderr} = await cli(
    'build',
    ...machine,
    '--json',
    '--build-arg',
    'A=seen',
    ...files,
    context,
  );
  expect(code).toBe(1);
  const result = JSON.parse(stdout);
  const validate = new Ajv2020({strict: false}).compile(
    JSON.parse(readFileSync('schema/job-result.schema.json', 'utf8')),
  );
  expect(validate(result) ? [] : validate.errors).toEqual([]);
  expect(result.outcome).toMatchObject({kind: 'build-failed', failureKind: 'run-failed', exitCode: 4});
  expect(stderr).toMatch(/^#\d+ \S+ seen$/m);
  expect(readFileSync(join(dir, 's.md'), 'utf8')).toContain('v0.20.2');
  expect(readFileSync(join(dir, 'o'), 'utf8')).toMatch(/^result=failure$/m);
  expect(JSON.parse(readFileSync(join(dir, 'r.json'), 'utf8'))).toEqual(result);
});

test('ssh runs a command and gives its exit code', async () => {
  const {code, stdout} = await cli(
    'ssh',
    ...machine,
    '--',
    'sh',
    '-c',
    'echo "it\'s $1"; exit 5',
    'sh',
    'a  b',
  );
  expect({code, stdout}).toEqual({code: 5, stdout: "it's a  b\n"});
});

test.each([
  [['build', '--nope'], 2, /--nope/],
  [['frobnicate'], 2, /no command "frobnicate"/],
  [['build', '--archive', '/no/such.qcow2', 'examples/hello'], 3, /no file or folder/],
  [
    ['build', '--archive', '/no/such.qcow2', 'no/such/context'],
    2,
    /context .*no\/such\/context does not exist/,
  ],
  [['build', '--buildkit-version', 'v0.20.99'], 2, /v0\.20\.99/],
])('%j ends with %i', async (argv, expected, message) => {
  const {code, stdout, stderr} = await cli(...argv);
  expect(code).toBe(expected);
  expect(stdout + stderr).toMatch(message);
});
