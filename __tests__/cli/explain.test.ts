import {mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {afterAll, describe, expect, test} from '@jest/globals';
import {CanceledError} from '../../src/base/errors.ts';
import type {BuildTrace} from '../../src/base/trace.ts';
import type {Diagnosis} from '../../src/build/diagnose/diagnose.ts';
import {explainCommand} from '../../src/cli/explain-command.ts';
import {expectedFor, packedCases, recordedBuilds} from '../build/diagnose-cases.ts';
import {run, usageErrorOf} from './fake-io.ts';

const RECORDINGS = '__tests__/fixtures/recordings';
const dir = mkdtempSync(join(tmpdir(), 'bka-explain-'));
afterAll(() => rmSync(dir, {recursive: true, force: true}));

const file = (name: string, content: string | Uint8Array): string => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};

interface Answer {
  readonly trace: BuildTrace;
  readonly diagnosis: Diagnosis | null;
}

async function explainJson(argv: readonly string[], stdin?: string): Promise<Answer & {code: number}> {
  const {code, out, notes} = await run(
    explainCommand,
    ['--json', ...argv],
    stdin === undefined ? {} : {stdin: Readable.from([Buffer.from(stdin)])},
  );
  expect(notes).toBe('');
  const answer = JSON.parse(out) as Answer;
  expect(Object.keys(answer)).toEqual(['trace', 'diagnosis']);
  return {code, ...answer};
}

describe('recorded failures', () => {
  const cases = packedCases();
  test.each(cases.map(one => [one.release, one.scenario, one] as const))(
    '%s %s',
    async (release, scenario, one) => {
      const logs = [file('stdout', one.stdout), file('stderr', one.stderr)];
      const about = [
        '--buildkit-version',
        release,
        ...(one.dockerfile === undefined ? [] : ['--dockerfile', file(one.dockerfileName, one.dockerfile)]),
      ];
      const expected = expectedFor(scenario, release);
      const answers = [
        await explainJson([...about, ...logs]),
        // As a shell's 2>&1 gives it.
        await explainJson([...about, '-'], `${one.stdout}${one.stderr}`),
      ];
      for (const {code, diagnosis} of answers) {
        expect(code).toBe(1);
        expect([diagnosis?.kind, diagnosis?.lines ?? null, diagnosis?.worksFrom]).toEqual([
          expected.kind,
          expected.lines ? {startLine: expected.lines[0], endLine: expected.lines[1]} : null,
          expected.worksFrom,
        ]);
        expect(diagnosis?.step ?? '').toMatch(expected.step ?? /^$/);
      }
    },
  );
});

/** Copied recordings that have the file `form`. */
const recorded = (form: string): (readonly [string, string, string])[] =>
  readdirSync(RECORDINGS).flatMap(release =>
    readdirSync(join(RECORDINGS, release)).flatMap(scenario => {
      const folder = join(RECORDINGS, release, scenario);
      return readdirSync(folder).includes(form) ? [[release, scenario, folder] as const] : [];
    }),
  );

describe.each(['trace.json', 'rawjson.txt'])('%s alone, its form found out', form => {
  test.each(recorded(form))('%s %s ends as recorded', async (_release, scenario, folder) => {
    const {code, trace, diagnosis} = await explainJson([
      '-f',
      join(folder, 'ctx/Dockerfile'),
      join(folder, form),
    ]);
    const failed = Number(readFileSync(join(folder, 'exit.txt'), 'utf8')) !== 0;
    expect(code).toBe(failed ? 1 : 0);
    expect(trace.steps.length).toBeGreaterThan(0);
    expect(diagnosis === null).toBe(!failed);
    if (scenario.endsWith('run-fail')) {
      expect(diagnosis).toMatchObject({kind: 'run-failed', lines: {startLine: 5, endLine: 7}});
    }
  });
});

test('there are recordings of each form', () => {
  expect(recorded('trace.json').length).toBeGreaterThan(10);
  expect(recorded('rawjson.txt').length).toBeGreaterThan(10);
});

const all = recordedBuilds();

test(`all ${all.length} recorded builds end as they did, without their exit status`, async () => {
  const wrong: string[] = [];
  for (const {release, scenario, dockerfile, stdout, stderr, rawjson, failed} of all) {
    const about = dockerfile === undefined ? [] : ['-f', file('Dockerfile', dockerfile)];
    const logs = [file('stdout', stdout), file('stderr', stderr)];
    const forms = [logs, ...(rawjson ? [[file('rawjson', rawjson)]] : [])];
    for (const form of forms) {
      const {code, diagnosis} = await explainJson(['--buildkit-version', release, ...about, ...form]);
      const expected = failed ? expectedFor(scenario, release) : undefined;
      const right = diagnosis?.kind === expected?.kind && diagnosis?.dockerfileLine === expected?.lines?.[0];
      if (code !== (failed ? 1 : 0) || !right) {
        wrong.push(`${release}/${scenario}: ${code} ${diagnosis?.kind}`);
      }
    }
  }
  expect(wrong).toEqual([]);
});

describe('without an exit status the log decides', () => {
  const v03 = `${RECORDINGS}/v0.3.0`;
  const running = '#1 [1/1] RUN sleep 9\n#1 0.100 begun\n';
  test.each<[string, string, number, RegExp]>([
    [
      'a failed import of a cache does not fail a build',
      '#1 importing cache manifest from a/b\n#1 ERROR: a/b: not found\n#2 [1/1] RUN x\n#2 DONE 0.1s\n',
      0,
      /^$/,
    ],
    [
      'nor does an export that may fail',
      '#1 [1/1] RUN x\n#1 DONE 0.1s\n#2 exporting cache to registry\n#2 ERROR: refused\n',
      0,
      /^$/,
    ],
    [
      'a failed step does',
      '#1 [1/1] RUN x\n#1 ERROR: process "/bin/sh -c x" did not complete successfully: exit code: 7\n',
      1,
      /exit code 7/,
    ],
    ['a log that ends within a step', running, 1, /does not say how the build ended.*RUN sleep 9 still ran/],
    ['a canceled step', '#1 [1/1] RUN x\n#1 CANCELED\n', 1, /RUN x was canceled/],
  ])('%s', async (_name, log, code, summary) => {
    const answer = await explainJson(['-'], log);
    expect(answer.code).toBe(code);
    expect(answer.diagnosis?.summary ?? '').toMatch(summary);
  });

  test('with one it does not', async () => {
    expect(await explainJson(['--exit-code', '0', '-'], running)).toMatchObject({code: 0, diagnosis: null});
    const failed = '#1 [1/1] RUN x\n#1 ERROR: gone\n';
    expect(await explainJson(['--exit-code=0', '-'], failed)).toMatchObject({code: 0, diagnosis: null});
    expect((await explainJson(['--exit-code', '1', '-'], '')).code).toBe(1);
    expect((await explainJson(['--exit-code', '0', '-'], '')).code).toBe(0);
  });

  test('a stream without the error is not taken for a success', async () => {
    const log = readFileSync(`${v03}/syntax-error/stdout.txt`, 'utf8');
    const {code, diagnosis} = await explainJson(['-'], log);
    expect(code).toBe(1);
    expect(diagnosis?.summary).toMatch(/nothing was built, and no error follows/);
  });
});

describe('printed for people', () => {
  test('steps, place, last lines, answer', async () => {
    const one = packedCases().find(({release, scenario}) => release === 'v0.7.0' && scenario === 'run-fail');
    if (!one) throw new Error('the case is gone');
    const {code, out} = await run(explainCommand, [
      ...['--buildkit-version', '0.7.0', '--dockerfile', file('Dockerfile', one.dockerfile ?? '')],
      file('stderr', one.stderr),
    ]);
    expect(code).toBe(1);
    expect(out).toMatch(/^✓ 1 \[internal\] load /);
    expect(out).toMatch(/^✗ 7 \[4\/5\] RUN echo line one;/m);
    // v0.7.0 prints no excerpt: it is taken from the Dockerfile.
    expect(out).toMatch(/^Dockerfile:5$/m);
    expect(out).toMatch(/^ {3}7 │ {5}exit 7$/m);
    expect(out).toMatch(/^ {2}│ boom$/m);
    expect(out).toMatch(
      /^✗ run-failed: .*\n {2}release: {4}v0\.7\.0\n {2}step: .*\n {2}line: {7}Dockerfile:5-7$/m,
    );
    expect(out).toMatch(/what to do: BuildKit v0\.6\.2 to v0\.7\.2 lose the exit code/);
  });

  test('what works from when', async () => {
    const log =
      '#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\nerror: failed to solve: dockerfile parse error line 2: Unknown flag: link\n';
    const dockerfile = file('Dockerfile', 'FROM scratch\nCOPY --link a b\n');
    const {out} = await run(explainCommand, ['--buildkit-version', 'v0.8.3', '-f', dockerfile, '-'], {
      stdin: Readable.from([log]),
    });
    expect(out).toMatch(/^✗ unsupported-feature: BuildKit v0\.8\.3 does not know COPY --link/m);
    expect(out).toMatch(/^ {2}line: {7}Dockerfile:2$/m);
    expect(out).toMatch(/^ {2}works from: v0\.10\.0$/m);
  });

  test('without the Dockerfile the log has to do', async () => {
    const log =
      "#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\nDockerfile:2\n--------------------\n   2 | >>> ADD --checksum=sha256:0 http://a/b /b\n--------------------\nerror: failed to solve: instruction 'ADD --checksum=<CHECKSUM>' requires the labs channel\n";
    const {diagnosis} = await explainJson(['--buildkit-version', 'v0.11.0', '-'], log);
    expect(diagnosis).toMatchObject({kind: 'unsupported-feature', dockerfileLine: 2, worksFrom: 'v0.12.0'});
  });

  test('a success says so last, in colours where there are some', async () => {
    const log = '#1 [1/2] RUN a\n#1 CACHED\n#2 [2/2] RUN b\n#2 DONE 1.5s\n';
    const plainText = await run(explainCommand, ['-'], {stdin: Readable.from([log])});
    expect(plainText).toMatchObject({
      code: 0,
      out: expect.stringMatching(/✓ The build succeeded \(2 steps, 1 cached/),
    });
    expect(plainText.out).not.toContain('\x1b');
    const coloured = await run(explainCommand, ['-'], {stdin: Readable.from([log]), colours: true});
    expect(coloured.out).toContain('\x1b[32m✓\x1b[0m');
  });

  test('nothing of the log is a command to a runner or a terminal', async () => {
    const bad = '::error::x ##[group]y \x1b]0;title\x07\x1b[2J';
    const log = `#1 [1/1] RUN ${bad}\n#1 0.1 ${bad}\n#1 0.2 ##\u200b[endgroup]\n#1 ERROR: ${bad}\n\nDockerfile:1\n--------------------\n   1 | >>> RUN ${bad}\n--------------------\nerror: failed to solve: ${bad}\n`;
    for (const flags of [[], ['--json']]) {
      const {out} = await run(explainCommand, [...flags, '-'], {stdin: Readable.from([log])});
      expect(out).toContain('group]y');
      expect(out).not.toMatch(/^\s*::/m);
      expect(out).not.toMatch(/##[^ -~]*\[/);
      expect(out).not.toMatch(/[\x00-\x08\x0b-\x1f]/);
    }
    expect((await explainJson(['-'], log)).trace.steps[0]?.name).toContain('##[group]y');
  });
});

test('of a long log head and tail are kept', async () => {
  const lines = 200_000;
  async function* log(): AsyncGenerator<Buffer> {
    yield Buffer.from('#1 [1/1] RUN x\n');
    for (let i = 0; i < lines; i += 1000) {
      yield Buffer.from(Array.from({length: 1000}, (_, n) => `#1 0.1 line ${i + n}\n`).join(''));
    }
    yield Buffer.from('#1 ERROR: process "/bin/sh -c x" did not complete successfully: exit code: 3\n');
  }
  const {code, out} = await run(explainCommand, ['--json', '-'], {stdin: Readable.from(log())});
  expect(code).toBe(1);
  const [step] = (JSON.parse(out) as Answer).trace.steps;
  expect(step?.logs.omittedLines).toBe(lines - 400);
});

describe('bad usage', () => {
  const log = '#1 [1/1] RUN x\n#1 DONE 0.1s\n';
  test.each<[string[], RegExp]>([
    [[], /needs a log/],
    [['-', '-'], /only once/],
    [['--dockerfile', '-', '-'], /only once/],
    [['--nope', '-'], /--nope/],
    [['--format', 'xml', '-'], /"xml" is not allowed; allowed: auto, trace, rawjson, plain/],
    [['--exit-code', 'x', '-'], /"x" is not allowed/],
    [['--exit-code', '256', '-'], /"256" is not allowed/],
    [['--buildkit-version', 'dev', '-'], /"dev" is not a release from v0\.3\.0 on/],
    [['--buildkit-version', 'v0.2.0', '-'], /"v0\.2\.0" is not a release/],
    [['--build-arg', 'x', '-'], /KEY=VALUE/],
    [['no-such-file'], /no-such-file: there is no such file/],
    [['__tests__'], /__tests__: it is a folder/],
    [['--dockerfile', 'no-such-file', '-'], /no-such-file: there is no such file/],
    [['package.json'], /package\.json: nothing in it is progress/],
  ])('%j', async (argv, message) => {
    const error = await usageErrorOf(explainCommand, argv, {stdin: Readable.from([log])});
    expect(error.message).toMatch(message);
    expect(error.hint).toBeTruthy();
    expect(error.stage).toBe('inputs');
  });
});

test('a signal ends the wait for standard input', async () => {
  const controller = new AbortController();
  const io = {stdin: new Readable({read() {}}), print: () => {}, note: () => {}, colours: false, width: 80};
  const running = explainCommand(['-'], controller.signal, io);
  controller.abort(new CanceledError('canceled by SIGINT'));
  await expect(running).rejects.toThrow('canceled by SIGINT');
});
