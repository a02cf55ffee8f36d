// npm run bench [-- --json] [CASE…]: prints a table, or one JSON line a row. Without cases all run, one after the other.
import {spawn} from 'node:child_process';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';

const BENCHES = {
  load: () => import('./load.mjs'),
  job: () => import('./job.mjs'),
  context: () => import('./context.mjs'),
  log: () => import('./log.mjs'),
  progress: async () => ({bench: () => rowsOf('progress.mjs')}),
  pull: () => import('./pull.mjs'),
  store: () => import('./store.mjs'),
  start: () => import('./start.mjs'),
};

const {values, positionals} = parseArgs({
  options: {json: {type: 'boolean', default: false}},
  allowPositionals: true,
});
const unknown = positionals.filter(name => !Object.hasOwn(BENCHES, name));
if (unknown.length > 0) {
  console.error(`there is no bench ${unknown.join(', ')}; there are ${Object.keys(BENCHES).join(', ')}`);
  process.exit(2);
}
const COLUMNS = ['bench', 'case', 'value', 'unit', 'reference', 'ratio', 'limit', 'ok'];
const print = cells =>
  console.log(cells.map((cell, i) => String(cell ?? '').padEnd(i === 1 ? 28 : 10)).join(' '));
if (!values.json) print(COLUMNS);
for (const name of positionals.length > 0 ? positionals : Object.keys(BENCHES)) {
  const {bench} = await BENCHES[name]();
  for await (const row of bench()) {
    if (values.json) console.log(JSON.stringify(row));
    else print(COLUMNS.map(column => row[column]));
    if (row.ok === false) process.exitCode = 1;
  }
}

/** Rows of a bench that is a program of its own, since it measures its whole process's memory. */
async function* rowsOf(script) {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn(process.execPath, [path], {stdio: ['ignore', 'pipe', 'inherit']});
  for await (const line of createInterface({input: child.stdout})) yield JSON.parse(line);
}
