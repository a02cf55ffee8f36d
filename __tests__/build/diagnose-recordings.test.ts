import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import type {BuildTrace} from '../../src/base/trace.ts';
import {version} from '../../src/base/version.ts';
import {type Diagnosis, diagnose} from '../../src/build/diagnose/diagnose.ts';
import {
  allRecordings,
  type Case,
  expectedFor,
  fixtures,
  packedCases,
  readForm,
  recordedCases,
  releases,
  traceOf,
} from './diagnose-cases.ts';

function answer(one: Case, trace: BuildTrace, release?: string): Diagnosis | undefined {
  return diagnose({
    trace,
    exitCode: 1,
    dockerfileName: one.dockerfileName,
    ...(one.dockerfile === undefined ? {} : {dockerfile: one.dockerfile}),
    ...(release === undefined ? {} : {version: version(release)}),
  });
}

function check(one: Case, found: Diagnosis | undefined): void {
  const {kind, lines, step, worksFrom} = expectedFor(one.scenario, one.release);
  const where = found?.lines && [found.lines.startLine, found.lines.endLine];
  const label = `${one.release}/${one.scenario}`;
  expect([label, found?.kind, where, found?.worksFrom]).toEqual([label, kind, lines, worksFrom]);
  expect(found?.dockerfileLine).toBe(lines?.[0]);
  expect(found?.step === undefined).toBe(step === undefined);
  if (step) expect(found?.step).toMatch(step);
  expect(found?.summary).not.toBe('');
  expect(found?.hint).not.toBe('');
}

describe('copied builds', () => {
  const cases = packedCases();
  test.each(cases.map(one => [one.release, one.scenario, one] as const))('%s %s', (release, _name, one) => {
    check(one, answer(one, traceOf(one), release));
  });

  test.each(cases.map(one => [one.release, one.scenario, one] as const))(
    '%s %s, the release not known',
    (_release, _name, one) => {
      check(one, answer(one, traceOf(one)));
    },
  );
});

const recorded = recordedCases();

describe(`all ${recorded.length} recorded failures`, () => {
  test('the right kind, step and line, from the plain log', () => {
    const cells = new Map<string, string>();
    for (const one of recorded) {
      const found = answer(one, traceOf(one), one.release);
      check(one, found);
      cells.set(`${one.scenario} ${one.release}`, `${found?.kind} ${found?.dockerfileLine ?? '-'}`);
    }
    if (cells.size > 0) console.log(table(cells));
    expect(cells.size).toBe(recorded.length);
  });

  test('the same from rawjson, and without the release', () => {
    for (const one of recorded) {
      check(one, answer(one, traceOf(one)));
      if (one.rawjson) check(one, answer(one, readForm('rawjson', one.rawjson), one.release));
    }
  });
});

/** Release × scenario: the kind, shortened, and the line. */
function table(cells: ReadonlyMap<string, string>): string {
  const columns = releases();
  const rows = [...new Set([...cells.keys()].map(key => key.split(' ')[0] ?? ''))].sort();
  const short = (text: string): string => text.replace('unsupported-feature', 'unsupported');
  const line = (name: string, texts: readonly string[]): string =>
    name.padEnd(25) + texts.map(text => text.padEnd(15)).join('');
  return [
    'release × scenario: kind and Dockerfile line',
    line('', columns),
    ...rows.map(row =>
      line(
        row,
        columns.map(column => short(cells.get(`${row} ${column}`) ?? '')),
      ),
    ),
  ].join('\n');
}

interface Probe {
  readonly name: string;
  readonly dockerfile: string;
  readonly output: string;
  readonly failed: boolean;
}

function probes(text: string): Probe[] {
  return text
    .split(/^===== /m)
    .slice(1)
    .map(part => {
      const [, name = '', dockerfile = '', output = '', exit = '0'] =
        /^(.*)\n----- Dockerfile\n(.*?)(?:----- std\w+\n(.*?))?----- exit (\d+)/s.exec(part) ?? [];
      return {name, dockerfile, output, failed: exit !== '0'};
    });
}

/** Probes that fail for another reason than a feature that is not known. */
const OTHER_REASONS: Readonly<Record<string, string>> = {
  'copy-from-var': 'dockerfile',
  'specific-dockerignore': 'missing-file',
  'var-expand-required': 'dockerfile',
};

function checkProbes(release: string, text: string): number {
  const failed = probes(text).filter(probe => probe.failed);
  for (const {name, dockerfile, output} of failed) {
    const found = diagnose({
      trace: readForm('plain', output),
      exitCode: 1,
      dockerfile,
      version: version(release),
    });
    const old = name === 'var-expand-required' && /unsupported modifier/.test(output);
    const kind = old ? 'unsupported-feature' : (OTHER_REASONS[name] ?? 'unsupported-feature');
    expect([release, name, found?.kind]).toEqual([release, name, kind]);
    expect([release, name, found?.dockerfileLine]).toEqual([release, name, expect.any(Number)]);
    if (kind === 'unsupported-feature' && name !== 'run-device') {
      expect([release, name, found?.worksFrom]).toEqual([
        release,
        name,
        expect.stringMatching(/^v0\.\d+\.0$/),
      ]);
    }
  }
  return failed.length;
}

describe('feature probes', () => {
  test('copied, of v0.9.0', () => {
    expect(checkProbes('v0.9.0', readFileSync(join(fixtures, 'features-v0.9.0.txt'), 'utf8'))).toBe(18);
  });

  test.each(releases().length > 0 ? releases() : ['none'])('recorded, of %s', release => {
    if (release === 'none') return expect(recorded).toEqual([]);
    const text = readFileSync(join(allRecordings, release, 'features/outputs.txt'), 'utf8');
    expect(checkProbes(release, text)).toBeGreaterThan(0);
  });
});
