import {readFileSync} from 'node:fs';
import {expect, test} from '@jest/globals';
import {parse} from 'yaml';
import {INPUT_NAMES, INPUTS} from '../../src/plan/inputs.ts';

const action = parse(readFileSync('action.yml', 'utf8'));

test('action.yml offers exactly the inputs that are parsed, with the same defaults', () => {
  const offered = Object.fromEntries(
    Object.entries(action.inputs as Record<string, {default?: string}>).map(([name, input]) => [
      name,
      input.default ?? '',
    ]),
  );
  expect(offered).toEqual(Object.fromEntries(INPUT_NAMES.map(name => [name, INPUTS[name].default])));
});

test('it runs on node24, and post always runs', () => {
  expect(action.runs).toEqual({
    using: 'node24',
    main: 'dist/main.cjs',
    post: 'dist/post.cjs',
    'post-if': 'always()',
  });
});

test('every input and output says what it is', () => {
  for (const part of [...Object.values(action.inputs), ...Object.values(action.outputs)] as {
    description?: string;
  }[]) {
    expect(part.description).toMatch(/\w{3}/);
  }
});
