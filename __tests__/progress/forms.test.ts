import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import {comparable, readPair} from './forms.ts';
import {allRecordings, exitStatus, read, readPlain, recording, recordings, scenarios} from './helpers.ts';

const forms = ['trace.json', 'rawjson.txt'];
const copied = scenarios(recordings, forms);
const all = scenarios(allRecordings, forms);

describe('every form of a build gives the same steps, states and errors', () => {
  test.each(copied)('%s', path => {
    const pair = readPair(recordings, path);
    if (pair === undefined) throw new Error('one form only');
    expect(pair.plain.steps.length).toBeGreaterThan(0);
    const {exact, plain} = comparable(pair);
    expect(plain).toEqual(exact);
  });

  test('the copied recordings are of all dialects', () => {
    const versions = new Set(copied.map(path => path.split('/')[0]));
    expect([...versions].sort()).toEqual([
      'v0.10.0',
      'v0.11.0',
      'v0.12.4',
      'v0.13.0',
      'v0.14.0',
      'v0.20.2',
      'v0.3.0',
      'v0.31.0',
      'v0.32.2',
      'v0.5.0',
      'v0.7.0',
      'v0.8.3',
      'v0.9.0',
    ]);
  });

  test(`and so in the whole folder of recordings, where there is one (${all.length} read)`, () => {
    for (const path of all) {
      const pair = readPair(allRecordings, path);
      if (pair === undefined) throw new Error(`${path} has one form only`);
      const {exact, plain} = comparable(pair);
      expect({path, ...(plain as object)}).toEqual({path, ...(exact as object)});
    }
  });
});

describe('seconds of the same run', () => {
  const traced = copied.filter(path => path.includes('/trace-'));
  test.each(traced)('%s', path => {
    const pair = readPair(recordings, path);
    const sums = new Map(pair?.exact.steps.map(step => [step.name, step.seconds ?? 0]));
    let compared = 0;
    for (const step of pair?.plain.steps ?? []) {
      const sum = sums.get(step.name);
      // ERROR and CACHED have no seconds; headers that are cut name nothing.
      if (step.seconds === undefined || sum === undefined) continue;
      compared += 1;
      // Printed with one decimal.
      expect(Math.abs(step.seconds - sum)).toBeLessThanOrEqual(0.0501);
    }
    expect(compared).toBeGreaterThan(1);
  });
});

describe('an error is there when the build failed, and then only', () => {
  const single = scenarios(recordings, ['stderr.txt']);
  const every = scenarios(allRecordings, ['stderr.txt']);

  test.each(single)('%s', path => {
    const folder = join(recordings, path);
    expect(readPlain(folder).error !== undefined).toBe(exitStatus(folder) !== 0);
  });

  test(`and so in the whole folder of recordings, where there is one (${every.length} read)`, () => {
    const wrong = every.filter(path => {
      const folder = join(allRecordings, path);
      return (readPlain(folder).error !== undefined) !== (exitStatus(folder) !== 0);
    });
    expect(wrong).toEqual([]);
  });

  test('steps go on running only where the daemon was killed', () => {
    const running = single.filter(path =>
      readPlain(join(recordings, path)).steps.some(step => step.state === 'running'),
    );
    expect(running.map(path => path.split('/')[1])).toEqual(running.map(() => 'daemon-killed'));
    expect(running.length).toBeGreaterThan(3);
  });
});

describe('the form is found out', () => {
  const cases = [
    ...copied.map(
      path => [path, path.includes('/trace-') ? 'trace.json' : 'rawjson.txt', 'rawjson'] as const,
    ),
    ...copied.map(path => [path, /^v0\.[34]\./.test(path) ? 'stdout.txt' : 'stderr.txt', 'plain'] as const),
  ];
  test.each(cases)('%s/%s', (path, file, form) => {
    const bytes = recording(`${path}/${file}`);
    expect(read('auto', bytes)).toEqual(read(form, bytes));
    const stamped = bytes.toString().replace(/(?<=^|\n)/g, '2024-01-01T00:00:00.1234567Z ');
    const noise = '\uFEFF2024-01-01T00:00:00.0000000Z ##[group]Run it\n2024-01-01T00:00:00.0000000Z {\n';
    expect(read('auto', noise + stamped)).toEqual(read(form, bytes));
  });
});
