import {homedir, tmpdir} from 'node:os';
import {join} from 'node:path';

/**
 * The folder for what is kept between runs: `BUILDKIT_ARCHIVE_STORE`, else the runner's tool cache (kept on self-hosted runners, and part of a cache
 * entry's version, so its path must be stable), else the user's cache folder (XDG Base Directory Specification).
 */
export function storeDir(env: NodeJS.ProcessEnv): string {
  if (env.BUILDKIT_ARCHIVE_STORE) return env.BUILDKIT_ARCHIVE_STORE;
  if (env.RUNNER_TOOL_CACHE) return join(env.RUNNER_TOOL_CACHE, 'buildkit-archive');
  return join(env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'buildkit-archive');
}

/** Folders for what is short-lived and must lie on a certain file system; in a job's container each of them can be on another one. */
export function stagingDirs(env: NodeJS.ProcessEnv): readonly string[] {
  return [tmpdir(), ...(env.RUNNER_TEMP ? [env.RUNNER_TEMP] : []), storeDir(env)];
}
