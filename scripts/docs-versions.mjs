// Writes docs/versions.md from the version table; with --check it only says whether the page is current.
import {readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {parseArgs} from 'node:util';
import {load, root} from './load.mjs';

const {values} = parseArgs({options: {check: {type: 'boolean', default: false}}});
const path = join(root, 'docs/versions.md');
const {versionsPage} = await load('src/build/versions/markdown.ts');

if (!values.check) {
  await writeFile(path, versionsPage());
} else if ((await readFile(path, 'utf8').catch(() => '')) !== versionsPage()) {
  process.stderr.write(
    'docs/versions.md is not what the version table says: run node scripts/docs-versions.mjs\n',
  );
  process.exitCode = 1;
}
