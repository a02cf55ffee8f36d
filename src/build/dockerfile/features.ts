import {csvFields} from './flags.ts';
import {copyArguments, sourcesOf} from './stages.ts';
import type {Dockerfile, Instruction, LineRange} from './types.ts';
import {variableReferences} from './variables.ts';

/** One place where a Dockerfile uses a feature of the version table. */
export interface FeatureUse extends LineRange {
  /** Id in `DOCKERFILE_FEATURES` or `LABS_ONLY_FEATURES`. */
  readonly feature: string;
  /** The instruction's keyword, `#` for a directive. */
  readonly instruction: string;
  /** What in the line uses it: `--link`, `<<EOF`, `${x#y}`. */
  readonly token: string;
  /** Behind an `ONBUILD` that nothing in this file triggers: it is not carried out by this build. */
  readonly deferred?: boolean;
}

interface Place {
  readonly instruction: Instruction;
  /** True for what stands behind `ONBUILD`. */
  readonly onbuild: boolean;
  readonly dockerfile: Dockerfile;
  /** True before the first `FROM`. */
  readonly global: boolean;
}

/** Gives the token that uses the feature, or undefined. */
type Detector = (place: Place) => string | undefined;

const PLATFORM_ARGS = /^(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT)$/;
/** `gitutil.ParseGitRef` of BuildKit: schemes of Git, scp-like addresses, and HTTP(S) paths that end in `.git`. */
const GIT_URL = /^(?:(?:git|ssh):\/\/|git@[^/]+:|https?:\/\/[^?#]+\.git(?:$|#|\?))/;

/** Instructions whose arguments BuildKit itself expands (the shell does it for RUN, CMD, ENTRYPOINT). */
const EXPANDED: ReadonlySet<string> = new Set(
  'ADD ARG COPY ENV EXPOSE FROM LABEL STOPSIGNAL USER VOLUME WORKDIR'.split(' '),
);

function flag(keywords: string, name: string, value: RegExp = /(?:)/): Detector {
  const wanted = keywords.split(' ');
  return ({instruction}) => {
    if (!wanted.includes(instruction.keyword)) return undefined;
    const found = instruction.flags.find(one => one.name === name && value.test(one.value ?? ''));
    return found && `--${name}${found.value === undefined ? '' : `=${found.value}`}`;
  };
}

function mount(type: string, key?: string): Detector {
  return ({instruction}) => {
    if (instruction.keyword !== 'RUN') return undefined;
    const found = instruction.flags.find(one => {
      if (one.name !== 'mount') return false;
      const fields = csvFields(one.value ?? '');
      const own = fields.findLast(field => field.key === 'type')?.value?.toLowerCase() ?? 'bind';
      return own === type && (key === undefined || fields.some(field => field.key === key));
    });
    return found && `--mount=${found.value ?? ''}`;
  };
}

function variable(modifier: RegExp): Detector {
  return ({instruction, dockerfile}) => {
    if (!EXPANDED.has(instruction.keyword)) return undefined;
    const text = `${instruction.flags.map(one => one.value ?? '').join(' ')} ${instruction.args}`;
    const found = variableReferences(text, dockerfile.escape).find(one => modifier.test(one.modifier));
    return found && text.slice(found.start, found.end);
  };
}

function heredoc(keywords: string): Detector {
  const wanted = keywords.split(' ');
  return ({instruction}) => {
    const first = instruction.heredocs[0];
    return first && wanted.includes(instruction.keyword)
      ? `<<${first.chomp ? '-' : ''}${first.name}`
      : undefined;
  };
}

function copyFromImage({instruction, dockerfile}: Place): string | undefined {
  if (instruction.keyword !== 'COPY') return undefined;
  const names = dockerfile.stages.map(stage => stage.name);
  const source = sourcesOf(instruction).find(
    from => !/^\d+$/.test(from) && !names.includes(from.toLowerCase()),
  );
  return source === undefined ? undefined : `--from=${source}`;
}

function argNames({instruction}: Place): string[] {
  if (instruction.keyword !== 'ARG') return [];
  return (instruction.args.match(/(?:"[^"]*"|'[^']*'|\S)+/g) ?? []).map(word => word.split('=')[0] ?? '');
}

/** One detector for each feature of the version table; a test holds the two together. */
export const DETECTORS: Readonly<Record<string, Detector>> = {
  'from-platform': flag('FROM', 'platform'),
  'arg-global': place => (place.global && argNames(place).length > 0 ? 'ARG' : undefined),
  'arg-platform': place => argNames(place).find(name => PLATFORM_ARGS.test(name)),
  'arg-multi': place => (argNames(place).length > 1 ? argNames(place).join(' ') : undefined),
  'copy-chown': flag('COPY ADD', 'chown'),
  'copy-from-image': copyFromImage,
  onbuild: ({onbuild}) => (onbuild ? 'ONBUILD' : undefined),
  'escape-directive': () => undefined,
  'check-directive': () => undefined,
  'specific-dockerignore': () => undefined,
  'var-expand-default': variable(/^:[-+]$/),
  'var-expand-no-colon': variable(/^[-+?]$/),
  'var-expand-required': variable(/^:?\?$/),
  'var-expand-pattern': variable(/^(?:##?|%%?|\/\/?)$/),
  'copy-offline': ({instruction: {keyword}}) => (/^(?:COPY|ADD)$/.test(keyword) ? keyword : undefined),
  'run-mount-bind': mount('bind'),
  'run-mount-cache': mount('cache'),
  'run-mount-tmpfs': mount('tmpfs'),
  'run-mount-tmpfs-size': mount('tmpfs', 'size'),
  'run-mount-secret': mount('secret'),
  'run-mount-secret-env': mount('secret', 'env'),
  'run-mount-ssh': mount('ssh'),
  'copy-chmod': flag('COPY', 'chmod'),
  'add-chmod': flag('ADD', 'chmod'),
  'copy-chmod-symbolic': flag('COPY ADD', 'chmod', /^[ugoa]*[-+=]/),
  'run-network-none': flag('RUN', 'network', /^none$/i),
  'run-network-default': flag('RUN', 'network', /^default$/i),
  'run-network-host': flag('RUN', 'network', /^host$/i),
  'run-heredoc': heredoc('RUN'),
  'copy-heredoc': heredoc('COPY ADD'),
  'copy-link': flag('COPY', 'link'),
  'add-link': flag('ADD', 'link'),
  'add-checksum': flag('ADD', 'checksum'),
  'add-git': place => flag('ADD', 'keep-git-dir')(place) ?? gitSource(place),
  'add-unpack': flag('ADD', 'unpack'),
  'healthcheck-start-interval': flag('HEALTHCHECK', 'start-interval'),
  'copy-exclude': flag('COPY ADD', 'exclude'),
  'copy-parents': flag('COPY', 'parents'),
  'run-security-sandbox': flag('RUN', 'security'),
  'run-device': flag('RUN', 'device'),
};

function gitSource({instruction}: Place): string | undefined {
  if (instruction.keyword !== 'ADD') return undefined;
  return copyArguments(instruction).sources.find(source => GIT_URL.test(source));
}

/** Every use of a feature of the version table, in the order of the lines. */
export function featuresUsed(dockerfile: Dockerfile): FeatureUse[] {
  const uses: FeatureUse[] = [];
  for (const {name, value, startLine, endLine} of dockerfile.directives) {
    if (name === 'syntax') continue;
    uses.push({
      feature: `${name}-directive`,
      instruction: '#',
      token: `${name}=${value}`,
      startLine,
      endLine,
    });
  }
  const firstFrom = dockerfile.stages[0]?.from.startLine ?? Number.POSITIVE_INFINITY;
  for (const outer of dockerfile.instructions) {
    const {startLine, endLine} = outer;
    const instruction = outer.trigger ?? outer;
    const place = {
      instruction,
      onbuild: outer.trigger !== undefined,
      dockerfile,
      global: startLine < firstFrom,
    };
    const deferred = place.onbuild && !isTriggered(outer, dockerfile);
    for (const [feature, detect] of Object.entries(DETECTORS)) {
      const token = detect(place);
      if (token === undefined) continue;
      uses.push({feature, instruction: instruction.keyword, token, startLine, endLine, deferred});
    }
  }
  return uses;
}

function isTriggered(onbuild: Instruction, {stages}: Dockerfile): boolean {
  const owner = stages.find(stage => stage.instructions.includes(onbuild));
  return stages.some(stage => owner !== undefined && stage.baseStage === owner.index);
}
