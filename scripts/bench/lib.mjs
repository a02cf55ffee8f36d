// What every bench shares: TypeScript sources bundled at run time, rows of one shape, the median.
import {mkdtemp, rm} from 'node:fs/promises';
import {homedir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath, pathToFileURL} from 'node:url';
import {build} from 'esbuild';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const cache =
  process.env.BUILDKIT_ARCHIVE_CACHE ??
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'buildkit-archive');
export const disk = join(cache, 'archives', 'v0.20.2', 'vm.qcow2');

/** Imports a TypeScript module of the project. */
export async function load(path) {
  // Inside the project, so that what is left external is found.
  const dir = await mkdtemp(join(root, 'node_modules', '.bench-'));
  try {
    const outfile = join(dir, 'module.mjs');
    await build({
      absWorkingDir: root,
      entryPoints: [path],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      packages: 'external',
      logLevel: 'warning',
    });
    return await import(pathToFileURL(outfile).href);
  } finally {
    await rm(dir, {recursive: true, force: true});
  }
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * One row: `{bench, case, value, unit, reference, ratio, limit, ok}`. `limit` bounds the ratio where there is a reference, else the value;
 * `atLeast` turns it round.
 */
export function row(name, {value, unit, reference, limit, atLeast = false}) {
  const [bench, ...rest] = name.split('/');
  const ratio = reference === undefined ? undefined : value / reference;
  const bounded = ratio ?? value;
  const ok = limit === undefined ? undefined : atLeast ? bounded >= limit : bounded <= limit;
  return {
    bench,
    case: rest.join('/'),
    value: round(value),
    unit,
    reference: reference === undefined ? null : round(reference),
    ratio: ratio === undefined ? null : round(ratio),
    limit: limit ?? null,
    ok: ok ?? null,
  };
}

function round(value) {
  return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}
