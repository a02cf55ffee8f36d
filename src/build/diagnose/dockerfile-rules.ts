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
  if (/not allowed by build daemon configuration/.test(errors)) {
    return {
      kind: 'infra',
      summary: `buildkitd does not permit the entitlement ${name}`,
      hint: `Start it with --allow-insecure-entitlement ${name}, or set "insecure-entitlements" in buildkitd.toml.`,
    };
  }
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

export const missingDockerfile: Rule = ({errors, contextFiles}) => {
  const folder = /failed to read dockerfile: read (\S+): is a directory/.exec(errors)?.[1];
  if (folder !== undefined) {
    return missing(
      `${withoutMount(folder)} is a folder, not a Dockerfile`,
      'Check the input that names the Dockerfile.',
    );
  }
  const path = /failed to read dockerfile: open (\S+): no such file/.exec(errors)?.[1];
  if (path === undefined) return undefined;
  const name = withoutMount(path);
  return {
    kind: 'missing-file',
    summary: `There is no Dockerfile named ${name}`,
    hint: `${suggestion(name, contextFiles)}Check the input that names the Dockerfile, and that it is in the repository.`,
  };
};

function withoutMount(path: string): string {
  return path.replace(/^\/tmp\/buildkit-mount\d+\//, '');
}

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
  if (named !== undefined) return named;
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

function contextHint(path: string | undefined, {contextFiles, dockerfileName, located}: Facts): string {
  const own = `${dockerfileName}.dockerignore`;
  const ignore = contextFiles.includes(own) ? own : '.dockerignore';
  const plain = path?.replace(/^\.?\/+/, '');
  if (plain !== undefined && contextFiles.some(file => file === plain || file.startsWith(`${plain}/`))) {
    return `The file lies in the context folder: a pattern of ${ignore} leaves it out.`;
  }
  const near = plain === undefined ? '' : suggestion(plain, contextFiles);
  if (
    located?.instruction &&
    copyArguments(located.instruction).sources.some(source => /^(?:\.\/)*\.\.\//.test(source))
  ) {
    return `${near}A path with ".." does not lead out of the context folder: choose a higher folder as context.`;
  }
  return `${near}Paths are relative to the context; check the spelling, that the file is committed, and ${ignore}.`;
}

function suggestion(name: string, files: readonly string[]): string {
  const near = nearest(name, files.slice(0, COMPARED_FILES));
  return near === undefined ? '' : `Did you mean "${near}"? `;
}

/** `secret id: not found`; up to v0.8.3 `secret id not found: not found`. */
const SECRET_MISSING = /(?:^|: )secret (\S+?)(?: not found)?: not found/m;

/** What the client was to hand in and did not: secrets, SSH keys, the context folder. */
export const missingInput: Rule = facts => {
  const {errors, uses} = facts;
  const secret = SECRET_MISSING.exec(errors)?.[1];
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
