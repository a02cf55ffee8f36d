import {describe, expect, test} from '@jest/globals';
import {UserError} from '../../src/base/errors.ts';
import {readArgs} from '../../src/cli/args.ts';
import {helpText} from '../../src/cli/help.ts';
import {INPUT_NAMES} from '../../src/plan/inputs.ts';

describe('readArgs', () => {
  test.each<[string[], Record<string, string>]>([
    [['--archive', 'a', '--target=b'], {archive: 'a', target: 'b'}],
    [['--no-cache', '--pull=false'], {'no-cache': 'true', pull: 'false'}],
    [['--build-arg', 'A=1', '--build-args', 'B=2', '--build-arg=C=3'], {'build-args': 'B=2\nA=1\nC=3'}],
    [['-t', 'x:1', '-f', 'D', '-o', 'out'], {tags: 'x:1', file: 'D', outputs: 'out'}],
  ])('%j', (argv, inputs) => expect(readArgs(argv).inputs).toEqual(inputs));

  test('own flags, options, and what is left', () => {
    const args = readArgs(['--json', '--result', 'r', 'ctx'], {
      json: 'boolean',
      result: 'string',
      plan: 'boolean',
    });
    expect([...args.flags]).toEqual(['json']);
    expect(args.options).toEqual({result: 'r'});
    expect(args.positionals).toEqual(['ctx']);
  });

  test.each([[['--nope']], [['--target']], [['--target', 'a', '--target', 'b']]])('%j is an error', argv => {
    expect(() => readArgs(argv)).toThrow(UserError);
  });
});

test('the help names every input', () => {
  for (const name of INPUT_NAMES) expect(helpText()).toContain(`--${name}`);
});
