import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import {version} from '../../src/base/version.ts';
import {featuresUsed} from '../../src/build/dockerfile/features.ts';
import {parseHeredocWord} from '../../src/build/dockerfile/heredoc.ts';
import {sameImage} from '../../src/build/dockerfile/image-name.ts';
import {locateStep} from '../../src/build/dockerfile/locate.ts';
import {readDockerfile} from '../../src/build/dockerfile/read.ts';
import type {Instruction} from '../../src/build/dockerfile/types.ts';
import {expandVariables, variableReferences} from '../../src/build/dockerfile/variables.ts';

const fixtures = join(import.meta.dirname, '../fixtures/dockerfiles');

/** What BuildKit's own parser (v0.32.2) says of a file; made with `parser.Parse` and `parser.DetectSyntax`. */
interface Golden {
  readonly error?: string;
  readonly escape: string;
  readonly syntax?: string;
  readonly syntaxLine?: number;
  readonly instructions: readonly {readonly flags: readonly string[]; readonly json: boolean}[];
}

function comparable(one: Instruction) {
  const flags = one.flags.map(({name, value}) => `--${name}${value === undefined ? '' : `=${value}`}`);
  const heredocs = one.heredocs.map(({startLine: _s, endLine: _e, ...rest}) => rest);
  const {keyword, startLine, endLine, text} = one;
  return {keyword, startLine, endLine, text, flags, json: one.json !== undefined, heredocs};
}

describe("as BuildKit's own parser", () => {
  const names = readdirSync(fixtures).filter(name => name.endsWith('.Dockerfile'));
  test.each(names)('%s', name => {
    const golden = JSON.parse(
      readFileSync(join(fixtures, name.replace('.Dockerfile', '.json')), 'utf8'),
    ) as Golden;
    const read = readDockerfile(readFileSync(join(fixtures, name), 'utf8'));
    if (golden.error !== undefined) {
      expect(read.problems.map(({message}) => message)).toContain(golden.error);
      return;
    }
    expect(read.instructions.map(comparable)).toEqual(golden.instructions);
    expect(read.escape).toBe(golden.escape);
    expect(read.syntax?.value).toBe(golden.syntax);
    expect(read.syntax?.startLine).toBe(golden.syntaxLine);
    expect(read.problems).toEqual([]);
  });
});

describe('directives', () => {
  test.each([
    ['# syntax=docker/dockerfile:1\nFROM a', 'docker/dockerfile:1', 1],
    ['#syntax = docker/dockerfile:1 --flag\nFROM a', 'docker/dockerfile:1', 1],
    ['# escape=`\n# SYNTAX=x\nFROM a', 'x', 2],
    ['#!/usr/bin/env x\n# syntax=x\nFROM a', 'x', 2],
    ['// syntax=x\nnot a dockerfile', 'x', 1],
    ['{\n  "syntax": "x",\n  "a": 1\n}\n', 'x', 2],
    ['# a comment\n# syntax=x\nFROM a', undefined, undefined],
    ['\n# syntax=x\nFROM a', undefined, undefined],
    ['FROM a\n# syntax=x', undefined, undefined],
    ['{"syntax": 1}', undefined, undefined],
    ['# syntax=\nFROM a', undefined, undefined],
  ])('%j', (text, value, line) => {
    const {syntax} = readDockerfile(text);
    expect([syntax?.value, syntax?.startLine]).toEqual([value, line]);
  });

  test('one that stands twice is a problem', () => {
    expect(readDockerfile('# escape=`\n# escape=\\\nFROM a').problems).toEqual([
      {startLine: 2, endLine: 2, message: 'only one escape parser directive can be used'},
    ]);
  });

  test('an escape character that is none', () => {
    expect(readDockerfile('# escape=x\nFROM a').problems[0]?.message).toBe("invalid escape token 'x'");
  });
});

test('before v0.8.0 a line that ends in two backslashes goes on', () => {
  const text = 'FROM a\nRUN x \\\\\nRUN y\n';
  expect(readDockerfile(text, {version: version('v0.7.2')}).instructions).toHaveLength(2);
  expect(readDockerfile(text, {version: version('v0.8.0')}).instructions).toHaveLength(3);
});

test.each([
  ['<<EOF', {name: 'EOF', expand: true, chomp: false, fileDescriptor: 0}],
  ['<<-"E F"', {name: 'E F', expand: false, chomp: true, fileDescriptor: 0}],
  ["3<<'X'", {name: 'X', expand: false, chomp: false, fileDescriptor: 3}],
  ['<< EOF', {name: 'EOF', expand: true, chomp: false, fileDescriptor: 0}],
  ['<<<EOF', undefined],
  ['<<', undefined],
  ['<<-', undefined],
  ['a<<EOF', undefined],
  ['<<a b', undefined],
])('heredoc word %j', (word, head) => {
  expect(parseHeredocWord(word)).toEqual(head);
});

test('stages: names in lower case, bases with global ARGs, images and stages told apart', () => {
  const text = readFileSync(join(fixtures, 'stages.Dockerfile'), 'utf8');
  const shape = (args: Record<string, string>) =>
    readDockerfile(text, {buildArgs: args}).stages.map(({name, base, baseStage, from}) => [
      name,
      base,
      baseStage,
      from.startLine,
    ]);
  expect(shape({})).toEqual([
    ['build', 'alpine:3.20', undefined, 4],
    ['test', 'BUILD', 0, 7],
    [undefined, 'scratch', undefined, 9],
    ['other', 'build-alpine:x', undefined, 12],
    [undefined, 'busybox', undefined, 14],
    [undefined, '', undefined, 16],
  ]);
  expect(shape({BASE: 'debian', TAG: '12'})[0]?.[1]).toBe('debian:12');
});

test.each([
  ['$a-${b}', '1-'],
  ['${c:-x$a}', 'x1'],
  ['${a:-x}', '1'],
  ['${a:+y}${c:+n}', 'y'],
  ['${empty:-e}${empty-f}', 'e'],
  ['"quoted $a"', 'quoted 1'],
])('expansion of %s', (text, expected) => {
  expect(expandVariables(text, {a: '1', empty: ''})).toBe(expected);
});

test('variables: not behind the escape, not in single quotes; nested braces are one', () => {
  const found = variableReferences('$a \\$b \'$c\' "${d:-${e}}" ${f##*/} $ $1', '\\');
  expect(found.map(({name, modifier}) => name + modifier)).toEqual(['a', 'd:-', 'f##']);
});

test.each([
  ['alpine', 'docker.io/library/alpine:latest', true],
  ['a/b', 'docker.io/a/b', true],
  ['docker-image://localhost/x:1', 'localhost/x:1', true],
  ['127.0.0.1:5000/x', '127.0.0.1:5000/x:latest', true],
  ['x:1@sha256:aa', 'x:1', true],
  ['x:1@sha256:aa', 'x:1@sha256:bb', false],
  ['registry.example.test/library/busybox:lates...', 'registry.example.test/library/busybox', true],
  ['alpine', 'alpine:3', false],
])('%s and %s the same image: %s', (a, b, same) => {
  expect(sameImage(a, b)).toBe(same);
});

test('anything is read without an error', () => {
  for (const text of [
    '',
    '\n',
    '\\',
    '\\\n',
    'RUN <<',
    'ONBUILD',
    'ONBUILD ONBUILD x',
    '# escape=`',
    '\uFEFF',
    'FROM',
  ]) {
    expect(() => readDockerfile(text)).not.toThrow();
  }
  expect(readDockerfile('# only\n').problems).toEqual([
    {startLine: 1, endLine: 1, message: 'no instructions'},
  ]);
});

test('a line of 200 kB and 5000 heredocs take no time to speak of', () => {
  const long = `FROM a\nRUN ${'x"$y '.repeat(40_000)}\n${'RUN <<A <<B\nA\nB\n'.repeat(5000)}`;
  const started = performance.now();
  expect(readDockerfile(long).instructions).toHaveLength(5002);
  expect(performance.now() - started).toBeLessThan(5000);
});

test('600 damaged files: no error, lines in order and inside the file (seed 7)', () => {
  const sources = readdirSync(fixtures)
    .filter(name => name.endsWith('.Dockerfile'))
    .map(name => readFileSync(join(fixtures, name), 'utf8'));
  const bits = [
    '\\',
    '\\\n',
    '\n',
    '# c\n',
    '<<EOF',
    '<<-E ',
    'EOF\n',
    '"',
    "'",
    '${x',
    '}',
    '\r',
    '`',
    'ONBUILD ',
    '["a",',
  ];
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return Math.floor((seed / 2147483648) * below);
  };
  for (let i = 0; i < 600; i++) {
    let text = sources[random(sources.length)] ?? '';
    for (let change = random(6); change >= 0; change--) {
      const at = random(text.length);
      text = text.slice(0, at) + (bits[random(bits.length)] ?? '') + text.slice(at + random(8));
    }
    const dockerfile = readDockerfile(text);
    let last = 0;
    for (const {startLine, endLine} of dockerfile.instructions) {
      expect(startLine).toBeGreaterThan(last);
      expect(endLine).toBeGreaterThanOrEqual(startLine);
      last = endLine;
    }
    expect(last).toBeLessThanOrEqual(text.split('\n').length);
    for (const use of featuresUsed(dockerfile)) expect(use.token).not.toBe('');
    expect(() => locateStep({name: 'RUN echo', stage: 'stage-1'}, dockerfile)).not.toThrow();
  }
});
