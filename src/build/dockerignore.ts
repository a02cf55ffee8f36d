import {isAtLeast, type Version, version} from '../base/version.ts';
import {compileGlobs, type Glob, goClean, goTrimSpace, type MatcherGeneration} from './context-glob.ts';

/** The first release whose buildctl has moby/patternmatcher's rules and a walk that remembers its parents. */
const PATTERNMATCHER_SINCE = version('v0.10.0');
/** `bufio.MaxScanTokenSize`: a longer line makes BuildKit refuse the file. */
const MAX_LINE_BYTES = 65536;

/** What becomes of one entry of the context. `state` is handed to `visit` again for the entry's children. */
export interface Verdict {
  readonly send: boolean;
  /** For directories: whether anything inside can still have to be sent. */
  readonly descend: boolean;
  readonly state: FilterState;
}

/** Opaque; made by a filter for one directory, good for its direct children. */
export type FilterState = readonly unknown[];

/** Decides, entry by entry from the root down, what is certainly left out of the context. */
export interface ContextFilter {
  readonly root: FilterState;
  /** `path` is relative to the context, with `/`, as `decodePath` gives it; `parent` its directory's state. */
  visit(path: string, isDirectory: boolean, parent: FilterState): Verdict;
}

/**
 * Lines of an ignore file as moby/patternmatcher's `ignorefile.ReadAll` gives them: no comments, trimmed,
 * cleaned, without a leading `/`. The same in all releases from v0.3.0 to v0.32.2.
 * @returns undefined when BuildKit refuses the file.
 */
export function readIgnoreFile(bytes: Uint8Array): readonly string[] | undefined {
  const content = decodePath(bytes);
  const patterns: string[] = [];
  for (const [index, raw] of content.split('\n').entries()) {
    const line = (index === 0 ? raw.replace(/^\uFEFF/, '') : raw).replace(/\r$/, '');
    if (new TextEncoder().encode(raw).length >= MAX_LINE_BYTES) return undefined;
    if (line.startsWith('#')) continue;
    const trimmed = goTrimSpace(line);
    if (trimmed === '') continue;
    const inverted = trimmed.startsWith('!');
    const pattern = inverted ? goTrimSpace(trimmed.slice(1)) : trimmed;
    const cleaned = pattern === '' ? '' : goClean(pattern);
    const relative = cleaned.length > 1 && cleaned.startsWith('/') ? cleaned.slice(1) : cleaned;
    patterns.push(inverted ? `!${relative}` : relative);
  }
  return patterns;
}

/**
 * A filter that leaves out only what each of `patternSets` excludes, by the rules of the release `buildkit`,
 * or by those of every release when it is not known. No sets, or a set that BuildKit would refuse or whose
 * meaning is not certain: everything is sent.
 * @param keep paths that are sent in any case, with their parents.
 */
export function contextFilter(
  patternSets: readonly (readonly string[])[],
  buildkit: Version | undefined,
  keep: readonly string[] = [],
): ContextFilter {
  const walkers: Walker[] = [];
  for (const generation of generationsOf(buildkit)) {
    for (const patterns of patternSets) {
      const globs = compileGlobs(patterns, generation);
      if (!globs) return everything;
      walkers.push(generation === 'fileutils' ? fileutilsWalker(globs) : patternmatcherWalker(globs));
    }
  }
  if (walkers.length === 0) return everything;
  return {
    root: walkers.map(walker => walker.root),
    visit: (path, isDirectory, parent) => {
      const steps = walkers.map((walker, i) => {
        const state = parent[i];
        return state === SKIPPED ? skipped : walker.visit(path, isDirectory, state);
      });
      const above = isDirectory && keep.some(kept => kept.startsWith(`${path}/`));
      return {
        send: above || keep.includes(path) || steps.some(step => !step.excluded),
        descend: isDirectory && (above || steps.some(step => step.state !== SKIPPED)),
        state: steps.map(step => step.state),
      };
    },
  };
}

const everything: ContextFilter = {
  root: [],
  visit: (_path, isDirectory) => ({send: true, descend: isDirectory, state: []}),
};

/**
 * A path's bytes as text, the way Go walks over them: each byte that is not part of valid UTF-8 becomes one
 * U+FFFD, which no pattern that is compiled here contains.
 */
export function decodePath(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    return decodeBroken(bytes);
  }
}

const utf8 = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true});

function decodeBroken(bytes: Uint8Array): string {
  let text = '';
  let at = 0;
  while (at < bytes.length) {
    const lead = bytes[at] ?? 0;
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    try {
      text += utf8.decode(bytes.subarray(at, at + length));
      at += length;
    } catch {
      text += '\uFFFD';
      at += 1;
    }
  }
  return text;
}

/** The state of a directory that a release does not walk into. */
const SKIPPED = Symbol('skipped');
interface Step {
  readonly excluded: boolean;
  readonly state: unknown;
}
const skipped: Step = {excluded: true, state: SKIPPED};

interface Walker {
  readonly root: unknown;
  visit(path: string, isDirectory: boolean, state: unknown): Step;
}

function generationsOf(buildkit: Version | undefined): readonly MatcherGeneration[] {
  if (!buildkit) return ['fileutils', 'patternmatcher'];
  return isAtLeast(buildkit, PATTERNMATCHER_SINCE) ? ['patternmatcher'] : ['fileutils'];
}

/**
 * The walk of v0.3.0 to v0.9.3 (fsutil `Walk` with `PatternMatcher.Matches`): each path is judged alone, a
 * pattern of n parts also by the path's first n directories; an excluded directory is entered only when a
 * `!` pattern literally begins with it.
 */
function fileutilsWalker(globs: readonly Glob[]): Walker {
  const depths = globs.map(glob => glob.text.split('/').length);
  const matches = (path: string) => {
    const parents = path.split('/').slice(0, -1);
    let matched = false;
    for (const [i, glob] of globs.entries()) {
      const depth = depths[i] ?? 0;
      const hit =
        glob.matches(path) || (depth <= parents.length && glob.matches(parents.slice(0, depth).join('/')));
      if (hit) matched = !glob.negated;
    }
    return matched;
  };
  const entered = (path: string) => globs.some(g => g.negated && `${g.text}/`.startsWith(`${path}/`));
  return {
    root: undefined,
    visit: (path, isDirectory) => {
      if (!matches(path)) return {excluded: false, state: undefined};
      return isDirectory && entered(path) ? {excluded: false, state: undefined} : skipped;
    },
  };
}

/**
 * The walk since v0.10.0 (fsutil `Walk`, later `NewFilterFS`, with `MatchesUsingParentResults`): what matched
 * a directory goes on to match what is in it, pattern by pattern.
 */
function patternmatcherWalker(globs: readonly Glob[]): Walker {
  const exceptions = globs.filter(glob => glob.negated).map(glob => withoutTrailingGlob(glob.text));
  const onlyPrefixes = exceptions.every(text => !/[*[\]?^\\]/.test(text));
  const entered = (path: string) =>
    !onlyPrefixes || exceptions.some(text => `${text}/`.startsWith(`${path}/`));
  return {
    root: undefined,
    visit: (path, isDirectory, state) => {
      const parent = state as readonly boolean[] | undefined;
      const matchedBy: boolean[] = [];
      let excluded = false;
      for (const [i, glob] of globs.entries()) {
        const hit = parent?.[i] === true || (glob.negated === excluded && glob.matches(path));
        matchedBy.push(hit);
        if (hit) excluded = !glob.negated;
      }
      if (excluded && !(isDirectory && entered(path))) return skipped;
      return {excluded, state: matchedBy};
    },
  };
}

function withoutTrailingGlob(text: string): string {
  return text.replace(/\/\*\*$/, '').replace(/\/\*$/, '');
}
