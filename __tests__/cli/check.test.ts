import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {afterAll, describe, expect, test} from '@jest/globals';
import type {Finding} from '../../src/build/preflight.ts';
import {checkCommand} from '../../src/cli/check-command.ts';
import {run, usageErrorOf} from './fake-io.ts';

const dir = mkdtempSync(join(tmpdir(), 'bka-check-'));
afterAll(() => rmSync(dir, {recursive: true, force: true}));

interface Checked {
  readonly release: string;
  readonly dockerfile: string;
  readonly findings: readonly Finding[];
  readonly worksFrom: string | null;
}

async function check(text: string, ...argv: string[]): Promise<Checked & {code: number}> {
  const {code, out} = await run(checkCommand, ['--json', '-f', '-', ...argv], {
    stdin: Readable.from([Buffer.from(text)]),
  });
  return {code, ...(JSON.parse(out) as Checked)};
}

const MOUNT = 'FROM a\nRUN --mount=type=cache,target=/c x\n';
const HEREDOC = 'FROM a\nRUN <<EOF\nx\nEOF\n';
const LINK = 'FROM a\nCOPY --link b c\n';

describe('what a release cannot do', () => {
  test.each<[string, string, number, [string, number, string][], string | null]>([
    [MOUNT, 'v0.7.2', 1, [['run-mount-cache', 2, 'error']], 'v0.8.0'],
    [MOUNT, 'v0.8.0', 0, [], null],
    [HEREDOC, '0.9.3', 1, [['run-heredoc', 2, 'error']], 'v0.10.0'],
    [HEREDOC, 'v0.10.0-rc1', 0, [], null],
    [
      MOUNT + LINK.slice(7),
      'v0.7.0',
      1,
      [
        ['run-mount-cache', 2, 'error'],
        ['copy-link', 3, 'error'],
      ],
      'v0.10.0',
    ],
    // A symbolic mode is ignored there, refused by v0.16.0 to v0.19.0, and works later.
    [
      'FROM a\nCOPY --link --chmod=u=rw b c\n',
      'v0.8.3',
      1,
      [
        ['copy-chmod-symbolic', 2, 'warning'],
        ['copy-link', 2, 'error'],
      ],
      'v0.20.0',
    ],
    // It works as soon as the helper image can be pulled.
    ['FROM a\nCOPY b c\n', 'v0.4.0', 0, [['copy-offline', 2, 'info']], null],
    // No built-in frontend can, so there is no release to take.
    ['FROM a\nRUN --device=x y\n', 'v0.32.2', 1, [['run-device', 2, 'error']], null],
    [`# syntax=docker/dockerfile:1\n${MOUNT}`, 'v0.7.2', 0, [['syntax-directive', 1, 'info']], null],
  ])('%j on %s', async (text, release, code, findings, worksFrom) => {
    const found = await check(text, '--buildkit-version', release);
    expect(found.findings.map(one => [one.feature, one.startLine, one.severity])).toEqual(findings);
    expect([found.code, found.worksFrom]).toEqual([code, worksFrom]);
  });

  test('build arguments and the copy image count', async () => {
    const on = (release: string): string[] => ['--buildkit-version', release];
    const arg = await check(HEREDOC, ...on('v0.9.0'), '--build-arg', 'BUILDKIT_SYNTAX=docker/dockerfile:1');
    expect(arg.findings.map(({feature}) => feature)).toEqual(['syntax-directive']);
    expect(
      (await check('FROM a\nCOPY b c\n', ...on('v0.3.0'), '--override-copy-image', 'x')).findings,
    ).toEqual([]);
  });

  test('a Dockerfile of its own .dockerignore', async () => {
    const path = join(dir, 'x.Dockerfile');
    writeFileSync(path, 'FROM a\n');
    writeFileSync(`${path}.dockerignore`, '*\n');
    const {code, out} = await run(checkCommand, ['--buildkit-version', 'v0.4.0', '--dockerfile', path]);
    expect(code).toBe(0);
    expect(out.startsWith(`${path}:1: warning: Dockerfile.dockerignore works from BuildKit v0.5.0`)).toBe(
      true,
    );
  });
});

test('printed as compilers do', async () => {
  const path = join(dir, 'Dockerfile');
  writeFileSync(path, `${MOUNT}${LINK.slice(7)}`);
  const {code, out} = await run(checkCommand, ['--buildkit-version', 'v0.7.0', '--dockerfile', path]);
  expect(code).toBe(1);
  expect(out.replaceAll(path, 'Dockerfile').split('\n')).toEqual([
    expect.stringMatching(/^Dockerfile:2: error: RUN --mount=type=cache works from BuildKit v0\.8\.0/),
    '    2 │ RUN --mount=type=cache,target=/c x',
    expect.stringMatching(/^Dockerfile:3: error: COPY --link works from BuildKit v0\.10\.0/),
    '    3 │ COPY --link b c',
    '✗ BuildKit v0.7.0 cannot build Dockerfile as it is; all of it works from v0.10.0 on',
    '',
  ]);
  const fine = await run(checkCommand, ['--buildkit-version', 'v0.32.2', '--dockerfile', path]);
  expect(fine).toMatchObject({code: 0, out: expect.stringMatching(/^✓ nothing in /)});
});

test('a hostile Dockerfile prints nothing but text', async () => {
  const text = 'FROM a\nRUN --mount=type=cache,target=/##[group]x \x1b[2J ::error::y\n';
  const {out} = await run(checkCommand, ['--buildkit-version', 'v0.7.0', '-f', '-'], {
    stdin: Readable.from([Buffer.from(text)]),
  });
  expect(out).toContain('group]x');
  expect(out).not.toMatch(/##\[|\x1b|^\s*::/m);
});

test.each<[string[], RegExp]>([
  [[], /needs --buildkit-version/],
  [['--buildkit-version', '0.20'], /"0\.20" is not a release/],
  [['--buildkit-version', 'v0.7.0', '--dockerfile', 'none'], /none: there is no such file/],
  [['--buildkit-version', 'v0.7.0', 'Dockerfile'], /Unexpected argument 'Dockerfile'/],
  [['--buildkit-version', 'v0.7.0', '--build-arg', '=x'], /KEY=VALUE/],
])('%j is bad usage', async (argv, message) => {
  const error = await usageErrorOf(checkCommand, argv);
  expect(error.message).toMatch(message);
  expect(error.stage).toBe('inputs');
});

describe('--help', () => {
  test('is the whole help', async () => {
    const {code, out} = await run(checkCommand, ['--help']);
    expect(code).toBe(0);
    expect(out).toContain('Flags of check:');
  });
});

test('the recorded builds are foreseen', async () => {
  const packed = JSON.parse(readFileSync('__tests__/fixtures/diagnose/v0.7.0.json', 'utf8')) as Record<
    string,
    {readonly dockerfile?: string}
  >;
  const foreseen = ['copy-link', 'heredoc', 'heredoc-fail', 'mount-cache', 'mount-secret', 'mount-ssh'];
  for (const scenario of foreseen) {
    const {code} = await check(packed[scenario]?.dockerfile ?? '', '--buildkit-version', 'v0.7.0');
    expect([scenario, code]).toEqual([scenario, 1]);
  }
  for (const scenario of ['run-fail', 'missing-copy', 'parallel-fail', 'add-http-404']) {
    const {code} = await check(packed[scenario]?.dockerfile ?? '', '--buildkit-version', 'v0.7.0');
    expect([scenario, code]).toEqual([scenario, 0]);
  }
});
