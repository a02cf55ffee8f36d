import {mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {version} from '../../src/base/version.ts';
import {type ContextPlan, planContext, resolveContext} from '../../src/build/context-plan.ts';
import {localFiles} from '../../src/host/files.ts';
import {localLinks} from '../../src/host/tree.ts';

const files = {...localFiles, ...localLinks};
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'context-plan-'));
});
afterEach(() => rmSync(dir, {recursive: true, force: true}));

function make(tree: Readonly<Record<string, string>>): void {
  for (const [path, content] of Object.entries(tree)) {
    mkdirSync(join(dir, path, '..'), {recursive: true});
    writeFileSync(join(dir, path), content);
  }
}

/** Of the names a, b and c, those that a plan leaves out. */
function leftOut({filter}: ContextPlan): string {
  return ['a', 'b', 'c']
    .filter(name => filter && !filter.visit(Buffer.from(name), false, filter.root).send)
    .join('');
}

interface Case {
  readonly name: string;
  readonly tree: Readonly<Record<string, string>>;
  readonly release?: string;
  readonly buildArgs?: readonly {key: string; value: string}[];
  readonly leftOut: string;
}

const both = {Dockerfile: '', '.dockerignore': 'a\nb', 'Dockerfile.dockerignore': 'b\nc'};
const cases: readonly Case[] = [
  {name: 'no ignore file', tree: {Dockerfile: ''}, leftOut: ''},
  {name: '.dockerignore', tree: {Dockerfile: '', '.dockerignore': 'a'}, leftOut: 'a'},
  {name: 'the specific file wins', tree: both, release: 'v0.5.0', leftOut: 'bc'},
  {name: 'v0.4.0 does not know the specific file', tree: both, release: 'v0.4.0', leftOut: 'ab'},
  {name: 'for an unknown release, what both leave out', tree: both, leftOut: 'b'},
  {
    name: 'a specific file alone, unknown release',
    tree: {Dockerfile: '', 'Dockerfile.dockerignore': 'a'},
    leftOut: '',
  },
  {
    name: 'a specific file alone, known release',
    tree: {Dockerfile: '', 'Dockerfile.dockerignore': 'a'},
    release: 'v0.20.2',
    leftOut: 'a',
  },
  {
    name: 'a specific file alone, v0.4.0',
    tree: {Dockerfile: '', 'Dockerfile.dockerignore': 'a'},
    release: 'v0.4.0',
    leftOut: '',
  },
  {
    name: 'an empty specific file may or may not win',
    tree: {...both, 'Dockerfile.dockerignore': ''},
    release: 'v0.20.2',
    leftOut: '',
  },
  {
    name: 'a frontend of docker may be of any age',
    tree: {...both, Dockerfile: '# syntax=docker/dockerfile:1\nFROM x'},
    release: 'v0.20.2',
    leftOut: 'b',
  },
  {
    name: 'another frontend may read no ignore file',
    tree: {...both, Dockerfile: '#!/bin/x\n# SYNTAX = example.com/my/frontend\n'},
    release: 'v0.20.2',
    leftOut: '',
  },
  {
    name: 'a frontend named in JSON',
    tree: {...both, Dockerfile: '{"syntax": "example.com/x"}'},
    release: 'v0.20.2',
    leftOut: '',
  },
  {
    name: 'a name that only begins like the one of docker',
    tree: {...both, Dockerfile: '# syntax=docker/dockerfile-evil\n'},
    release: 'v0.20.2',
    leftOut: '',
  },
  {
    name: 'BUILDKIT_SYNTAX',
    tree: both,
    release: 'v0.20.2',
    buildArgs: [{key: 'BUILDKIT_SYNTAX', value: 'example.com/x'}],
    leftOut: '',
  },
  {name: 'an invalid line', tree: {Dockerfile: '', '.dockerignore': 'a\n[b'}, leftOut: ''},
  {name: 'an ignore file of comments', tree: {Dockerfile: '', '.dockerignore': '# a\n'}, leftOut: ''},
];

describe('planContext', () => {
  test.each(cases)('$name', async ({tree, release, buildArgs, leftOut: expected}) => {
    make(tree);
    const resolved = await resolveContext(dir, {name: 'Dockerfile'}, files);
    const plan = planContext(resolved, {
      ...(release !== undefined && {buildkit: version(release)}),
      ...(buildArgs && {buildArgs}),
    });
    expect(leftOut(plan)).toBe(expected);
  });

  test('.dockerignore as a link inside the context counts from v0.5.0 on, and its target is sent', async () => {
    make({Dockerfile: '', 'conf/ignore': '*\n'});
    symlinkSync('conf/ignore', join(dir, '.dockerignore'));
    const resolved = await resolveContext(dir, {name: 'Dockerfile'}, files);
    const plan = planContext(resolved, {buildkit: version('v0.20.2')});
    expect(leftOut(plan)).toBe('abc');
    const conf = plan.filter?.visit(Buffer.from('conf'), true, plan.filter.root);
    expect(conf).toMatchObject({send: true, descend: true});
    expect(plan.filter?.visit(Buffer.from('conf/ignore'), false, conf?.state).send).toBe(true);
    expect(plan.filter?.visit(Buffer.from('conf/other'), false, conf?.state).send).toBe(false);
    expect(leftOut(planContext(resolved, {buildkit: version('v0.4.0')}))).toBe('');
    expect(leftOut(planContext(resolved, {}))).toBe('');
  });

  test.each(['absolute', 'outside', 'dangling'])(
    '.dockerignore as an %s link leaves nothing out',
    async kind => {
      make({'c/Dockerfile': '', 'c/ignore': '*\n', ignore: '*\n'});
      const target = {absolute: join(dir, 'c/ignore'), outside: '../ignore', dangling: 'none'}[
        kind
      ] as string;
      symlinkSync(target, join(dir, 'c/.dockerignore'));
      const resolved = await resolveContext(join(dir, 'c'), {name: 'Dockerfile'}, files);
      expect(planContext(resolved, {buildkit: version('v0.20.2')}).filter).toBeUndefined();
    },
  );

  test('the specific file lies beside the Dockerfile, not in the context', async () => {
    make({'c/x': '', 'c/D.dockerignore': 'a', 'f/D': '', 'f/D.dockerignore': 'b'});
    const resolved = await resolveContext(join(dir, 'c'), {dir: join(dir, 'f'), name: 'D'}, files);
    const plan = planContext(resolved, {buildkit: version('v0.20.2')});
    expect(leftOut(plan)).toBe('b');
    expect(plan).toMatchObject({dockerfileNames: ['D', 'D.dockerignore'], ignoreFiles: ['D.dockerignore']});
  });
});

describe('resolveContext', () => {
  const rejects = (context: string, name: string, error: object) =>
    expect(resolveContext(join(dir, context), {name}, files)).rejects.toMatchObject({
      name: 'UserError',
      ...error,
    });

  test('a context that does not exist, or is a file', async () => {
    make({file: ''});
    await rejects('none', 'Dockerfile', {
      message: `the context ${dir}/none does not exist`,
      input: 'context',
    });
    await rejects('file', 'Dockerfile', {
      message: `the context ${dir}/file is not a directory`,
      input: 'context',
    });
  });

  test('a missing Dockerfile, with what is there instead', async () => {
    make({'Dockerfile.dev': '', 'my.dockerfile': '', 'Dockerfile.dockerignore': '', x: ''});
    await rejects('', 'Dockerfile', {
      message: `there is no Dockerfile ${dir}/Dockerfile. That directory has Dockerfile.dev, my.dockerfile.`,
      input: 'file',
    });
    await rejects('', 'Dokerfile', {
      message: expect.stringContaining(`${dir}/Dokerfile.`) as unknown as string,
    });
  });

  test('a Dockerfile that is a directory', async () => {
    make({'Dockerfile/x': ''});
    await rejects('', 'Dockerfile', {message: `the Dockerfile ${dir}/Dockerfile is not a regular file`});
  });

  test('dockerfile stands in for Dockerfile, as for BuildKit', async () => {
    make({dockerfile: '', 'Dockerfile.dockerignore': ''});
    expect(await resolveContext(dir, {name: 'Dockerfile'}, files)).toMatchObject({
      dockerfileName: 'Dockerfile',
      dockerfileNames: ['dockerfile', 'Dockerfile.dockerignore'],
    });
  });
});
