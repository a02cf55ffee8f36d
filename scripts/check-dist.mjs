// Fails when dist/ is not what the source gives.
import {execFileSync} from 'node:child_process';
import {mkdtemp, readdir, readFile, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const fresh = await mkdtemp(join(tmpdir(), 'bka-dist-'));
try {
  execFileSync(process.execPath, [join(root, 'scripts/build.mjs'), '--outdir', fresh], {stdio: 'inherit'});
  const [committed, built] = await Promise.all([readdir(join(root, 'dist')).catch(() => []), readdir(fresh)]);
  const names = new Set([...committed, ...built]);
  const stale = [];
  for (const name of names) {
    const [old, now] = await Promise.all(
      [join(root, 'dist', name), join(fresh, name)].map(path => readFile(path).catch(() => Buffer.alloc(0))),
    );
    if (!old.equals(now)) stale.push(name);
  }
  if (stale.length > 0) {
    console.error(`dist/ is stale (${stale.sort().join(', ')}): run "npm run build" and commit dist/`);
    process.exitCode = 1;
  } else console.log(`dist/ is what the source gives: ${[...names].sort().join(', ')}`);
} finally {
  await rm(fresh, {recursive: true, force: true});
}
