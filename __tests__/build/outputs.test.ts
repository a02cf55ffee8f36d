import {existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {CanceledError} from '../../src/base/errors.ts';
import type {OutputSpec, OutputType} from '../../src/base/request.ts';
import {isDirectoryOutput, planOutputs, receiveOutput} from '../../src/build/outputs.ts';
import {localFiles} from '../../src/host/files.ts';
import {resultStore} from '../../src/host/tar-receive.ts';
import {localLinks} from '../../src/host/tree.ts';
import {localSession} from './context-session.ts';

const files = {...localFiles, ...localLinks};
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'outputs-test-'));
});
afterEach(() => rmSync(dir, {recursive: true, force: true}));

function spec(type: OutputType, dest?: string, attrs: Readonly<Record<string, string>> = {}): OutputSpec {
  const list = Object.entries(attrs).map(([key, value]) => ({key, value}));
  return {type, attrs: list, ...(dest !== undefined && {dest})};
}

test.each([
  [spec('local', 'o'), true],
  [spec('tar', 'o'), false],
  [spec('tar', 'o', {tar: 'false'}), false],
  [spec('oci', 'o'), false],
  [spec('oci', 'o', {tar: 'true'}), false],
  [spec('oci', 'o', {tar: 'false'}), true],
  [spec('docker', 'o', {tar: '0'}), true],
])('isDirectoryOutput(%j) is %s', (output, expected) => {
  expect(isDirectoryOutput(output)).toBe(expected);
});

describe('planOutputs', () => {
  test('makes paths absolute, also outside the workspace, and leaves out images', async () => {
    const outside = join(dir, '../elsewhere.tar');
    const specs = [spec('local', 'a/b'), spec('image'), spec('tar', outside), spec('oci', './x.tar')];
    const targets = await planOutputs(specs, dir, files);
    expect(targets.map(({dest, kind}) => [dest, kind])).toEqual([
      [join(dir, 'a/b'), 'directory'],
      [join(dir, '../elsewhere.tar'), 'file'],
      [join(dir, 'x.tar'), 'file'],
    ]);
    expect(existsSync(join(dir, 'a'))).toBe(false);
  });

  const refused: [name: string, specs: OutputSpec[], message: RegExp][] = [
    ['a file where a directory is', [spec('oci', 'd')], /dest=d is a directory, and type=oci makes a file/],
    ['a file that ends in /', [spec('tar', 'new/')], /dest=new\/ is a directory/],
    [
      'a directory where a file is',
      [spec('local', 'f')],
      /dest=f is a file, and type=local makes a directory/,
    ],
    ['a file on the way', [spec('local', 'f/x')], /f is not a directory/],
    ['a file far up on the way', [spec('tar', 'f/x/y/z.tar')], /f is not a directory/],
    ['two files in one place', [spec('tar', 'x'), spec('oci', './x')], /two outputs go to \.\/x/],
    ['a file and a directory in one place', [spec('local', 'x'), spec('oci', 'x')], /two outputs go to x/],
  ];
  test.each(refused)('%s', async (_name, specs, message) => {
    mkdirSync(join(dir, 'd'));
    writeFileSync(join(dir, 'f'), '');
    await expect(planOutputs(specs, dir, files)).rejects.toMatchObject({
      name: 'UserError',
      input: 'outputs',
      message: expect.stringMatching(message) as unknown as string,
    });
  });

  test('a place that is not writable', async () => {
    const readOnly = {...files, isWritable: async (path: string) => path !== dir};
    await expect(planOutputs([spec('local', 'a/b')], dir, readOnly)).rejects.toThrow(
      `${dir} is not writable`,
    );
  });

  test('two local results may share a directory', async () => {
    expect(await planOutputs([spec('local', 'x'), spec('local', 'x')], dir, files)).toHaveLength(2);
  });
});

describe('receiveOutput', () => {
  const receive = async (output: OutputSpec, guestPath: string, signal?: AbortSignal) => {
    const [target] = await planOutputs([output], dir, files);
    if (!target) throw new Error('no target');
    return receiveOutput(localSession(), resultStore(), target, guestPath, signal ? {signal} : {});
  };

  test('a directory', async () => {
    mkdirSync(join(dir, 'guest/d'), {recursive: true});
    writeFileSync(join(dir, 'guest/d/f\n'), 'x');
    const report = await receive(spec('local', 'out/deep'), join(dir, 'guest'));
    expect(readFileSync(join(dir, 'out/deep/d/f\n'), 'utf8')).toBe('x');
    expect(report).toMatchObject({files: 1, warnings: []});
  });

  test('a file', async () => {
    writeFileSync(join(dir, '-image'), Buffer.alloc(1_000_000, 'i'));
    expect(await receive(spec('oci', 'out/image.tar'), join(dir, '-image'))).toMatchObject({
      bytes: 1_000_000,
    });
    expect(readFileSync(join(dir, 'out/image.tar'), 'utf8')).toBe('i'.repeat(1_000_000));
  });

  test.each([spec('local', 'out'), spec('tar', 'out')])('what is not there: %j', async output => {
    await expect(receive(output, join(dir, 'none'))).rejects.toThrow(
      /could not be read in the VM: .*No such file/,
    );
    expect(existsSync(join(dir, 'out/none'))).toBe(false);
  });

  test('canceled', async () => {
    await expect(receive(spec('tar', 'out'), '/dev/zero', AbortSignal.timeout(100))).rejects.toBeInstanceOf(
      CanceledError,
    );
    expect(existsSync(join(dir, 'out'))).toBe(false);
  });
});
