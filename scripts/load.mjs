// Imports TypeScript modules of src from a script: bundled as they would be for dist/.
import {mkdtemp, rm} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {fileURLToPath, pathToFileURL} from 'node:url';
import {build} from 'esbuild';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * All that the modules export, in one bundle, so that they share their classes.
 * @param {string[]} paths relative to the repository, such as `src/plan/catalog.ts`
 */
export async function load(...paths) {
  // Inside the repository, so that what stays external is found in node_modules.
  const dir = await mkdtemp(join(root, 'node_modules/.load-'));
  try {
    const outfile = join(dir, 'module.mjs');
    await build({
      absWorkingDir: root,
      stdin: {
        contents: paths.map(path => `export * from './${path}';`).join('\n'),
        resolveDir: root,
        loader: 'ts',
      },
      outfile,
      bundle: true,
      platform: 'node',
      target: 'node20',
      format: 'esm',
      packages: 'external',
      logLevel: 'warning',
    });
    return await import(pathToFileURL(outfile).href);
  } finally {
    await rm(dir, {recursive: true, force: true});
  }
}
