import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {UserError} from '../../base/errors.ts';
import {type Units, unitsFor} from '../../base/units.ts';
import {isDirectory, isFile, kept, recipeKey, withTempDir} from '../cache.ts';
import {type ForgeOptions, hasModule} from '../options.ts';
import {askVersion, type BuildKit, binariesIn} from './binaries.ts';
import {knownCommit} from './commits.ts';
import {buildModule, type DownloadedModule, downloadModule, MODULE, neededGo} from './gomodule.ts';
import {type Go, type GoRequest, goAtLeast, hostGo} from './gotoolchain.ts';
import {checkDigest, download, releaseUrl, sha256Of, unpackRelease, versionInName} from './release.ts';

export interface SourceRequest extends GoRequest {
  readonly options: ForgeOptions;
}

// Part of each cache key: raise it when the way of building or unpacking changes.
const MODULE_RECIPE = 1;
const RELEASE_RECIPE = 1;

/** Gets the BuildKit that `--buildkit` names. @throws UserError when it cannot be had, with the other ways. */
export async function resolveBuildkit(request: SourceRequest): Promise<BuildKit> {
  const {buildkit, from} = request.options;
  switch (buildkit.kind) {
    case 'url':
      return await fromUrl(request, buildkit.url, versionInName(buildkit.url));
    case 'path':
      return await fromPath(request, buildkit.path);
    case 'commit':
      return await fromModule(request, buildkit.commit, await requireGo(request));
    case 'version': {
      const go = from === 'release' || !hasModule(buildkit.version) ? undefined : await hostGo(request);
      if (from === 'module' && !go) await requireGo(request);
      if (go) return await fromModule(request, buildkit.version, go);
      return await fromUrl(request, releaseUrl(buildkit.version), buildkit.version);
    }
  }
}

async function requireGo(request: SourceRequest): Promise<Go> {
  const go = await hostGo(request);
  if (go) return go;
  throw new UserError('there is no working go on PATH, and BuildKit is to be built from its Go module', {
    hint: 'sudo apt-get install -y golang-go (any Go can fetch the one that is needed), or use --from release',
    input: '--from',
    stage: 'forge',
  });
}

/** Builds a version or commit from its module, or takes the one built before. */
async function fromModule(request: SourceRequest, query: string, go: Go): Promise<BuildKit> {
  return await withTempDir(request.cacheDir, 'module-', async workDir => {
    const isVersion = query.startsWith('v');
    // A version tag never moves, so its build is found without asking the module proxy.
    let module: DownloadedModule | undefined = isVersion
      ? undefined
      : await downloadModule(go, query, workDir, request.signal);
    const version = module?.version ?? query;
    const known = request.options.commit ?? (isVersion ? knownCommit(query) : commitOf(query, module));
    const name = `module-${version}-${recipeKey([MODULE_RECIPE, version, known])}`;
    const build = async (dir: string): Promise<void> => {
      request.log(`building BuildKit ${version} from its Go module`);
      module ??= await downloadModule(go, query, workDir, request.signal);
      const commit = known ?? module.commit;
      if (!commit) {
        request.log(`nothing here knows the commit of ${version}; the binary will not say it (see --commit)`);
      }
      const needed = neededGo(await readFile(join(module.dir, 'go.mod'), 'utf8'));
      const able = await goAtLeast(needed, go, request);
      await buildModule(able, module, commit, dir, workDir, request.signal);
    };
    const dir = await kept(request.cacheDir, name, build, () =>
      request.log(`using the kept build of ${version}`),
    );
    return await described(
      request,
      dir,
      `go module ${MODULE}@${version}`,
      version,
      await unitsIn(dir, version),
    );
  });
}

/** The commit of a module that was asked for by commit: the proxy's word, else the query if it is a whole hash. */
function commitOf(query: string, module: DownloadedModule | undefined): string | undefined {
  return module?.commit ?? (query.length === 40 ? query : undefined);
}

async function fromUrl(request: SourceRequest, url: string, version: string | undefined): Promise<BuildKit> {
  const expected = request.options.sha256;
  const name = `release-${recipeKey([RELEASE_RECIPE, url, expected])}`;
  const make = async (dir: string): Promise<void> => {
    request.log(`downloading ${url}`);
    const tarball = join(dir, 'release.tar.gz');
    await download(url, tarball, request.signal);
    checkDigest(url, await sha256Of(tarball), expected);
    await unpackRelease(tarball, join(dir, 'bin'));
    await binariesIn(join(dir, 'bin'), url);
  };
  const dir = await kept(request.cacheDir, name, make, () =>
    request.log(`using the kept download of ${url}`),
  );
  return await described(request, dir, url, version);
}

async function fromPath(request: SourceRequest, path: string): Promise<BuildKit> {
  const {sha256} = request.options;
  if (await isDirectory(path)) {
    if (sha256 !== undefined) {
      throw new UserError('--sha256 is for a release tarball, and --buildkit is a folder', {
        hint: 'leave --sha256 away',
        input: '--sha256',
        stage: 'forge',
      });
    }
    const parent = (await isFile(join(path, 'bin', 'buildkitd'))) ? path : undefined;
    return await described(request, parent ?? path, path, undefined, undefined, parent ? 'bin' : '.');
  }
  if (!(await isFile(path))) {
    throw new UserError(`--buildkit ${path} does not exist, and is no version`, {
      hint: 'give a version such as v0.20.2, a release tarball, or a folder with buildkitd and buildctl',
      input: '--buildkit',
      stage: 'forge',
    });
  }
  const digest = await sha256Of(path);
  checkDigest(path, digest, sha256);
  const name = `tarball-${recipeKey([RELEASE_RECIPE, digest])}`;
  const dir = await kept(request.cacheDir, name, async making => {
    await unpackRelease(path, join(making, 'bin'));
    await binariesIn(join(making, 'bin'), path);
  });
  return await described(request, dir, path, versionInName(path));
}

/** Puts together what is known: what the user says, else what the source says, else what the daemon says. */
async function described(
  request: SourceRequest,
  dir: string,
  source: string,
  version: string | undefined,
  units?: Units,
  folder = 'bin',
): Promise<BuildKit> {
  const {options} = request;
  const binaries = await binariesIn(join(dir, folder), source);
  const said = await askVersion(binaries, request.env, request.signal, request.log);
  const name = options.buildkitVersion ?? version ?? said.version;
  if (name === undefined) {
    throw new UserError(`${source} does not say which version of BuildKit it is`, {
      hint: 'say it with --buildkit-version, such as --buildkit-version v0.20.2-mine',
      input: '--buildkit-version',
      stage: 'forge',
    });
  }
  if (said.version && said.version !== name)
    request.log(`note: the daemon calls itself ${said.version}, not ${name}`);
  const commit = options.commit ?? said.commit ?? knownCommit(name);
  return {version: name, commit, source, binaries, units: units ?? unitsFor(said.version ?? name)};
}

/** The units that came with the source, if any. */
async function unitsIn(dir: string, version: string): Promise<Units> {
  const read = (unit: string): Promise<string | undefined> =>
    readFile(join(dir, unit), 'utf8').catch(() => undefined);
  const [service, socket] = [await read('buildkit.service'), await read('buildkit.socket')];
  return service !== undefined && socket !== undefined ? {service, socket} : unitsFor(version);
}
