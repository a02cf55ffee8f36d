import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';
import {Ajv2020} from 'ajv/dist/2020.js';
import type {JobResult} from '../../src/base/result.ts';
import {createProgressReader} from '../../src/progress/reader.ts';
import {annotations} from '../../src/report/annotations.ts';
import {inert} from '../../src/report/inert.ts';
import {stepOutputs} from '../../src/report/outputs.ts';
import {printResult} from '../../src/report/result.ts';
import {summary} from '../../src/report/summary.ts';
import {timelineSvg} from '../../src/report/svg.ts';
import {terminalReport} from '../../src/report/terminal.ts';
import {utf8Bytes} from '../../src/report/text.ts';
import {PlayedRunner} from './runner-parser.ts';
import {BUILT} from './samples.ts';

/** Recordings of real releases; a clone of this repository alone does not have them. */
const FOLDER = '../shared/recordings';
const files = existsSync(FOLDER)
  ? readdirSync(FOLDER, {recursive: true, encoding: 'utf8'})
      .filter(path => /^v[^/]+\/[^/]+\/(?:stderr\.txt|stdout\.txt|rawjson\.txt|trace\.json)$/.test(path))
      .map(path => `${FOLDER}/${path}`)
      .sort()
  : [];
const validate = new Ajv2020({strict: true}).compile(
  JSON.parse(readFileSync(new URL('../../schema/job-result.schema.json', import.meta.url), 'utf8')),
);

function resultOf(file: string): JobResult {
  const reader = createProgressReader({form: 'auto'});
  reader.write(readFileSync(file));
  reader.end();
  const trace = reader.trace();
  const message = trace.error ?? 'unknown';
  const failed = trace.error !== undefined || trace.steps.some(step => step.state === 'failed');
  const outcome = failed
    ? ({kind: 'build-failed', failureKind: 'run-failed', message} as const)
    : ({kind: 'built'} as const);
  return {...BUILT, outcome, trace};
}

function commandsIn(text: string): readonly unknown[] {
  const runner = new PlayedRunner('icu');
  runner.write(text);
  runner.end();
  return runner.commands;
}

describe(`over ${files.length} recorded logs`, () => {
  test('every report of each is bounded, valid and inert', () => {
    for (const file of files) {
      const result = resultOf(file);
      const printed = JSON.parse(printResult(result)) as unknown;
      expect({file, errors: validate(printed) ? [] : validate.errors}).toEqual({file, errors: []});
      expect(utf8Bytes(summary(result))).toBeLessThanOrEqual(512 * 1024);
      expect(annotations(result).length).toBeLessThanOrEqual(11);
      expect(() => JSON.parse(stepOutputs(result, '').steps)).not.toThrow();
      expect(timelineSvg(result.trace, file) ?? '').not.toMatch(/NaN|Infinity/);
      expect(commandsIn(terminalReport(result))).toEqual([]);
    }
  });

  test('every log, printed live, is inert and keeps its words', () => {
    for (const file of files) {
      const text = readFileSync(file, 'utf8');
      const safe = inert(text);
      expect(commandsIn(safe)).toEqual([]);
      expect(safe.split('\n').length).toBeGreaterThanOrEqual(text.split('\n').length);
    }
  });
});
