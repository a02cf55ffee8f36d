import {UserError} from '../base/errors.ts';
import type {BuildTrace} from '../base/trace.ts';
import type {DiagnoseInput} from '../build/diagnose/diagnose.ts';
import {createProgressReader, mergeTrace, type ProgressForm} from '../progress/reader.ts';
import {inertJson} from '../report/json.ts';
import {EXIT, helpText} from './help.ts';
import {type Io, openText, processIo, readText} from './io.ts';
import {explainTrace} from './log-outcome.ts';
import {explanation} from './log-report.ts';
import {parseBuildArgs, parseRelease, readOptions, usageError} from './options.ts';

const USAGE =
  'buildkit-archive explain [--buildkit-version vX] [--dockerfile F] [--build-arg K=V]… [--target STAGE] [--format auto|trace|rawjson|plain] [--exit-code N] [--json] LOG…|-';

const FORMATS = ['auto', 'trace', 'rawjson', 'plain'] as const satisfies readonly ProgressForm[];

const OPTIONS = {
  'buildkit-version': {type: 'string'},
  dockerfile: {type: 'string', short: 'f'},
  'build-arg': {type: 'string', multiple: true},
  target: {type: 'string'},
  format: {type: 'string', default: 'auto'},
  'exit-code': {type: 'string'},
  json: {type: 'boolean', default: false},
  help: {type: 'boolean', short: 'h', default: false},
} as const;

/**
 * `explain`: reads the log of a build, of any release and form, and says what it did and why it failed. Several logs are several forms of one
 * build (a `--trace` file and what buildctl printed; up to v0.4.0 its two streams), the more exact first. Needs memory for the steps, not for
 * the logs.
 * @returns `EXIT.ok` for a build that succeeded, `EXIT.buildFailed` for one that failed, or whose log does not tell how it ended.
 * @throws UserError for bad usage and for what is no log of BuildKit.
 */
export async function explainCommand(
  argv: readonly string[],
  signal: AbortSignal = new AbortController().signal,
  io: Io = processIo(),
): Promise<number> {
  const {values, positionals} = readOptions(
    {args: [...argv], options: OPTIONS, allowPositionals: true},
    USAGE,
  );
  if (values.help) {
    io.print(helpText());
    return EXIT.ok;
  }
  if (positionals.length === 0)
    throw usageError('explain needs a log: a file, or - for standard input', USAGE);
  const stdinUses = [values.dockerfile, ...positionals].filter(name => name === '-').length;
  if (stdinUses > 1) throw usageError('standard input (-) can be read only once', USAGE);
  const format = formatOf(values.format);
  const exitCode = exitCodeOf(values['exit-code']);
  const version =
    values['buildkit-version'] === undefined ? undefined : parseRelease(values['buildkit-version']);
  const dockerfile =
    values.dockerfile === undefined ? undefined : await readText(values.dockerfile, io, signal);
  const trace = await readLogs(positionals, format, io, signal);
  if (trace.steps.length === 0 && trace.error === undefined && exitCode === undefined) {
    throw new UserError(`${positionals.join(', ')}: nothing in it is progress or an error of BuildKit`, {
      stage: 'inputs',
      hint: 'give what buildctl or docker buildx printed with --progress=plain or rawjson, or the file of buildctl --trace; with --exit-code an empty log is taken as well',
    });
  }
  const input: DiagnoseInput = {
    trace,
    buildArgs: parseBuildArgs(values['build-arg'] ?? []),
    ...(exitCode !== undefined && {exitCode}),
    ...(version && {version}),
    ...(values.target !== undefined && {target: values.target}),
    ...(dockerfile !== undefined && {dockerfile, dockerfileName: nameOf(values.dockerfile)}),
  };
  const diagnosis = explainTrace(input);
  io.print(
    values.json ? inertJson({trace, diagnosis: diagnosis ?? null}) : explanation(input, diagnosis, io),
  );
  return diagnosis === undefined ? EXIT.ok : EXIT.buildFailed;
}

/** What the logs say together. */
async function readLogs(
  names: readonly string[],
  form: ProgressForm,
  io: Io,
  signal: AbortSignal,
): Promise<BuildTrace> {
  const traces: BuildTrace[] = [];
  for (const name of names) {
    const reader = createProgressReader({form});
    for await (const chunk of openText(name, io, signal)) reader.write(chunk);
    reader.end();
    traces.push(reader.trace());
  }
  return traces.reduce(mergeTrace);
}

function formatOf(text: string): ProgressForm {
  const format = FORMATS.find(one => one === text);
  if (format) return format;
  throw usageError(`--format: ${JSON.stringify(text)} is not allowed; allowed: ${FORMATS.join(', ')}`, USAGE);
}

function exitCodeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const code = /^\d{1,3}$/.test(text) ? Number(text) : 256;
  if (code <= 255) return code;
  throw usageError(
    `--exit-code: ${JSON.stringify(text)} is not allowed; allowed: buildctl's exit status, 0 to 255`,
    USAGE,
  );
}

function nameOf(path: string | undefined): string {
  return path === undefined || path === '-' ? 'Dockerfile' : (path.split('/').at(-1) ?? path);
}
