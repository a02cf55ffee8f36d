import {access} from 'node:fs/promises';
import {compareVersions, formatVersion, parseVersion} from '../base/version.ts';
import {type Finding, preflight, type Severity} from '../build/preflight.ts';
import {oneLine} from '../report/inert.ts';
import {inertJson} from '../report/json.ts';
import {type Paint, painter} from '../report/terminal.ts';
import {truncate} from '../report/text.ts';
import {EXIT, helpText} from './help.ts';
import {type Io, processIo, readText} from './io.ts';
import {parseBuildArgs, parseRelease, readOptions, usageError} from './options.ts';

const USAGE =
  'buildkit-archive check --buildkit-version vX [--dockerfile F|-] [--build-arg K=V]… [--override-copy-image IMAGE] [--json]';

const OPTIONS = {
  'buildkit-version': {type: 'string'},
  dockerfile: {type: 'string', short: 'f', default: 'Dockerfile'},
  'build-arg': {type: 'string', multiple: true},
  'override-copy-image': {type: 'string'},
  json: {type: 'boolean', default: false},
  help: {type: 'boolean', short: 'h', default: false},
} as const;

const MAX_SOURCE_CHARS = 200;

/**
 * `check`: what the built-in frontend of a release cannot do of a Dockerfile, without a boot.
 * @returns `EXIT.buildFailed` when a finding is an error, that is when the build would fail; else `EXIT.ok`.
 * @throws UserError for bad usage and a Dockerfile that cannot be read.
 */
export async function checkCommand(
  argv: readonly string[],
  signal: AbortSignal = new AbortController().signal,
  io: Io = processIo(),
): Promise<number> {
  const {values} = readOptions({args: [...argv], options: OPTIONS}, USAGE);
  if (values.help) {
    io.print(helpText());
    return EXIT.ok;
  }
  const {dockerfile: path} = values;
  if (values['buildkit-version'] === undefined) throw usageError('check needs --buildkit-version', USAGE);
  const version = parseRelease(values['buildkit-version']);
  const buildArgs = parseBuildArgs(values['build-arg'] ?? []);
  const text = await readText(path, io, signal);
  const findings = preflight(text, version, {
    buildArgs,
    hasSpecificDockerignore: path !== '-' && (await exists(`${path}.dockerignore`)),
    dockerfileName: path === '-' ? 'Dockerfile' : (path.split('/').at(-1) ?? path),
    ...(values['override-copy-image'] !== undefined && {overrideCopyImage: values['override-copy-image']}),
  });
  const release = formatVersion(version);
  const worksFrom = firstThatCan(findings);
  io.print(
    values.json
      ? inertJson({release, dockerfile: path, findings, worksFrom: worksFrom ?? null})
      : findingsText({release, path, text, findings, worksFrom}, painter(io.colours)),
  );
  return findings.some(({severity}) => severity === 'error') ? EXIT.buildFailed : EXIT.ok;
}

/** The first release that has none of the errors and warnings; undefined when there are no errors, or one of them has no such release. */
function firstThatCan(findings: readonly Finding[]): string | undefined {
  if (!findings.some(({severity}) => severity === 'error')) return undefined;
  // What is ignored here may be refused by a release between (symbolic modes).
  const faults = findings.filter(({severity}) => severity !== 'info');
  const firsts = faults.flatMap(({first}) => parseVersion(first ?? '') ?? []);
  const newest = firsts.sort(compareVersions).at(-1);
  return newest && firsts.length === faults.length ? formatVersion(newest) : undefined;
}

interface Checked {
  readonly release: string;
  readonly path: string;
  readonly text: string;
  readonly findings: readonly Finding[];
  readonly worksFrom: string | undefined;
}

const COLOURS = {error: 'red', warning: 'yellow', info: 'dim'} as const satisfies Record<Severity, string>;

/** Findings as compilers print them, each with its first source line, and a verdict. */
function findingsText({release, path, text, findings, worksFrom}: Checked, paint: Paint): string {
  const lines = text.split(/\r?\n/);
  const name = path === '-' ? 'Dockerfile' : oneLine(path);
  const blocks = findings.map(({startLine, severity, message}) => {
    const source = truncate(oneLine(lines[startLine - 1] ?? ''), MAX_SOURCE_CHARS);
    const head = `${name}:${startLine}: ${paint(COLOURS[severity], `${severity}:`)} ${oneLine(message)}\n`;
    return source === '' ? head : `${head}${paint('dim', `${String(startLine).padStart(5)} │ ${source}`)}\n`;
  });
  const errors = findings.filter(({severity}) => severity === 'error').length;
  const from = worksFrom === undefined ? '' : `; all of it works from ${worksFrom} on`;
  const verdict =
    errors === 0
      ? `${paint('green', '✓')} nothing in ${name} is known to be beyond BuildKit ${release}`
      : `${paint('red', '✗')} BuildKit ${release} cannot build ${name} as it is${from}`;
  return `${blocks.join('')}${verdict}\n`;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
