import {nearest} from '../../base/nearest.ts';
import type {FeatureUse} from '../dockerfile/features.ts';
import {copyArguments} from '../dockerfile/stages.ts';
import type {LineRange} from '../dockerfile/types.ts';
import type {Facts, Rule, Verdict} from './facts.ts';

/** Many context files make a search for the nearest name slow; more are not looked at. */
const COMPARED_FILES = 5000;

/** `network.host is not allowed`: RUN --network=host and --security=insecure need an entitlement. */
export const entitlement: Rule = ({errors, uses}) => {
  const name = /(network\.host|security\.insecure)\S* is not allowed/.exec(errors)?.[1];
  if (name === undefined) return undefined;
  const token = name === 'network.host' ? /^--network=host/i : /^--security=insecure/i;
  return {
    kind: 'dockerfile',
    summary: `The build asks for the entitlement ${name}, which it was not given`,
    hint: `Allow it: "allow: ${name}" (buildkitd must permit it, too), or take the flag out of the Dockerfile.`,
    ...linesOf(uses.find(use => token.test(use.token))),
  };
};

function linesOf(use: FeatureUse | undefined): {lines?: LineRange} {
  return use ? {lines: {startLine: use.startLine, endLine: use.endLine}} : {};
}

export const missingTarget: Rule = ({errors, dockerfile}) => {
  const target = /target stage "?([^"]+?)"? could not be found/.exec(errors)?.[1];
  if (target === undefined) return undefined;
  const names = dockerfile?.stages.flatMap(({name}) => name ?? []) ?? [];
  const near = nearest(target, names);
  const known = names.length > 0 ? `Its stages: ${names.join(', ')}.` : 'It has no named stage.';
  return {
    kind: 'dockerfile',
    summary: `The Dockerfile has no stage named "${target}"`,
    hint:
      near === undefined ? (dockerfile ? known : 'Check the target.') : `Did you mean "${near}"? ${known}`,
  };
};

export const lintViolation: Rule = ({errors, trace}) => {
  const rules = /lint violation found for rules: (.+)/.exec(errors)?.[1];
  if (rules === undefined) return undefined;
  const lines = trace.warnings.flatMap(({line}) => line ?? []);
  const first = lines.length > 0 ? Math.min(...lines) : undefined;
  return {
    kind: 'dockerfile',
    summary: `Lint: ${rules}`,
    hint: 'Mend the lines that the warnings name, or take "error=true" out of the "# check=" line.',
    ...(first === undefined ? {} : {lines: {startLine: first, endLine: first}}),
  };
};

export const checksumMismatch: Rule = ({errors}) => {
  const [, found, wanted] = /digest mismatch (sha\d+:\w+): (sha\d+:\w+)/.exec(errors) ?? [];
  if (found === undefined) return undefined;
  return {
    kind: 'dockerfile',
    summary: 'ADD --checksum does not fit the file that was fetched',
    hint: `The file has ${found}, the Dockerfile wants ${wanted}: the file has changed, or the checksum is wrong.`,
  };
};

const FILE_FAULTS = new RegExp(
  [
    'parse error (?:on )?line',
    'the Dockerfile cannot be empty',
    'file with no instructions',
    'no build stage in current context',
    'unknown instruction',
    'failed to parse stage name',
    'base name .* should not be blank',
    'failed to process ',
    'circular dependency detected',
    'unterminated heredoc',
    'variable expansion is not supported',
    "doesn't support variable expansion",
    'unexpected key ',
    'unsupported mount type',
    'invalid (?:chmod|chown|checksum|reference format|escape token)',
    "source can't be (?:a URL|a git ref)",
    'parser directive can be used',
    'invalid from flag value',
  ].join('|'),
  'i',
);

export const dockerfileFault: Rule = ({errors, trace, dockerfile}) => {
  if (!FILE_FAULTS.test(errors)) return undefined;
  const message = (trace.error ?? errors).replace(/^dockerfile parse error (?:on )?line \d+: /i, '').trim();
  const meant = /\(did you mean (\S+?)\?\)/.exec(message)?.[1];
  const flag = /unknown flag: (?:--)?([\w-]+)/i.exec(message)?.[1];
  const empty = /cannot be empty|no instructions/.test(message);
  const unknown = /unknown instruction: (\S+)/i.exec(message)?.[1];
  const near = meant ?? (unknown === undefined ? undefined : nearest(unknown, INSTRUCTIONS));
  const hints = [
    empty && 'Write at least one FROM line, or name another file.',
    near !== undefined && `Did you mean ${near.toUpperCase()}?`,
    flag !== undefined && `No release's frontend knows --${flag} here; check its spelling.`,
    dockerfile?.problems[0] && `Line ${dockerfile.problems[0].startLine}: ${dockerfile.problems[0].message}.`,
  ];
  return {
    kind: 'dockerfile',
    summary: `The Dockerfile cannot be built: ${message}`,
    hint: hints.find(text => typeof text === 'string') ?? 'Mend the line.',
  };
};

const INSTRUCTIONS = (
  'ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER ' +
  'VOLUME WORKDIR'
).split(' ');

export const missingDockerfile: Rule = ({errors, contextFiles}) => {
  const path = /failed to read dockerfile: open (\S+): no such file/.exec(errors)?.[1];
  if (path === undefined) return undefined;
  const name = path.replace(/^\/tmp\/buildkit-mount\d+\//, '');
  return {
    kind: 'missing-file',
    summary: `There is no Dockerfile named ${name}`,
    hint: `${suggestion(name, contextFiles)}Check the input that names the Dockerfile, and that it is in the repository.`,
  };
};

/** A COPY or ADD source that is not in the context or the other stage; v0.3 and v0.4 do not say which. */
export const missingFile: Rule = facts => {
  const missing = missingPath(facts);
  if (missing === undefined) return undefined;
  const path = missing === '' ? onlySource(facts) : missing;
  const where = sourceOf(facts);
  const shown = path === undefined ? 'A source of the step' : `"${path}"`;
  return {
    kind: 'missing-file',
    summary: `${shown} is not in ${where ?? 'the build context'}`,
    hint:
      where === undefined
        ? contextHint(path, facts)
        : `Check that ${where} makes the file, and its path there.`,
  };
};

function missingPath({errors, log, step}: Facts): string | undefined {
  const named = /(?:^|: )"([^"]+)"(?: not found)?: not found/m.exec(errors)?.[1];
  if (named !== undefined && !/secret|SSH/.test(errors)) return named;
  if (/^ ?not found: not found$/m.test(errors)) return '';
  if (!/(?:^|\] )(?:ONBUILD )?(?:LINK )?(?:COPY|ADD) /.test(step?.name ?? '')) return undefined;
  // v0.3 and v0.4 copy with a program in a container: its words are in the log.
  const text = `${errors}\n${log}`;
  if (/no source files were specified/.test(text)) return '';
  return /(?:lstat|stat|failed to walk|open) (?:\/tmp\/buildkit-mount\d+|\/src-\d+)?(\S*): no such file or directory/.exec(
    text,
  )?.[1];
}

function onlySource({located}: Facts): string | undefined {
  const sources = located?.instruction ? copyArguments(located.instruction).sources : [];
  return sources.length === 1 ? sources[0] : undefined;
}

/** `stage "build"` or `image nginx` when the files come from elsewhere than the context. */
function sourceOf({located, dockerfile}: Facts): string | undefined {
  const own = located?.instruction?.trigger ?? located?.instruction;
  const from = own?.flags.find(({name}) => name === 'from')?.value;
  if (from === undefined) return undefined;
  const isStage = dockerfile?.stages.some(
    ({name, index}) => name === from.toLowerCase() || String(index) === from,
  );
  return isStage ? `stage "${from}"` : `image ${from}`;
}

function contextHint(path: string | undefined, {contextFiles, dockerfileName}: Facts): string {
  const own = `${dockerfileName}.dockerignore`;
  const ignore = contextFiles.includes(own) ? own : '.dockerignore';
  const plain = path?.replace(/^\.?\/+/, '');
  if (plain !== undefined && contextFiles.some(file => file === plain || file.startsWith(`${plain}/`))) {
    return `The file lies in the context folder: a pattern of ${ignore} leaves it out.`;
  }
  const near = plain === undefined ? '' : suggestion(plain, contextFiles);
  return `${near}Paths are relative to the context; check the spelling, that the file is committed, and ${ignore}.`;
}

function suggestion(name: string, files: readonly string[]): string {
  const near = nearest(name, files.slice(0, COMPARED_FILES));
  return near === undefined ? '' : `Did you mean "${near}"? `;
}

/** What the client was to hand in and did not: secrets, SSH keys, the context folder. */
export const missingInput: Rule = facts => {
  const {errors, uses} = facts;
  const secret = /secret (\S+?): not found/.exec(errors)?.[1];
  if (secret !== undefined) {
    return missing(`The build was given no secret "${secret}"`, `Hand it in: "secrets: ${secret}=…".`);
  }
  if (/no SSH key "[^"]*" forwarded|SSH.*not forwarded/i.test(errors)) {
    const lines = linesOf(uses.find(({feature}) => feature === 'run-mount-ssh'));
    return {
      ...missing(
        'The step wants an SSH key, and none was forwarded',
        'Forward one, or take --mount=type=ssh out.',
      ),
      ...lines,
    };
  }
  if (/invalid empty ssh agent socket/.test(errors)) {
    const summary = 'SSH forwarding was asked for, and there is no SSH agent';
    return {kind: 'infra', summary, hint: 'Start an agent and set SSH_AUTH_SOCK, or do not ask for it.'};
  }
  const folder = /could not find (\S+): stat|invalid local: resolve : lstat (\S+?): no such file/.exec(
    errors,
  );
  const name = folder?.[1] ?? folder?.[2];
  return name === undefined
    ? undefined
    : missing(`The context folder "${name}" does not exist`, 'Check the input "context".');
};

function missing(summary: string, hint: string): Verdict {
  return {kind: 'missing-file', summary, hint};
}
