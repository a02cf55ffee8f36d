import {posix} from 'node:path';
import {UserError} from '../base/errors.ts';
import type {Files} from '../base/ports.ts';
import type {KeyValue} from '../base/request.ts';
import type {Links, TreeFilter} from '../base/tree.ts';
import {isAtLeast, type Version, version} from '../base/version.ts';
import {contextFilter, decodePath, readIgnoreFile} from './dockerignore.ts';

const IGNORE_FILE = '.dockerignore';
/** The first release that reads `<Dockerfile>.dockerignore`, and that follows a `.dockerignore` that is a link. */
const SPECIFIC_IGNORE_SINCE = version('v0.5.0');
/** A longer ignore file is not looked into; everything is sent. */
const MAX_IGNORE_BYTES = 4 * 1024 * 1024;
/** `# syntax=` stands in a Dockerfile's first lines. */
const DIRECTIVE_BYTES = 64 * 1024;
const MAX_NEAR_NAMES = 5;

/** A local context and its Dockerfile, found and read so far as the plan needs; nothing depends on the release yet. */
export interface ResolvedContext {
  /** Absolute, without symbolic links. */
  readonly contextDir: string;
  readonly dockerfileDir: string;
  readonly dockerfileName: string;
  /** Those of the Dockerfile's companions that exist, and itself. */
  readonly dockerfileNames: readonly string[];
  /** Contents of `.dockerignore` in the context and of `<Dockerfile>.dockerignore` beside the Dockerfile. */
  readonly ignore?: Uint8Array;
  readonly specificIgnore?: Uint8Array;
  /** Where `.dockerignore` points when it is a link inside the context. */
  readonly ignoreTarget?: string;
  /** The frontend of a `# syntax=` line. */
  readonly syntax?: string;
}

export interface ContextPlan {
  readonly contextDir: string;
  readonly dockerfileDir: string;
  /** Files of `dockerfileDir` that make up the second directory; the Dockerfile keeps its name. */
  readonly dockerfileNames: readonly string[];
  readonly dockerfileName: string;
  /** Leaves out what is certainly excluded; absent when everything is sent. */
  readonly filter?: TreeFilter;
  /** The ignore files the filter was made of. */
  readonly ignoreFiles: readonly string[];
}

/** The disk as resolving needs it. */
export type ContextFiles = Pick<Files, 'kind' | 'size' | 'readRange'> & Links;

/**
 * Looks the context and the Dockerfile up, before anything is started.
 * @param dockerfile `dir` is the context when absent; it may lie anywhere.
 * @throws UserError for a context that is no directory and for a Dockerfile that is not there.
 */
export async function resolveContext(
  context: string,
  dockerfile: {readonly dir?: string; readonly name: string},
  files: ContextFiles,
): Promise<ResolvedContext> {
  const kind = await files.kind(context);
  if (kind !== 'directory') {
    throw new UserError(
      kind ? `the context ${context} is not a directory` : `the context ${context} does not exist`,
      {
        stage: 'inputs',
        input: 'context',
        hint: 'Name a directory (relative to the workspace), or a Git URL such as https://host/repo.git#ref:dir.',
      },
    );
  }
  const dir = dockerfile.dir ?? context;
  const name = dockerfile.name;
  const found = await dockerfileAt(dir, name, files);
  const contextDir = await files.realPath(context);
  const specific = `${name}.dockerignore`;
  const hasSpecific = (await files.kind(posix.join(dir, specific))) === 'file';
  const specificIgnore = hasSpecific ? await readAll(posix.join(dir, specific), files) : undefined;
  const root = await readRootIgnore(contextDir, files);
  const head = await files.readRange(posix.join(dir, found), 0, DIRECTIVE_BYTES);
  const syntax = syntaxOf(head);
  return {
    contextDir,
    dockerfileDir: await files.realPath(dir),
    dockerfileName: name,
    dockerfileNames: hasSpecific ? [found, specific] : [found],
    ...(root.ignore && {ignore: root.ignore}),
    ...(root.target !== undefined && {ignoreTarget: root.target}),
    ...(specificIgnore && {specificIgnore}),
    ...(syntax !== undefined && {syntax}),
  };
}

/**
 * What is sent for one release; `buildkit` undefined stands for all of them, and then only what each of them
 * leaves out is left out. `<Dockerfile>.dockerignore` wins over `.dockerignore` where the release knows it. An
 * unknown frontend (`# syntax=`, `BUILDKIT_SYNTAX`) may read neither.
 */
export function planContext(
  resolved: ResolvedContext,
  {
    buildkit,
    buildArgs = [],
  }: {readonly buildkit?: Version | undefined; readonly buildArgs?: readonly KeyValue[]},
): ContextPlan {
  const {contextDir, dockerfileDir, dockerfileName, dockerfileNames} = resolved;
  const syntax = buildArgs.find(arg => arg.key === 'BUILDKIT_SYNTAX')?.value ?? resolved.syntax;
  const sets = ignoreSets(resolved, buildkit, syntax);
  const patterns = sets.map(set => readIgnoreFile(set.bytes));
  const plan = {
    contextDir,
    dockerfileDir,
    dockerfileName,
    dockerfileNames,
    ignoreFiles: sets.map(set => set.name),
  };
  if (sets.length === 0 || patterns.some(lines => !lines || lines.length === 0)) return plan;
  const filter = contextFilter(
    patterns.map(lines => lines ?? []),
    buildkit,
    keptPaths(resolved),
  );
  return {
    ...plan,
    filter: {
      root: filter.root,
      visit: (path, isDirectory, parent) =>
        filter.visit(decodePath(path), isDirectory, parent as typeof filter.root),
    },
  };
}

interface IgnoreSet {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** All the ignore files that may be the one that counts. */
function ignoreSets(
  {ignore, specificIgnore, ignoreTarget, dockerfileName}: ResolvedContext,
  buildkit: Version | undefined,
  syntax: string | undefined,
): IgnoreSet[] {
  const builtin = syntax === undefined;
  if (!builtin && !/^(?:docker\.io\/)?docker\/dockerfile(?:-upstream)?(?:[:@].*)?$/.test(syntax)) return [];
  const knows = buildkit && isAtLeast(buildkit, SPECIFIC_IGNORE_SINCE);
  const none = new Uint8Array();
  // A link is followed by the releases that know the specific file, not before.
  const rootBytes = ignoreTarget !== undefined && !knows ? none : (ignore ?? none);
  const root = {name: IGNORE_FILE, bytes: rootBytes};
  const specific = specificIgnore && {name: `${dockerfileName}.dockerignore`, bytes: specificIgnore};
  if (!specific || (builtin && buildkit && !knows)) return ignore ? [root] : [];
  // An empty file reaches the frontend as no file or as an empty one, depending on how it asks.
  return builtin && knows && specific.bytes.length > 0 ? [specific] : [specific, root];
}

/** What BuildKit reads itself is sent whatever the ignore file says. */
function keptPaths({contextDir, dockerfileDir, dockerfileNames, ignoreTarget}: ResolvedContext): string[] {
  const inside = posix.relative(contextDir, dockerfileDir);
  const beside =
    inside === '..' || inside.startsWith('../') ? [] : dockerfileNames.map(name => posix.join(inside, name));
  return [IGNORE_FILE, ...(ignoreTarget === undefined ? [] : [ignoreTarget]), ...beside];
}

/** The name of the Dockerfile that is there: releases since v0.8.0 take `dockerfile` where `Dockerfile` is missing. */
async function dockerfileAt(dir: string, name: string, files: ContextFiles): Promise<string> {
  for (const candidate of name === 'Dockerfile' ? [name, 'dockerfile'] : [name]) {
    const kind = await files.kind(posix.join(dir, candidate));
    if (kind === 'file') return candidate;
    if (kind !== undefined) {
      throw new UserError(`the Dockerfile ${posix.join(dir, candidate)} is not a regular file`, {
        stage: 'inputs',
        input: 'file',
        hint: 'Name the Dockerfile itself, e.g. `file: docker/Dockerfile`.',
      });
    }
  }
  const wanted = name.toLowerCase();
  const near = (await files.list(dir))
    .filter(entry => entry.toLowerCase() === wanted || /dockerfile|containerfile/i.test(entry))
    .filter(entry => !entry.endsWith('.dockerignore'))
    .sort()
    .slice(0, MAX_NEAR_NAMES);
  const there = near.length > 0 ? ` That directory has ${near.join(', ')}.` : '';
  throw new UserError(`there is no Dockerfile ${posix.join(dir, name)}.${there}`, {
    stage: 'inputs',
    input: 'file',
    hint: 'Name it with `file:`; the path is relative to the workspace, not to the context.',
  });
}

/** `.dockerignore` of the context. A link counts when it points, in one step, to a file inside the context. */
async function readRootIgnore(
  contextDir: string,
  files: ContextFiles,
): Promise<{ignore?: Uint8Array; target?: string}> {
  const path = posix.join(contextDir, IGNORE_FILE);
  if ((await files.kind(path)) !== 'file') return {};
  const link = await files.readLink(path);
  if (link === undefined) return {ignore: await readAll(path, files)};
  const target = posix.join(contextDir, link);
  const inside = target.startsWith(`${contextDir === '/' ? '' : contextDir}/`) && !posix.isAbsolute(link);
  if (!inside || (await files.realPath(path)) !== target) return {};
  return {ignore: await readAll(path, files), target: posix.relative(contextDir, target)};
}

/** A file that is too long to be an ignore file counts as empty: nothing is left out for it. */
async function readAll(path: string, files: ContextFiles): Promise<Uint8Array> {
  const size = (await files.size(path)) ?? 0;
  return size > MAX_IGNORE_BYTES ? new Uint8Array() : files.readRange(path, 0, size);
}

/**
 * The frontend that a Dockerfile's head asks for. Any line that looks like the directive counts, wherever it
 * stands, and so does a JSON document: seeing one too many only means that more is sent.
 */
function syntaxOf(head: Uint8Array): string | undefined {
  const text = new TextDecoder().decode(head);
  const found = [...text.matchAll(/^\s*(?:#|\/\/)\s*syntax\s*=\s*(\S*)/gim)].map(match => match[1] ?? '');
  if (/^\s*(?:#!.*\n\s*)?\{/.test(text)) found.push('json');
  return found.find(name => !name.startsWith('docker/dockerfile')) ?? found[0];
}
