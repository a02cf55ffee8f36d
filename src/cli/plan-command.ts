import {readFile} from 'node:fs/promises';
import {resolvePath} from '../base/path.ts';
import {quoteArgv} from '../base/quote.ts';
import {formatVersion} from '../base/version.ts';
import {buildctlCommand} from '../build/guest-build.ts';
import {type Finding, preflight} from '../build/preflight.ts';
import type {Inputs} from '../plan/inputs.ts';
import {makePlan, type Place, type Plan, printablePlan} from '../plan/plan.ts';
import {oneLine, plain} from '../report/inert.ts';
import {inertJson} from '../report/json.ts';
import {type Io, processIo} from './io.ts';
import {parseRelease} from './options.ts';

/** A plan; `archive` says no more than the release when none is named, which is enough to see what would be built how. */
export type PlanWithoutArchive = Omit<Plan, 'archive'> & {
  readonly archive: Partial<Plan['archive']>;
};

/** How a release would be told to build. */
interface Buildctl {
  readonly release: string;
  /** As it runs in the VM; paths are those of the VM. */
  readonly argv: readonly string[];
  /** What the release cannot express and what is left out or read in another way. */
  readonly warnings: readonly string[];
  /** What its built-in frontend cannot do of a local Dockerfile. */
  readonly findings: readonly Finding[];
}

const NEEDS_RELEASE =
  "buildctl's command line differs between releases: name one with --buildkit-version to see it";

/**
 * Like `makePlan`, and without an archive when the inputs name none, or a release that nobody has archived: nothing is going to be booted.
 * @throws UserError
 */
export function planToPrint(inputs: Inputs, place: Place): PlanWithoutArchive {
  if (inputs.archive !== '') return makePlan(inputs, place);
  const {archive, ...rest} = makePlan({...inputs, archive: '.'}, place);
  const {expectedBuildkit, storeDir} = archive;
  try {
    return makePlan(inputs, place);
  } catch {
    return {archive: {...(expectedBuildkit !== undefined && {expectedBuildkit}), storeDir}, ...rest};
  }
}

/**
 * Prints a plan as JSON, with buildctl's exact command line and its warnings where the release is known. Values of secrets are not in it.
 * @param json the document alone; else people get the command line on standard error as well, to read and to copy.
 * @throws UserError when the release cannot honour an input, as the job would before its boot.
 */
export async function printPlan(
  plan: PlanWithoutArchive,
  {json}: {readonly json: boolean},
  io: Pick<Io, 'print' | 'note'> = processIo(),
): Promise<void> {
  const buildctl = await buildctlFor(plan);
  io.print(
    inertJson(
      hidden({
        ...(printablePlan(plan as Plan) as object),
        buildctl: buildctl ?? null,
        ...(buildctl ? {} : {note: NEEDS_RELEASE}),
      }),
    ),
  );
  if (!json) io.note(buildctl ? commandText(buildctl) : `${NEEDS_RELEASE}\n`);
}

async function buildctlFor(plan: PlanWithoutArchive): Promise<Buildctl | undefined> {
  const {expectedBuildkit} = plan.archive;
  if (expectedBuildkit === undefined) return undefined;
  const version = parseRelease(expectedBuildkit);
  const {argv, warnings} = buildctlCommand(plan.build.request, version);
  const {request} = plan.build;
  const text = await dockerfileText(request);
  const buildArgs = Object.fromEntries(request.buildArgs.map(({key, value}) => [key, value]));
  const findings =
    text === undefined
      ? []
      : preflight(text, version, {
          buildArgs,
          dockerfileName: request.dockerfile.name,
          ...(request.overrideCopyImage !== undefined && {overrideCopyImage: request.overrideCopyImage}),
        });
  return {release: formatVersion(version), argv, warnings, findings};
}

/** Undefined for a remote context, and where there is none (yet): a plan asks nothing of the disk. */
async function dockerfileText({context, dockerfile}: Plan['build']['request']): Promise<string | undefined> {
  if (context.kind === 'remote') return undefined;
  const path = resolvePath(dockerfile.dir ?? context.dir, dockerfile.name);
  return readFile(path, 'utf8').catch(() => undefined);
}

function commandText({release, argv, warnings, findings}: Buildctl): string {
  return [
    `On BuildKit ${release}, in the VM:`,
    `  ${plain(quoteArgv(hidden(argv)))}`,
    ...warnings.map(message => `warning: ${oneLine(message)}`),
    ...findings.map(
      ({startLine, severity, message}) => `${severity}: line ${startLine}: ${oneLine(message)}`,
    ),
    '',
  ].join('\n');
}

/** Where a password or token may stand in what is no secret input: a URL's user part, and options of caches. */
const URL_PASSWORD = /(\b[a-z][a-z0-9+.-]*:\/\/[^/\s:@]*):[^/\s@]+@/gi;
const URL_TOKEN = /(\bhttps?:\/\/)[^/\s:@]+@/gi;
const CACHE_SECRET =
  /((?:^|[",])(?:secret_access_key|access_key_id|session_token|token|ghtoken|account_key)=)[^",]*/gi;

/** `value` with credentials in its strings replaced by `***`. */
function hidden<T>(value: T): T {
  if (typeof value === 'string') {
    return value
      .replace(URL_PASSWORD, '$1:***@')
      .replace(URL_TOKEN, '$1***@')
      .replace(CACHE_SECRET, '$1***') as T;
  }
  if (Array.isArray(value)) return value.map(item => hidden(item)) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, hidden(item)])) as T;
}
