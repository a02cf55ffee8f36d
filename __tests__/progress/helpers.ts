import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {type BuildTrace, keptLines, type Step} from '../../src/base/trace.ts';
import type {ProgressLimits} from '../../src/progress/limits.ts';
import {createProgressReader, mergeTrace, type ProgressForm} from '../../src/progress/reader.ts';

/** Copied from the recordings: `<version>/<scenario>/…`. */
export const recordings = join(import.meta.dirname, '../fixtures/recordings');
/** All of them, on a machine that has them. */
export const allRecordings = join(import.meta.dirname, '../../../shared/recordings');

export function recording(path: string): Buffer {
  return readFileSync(join(recordings, path));
}

export function read(
  form: ProgressForm,
  input: Uint8Array | string,
  limits: Partial<ProgressLimits> = {},
): BuildTrace {
  const reader = createProgressReader({form, limits});
  reader.write(input);
  reader.end();
  return reader.trace();
}

/** What the plain log of a scenario says: up to v0.4.0 its progress is on stdout, later all is on stderr. */
export function readPlain(folder: string): BuildTrace {
  const [out, error] = ['stdout.txt', 'stderr.txt'].map(name => readFileSync(join(folder, name)));
  return mergeTrace(read('plain', out ?? ''), read('plain', error ?? ''));
}

/** The scenarios under `root` that have one of these files, as `<version>/<scenario>`. */
export function scenarios(root: string, files: readonly string[]): string[] {
  if (!existsSync(root)) return [];
  const folders = readdirSync(root, {withFileTypes: true}).filter(it => it.isDirectory());
  return folders
    .filter(it => it.name.startsWith('v'))
    .flatMap(({name}) => readdirSync(join(root, name)).map(scenario => `${name}/${scenario}`))
    .filter(scenario => files.some(file => existsSync(join(root, scenario, file))))
    .sort();
}

export function exitStatus(folder: string): number {
  return Number(readFileSync(join(folder, 'exit.txt'), 'utf8'));
}

export function stepNamed(trace: BuildTrace, name: string): Step {
  const step = trace.steps.find(it => it.name.includes(name));
  if (step === undefined) throw new Error(`no step with ${name} among ${trace.steps.map(it => it.name)}`);
  return step;
}

export function logTexts(step: Step): string[] {
  return keptLines(step.logs).map(line => line.text);
}

/** A trace in a few words, for tables of expected values. */
export function outline(trace: BuildTrace): string[] {
  const steps = trace.steps.map(step => {
    const logged = keptLines(step.logs).length;
    const notes = [
      step.exitCode === undefined ? '' : ` exit=${step.exitCode}`,
      logged === 0 ? '' : ` log=${logged}`,
      step.statuses.length === 0 ? '' : ` statuses=${step.statuses.length}`,
    ];
    return `${step.state} ${step.name}${notes.join('')}`;
  });
  const warnings = trace.warnings.map(warning => `warning ${warning.line ?? '-'}: ${warning.message}`);
  const excerpt = trace.excerpt === undefined ? [] : [`excerpt ${trace.excerpt.file}:${trace.excerpt.line}`];
  const error = trace.error === undefined ? [] : [`error ${trace.error}`];
  return [...steps, ...warnings, ...excerpt, ...error];
}
