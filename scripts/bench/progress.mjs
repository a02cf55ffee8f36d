// Speed and memory of the progress readers. Prints one JSON row a measurement:
// {bench, case, value, unit, reference, ratio, limit, ok}. `reference` is what the same run gives for the least
// work that could be done (decoding and splitting lines), or for the small log.
import {spawnSync} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath, pathToFileURL} from 'node:url';
import {build} from 'esbuild';

const megabyte = 1_000_000;
const chunkBytes = 64 * 1024;
const minSpeed = 50;
const maxGrowth = 1.25;
const root = fileURLToPath(new URL('../..', import.meta.url));

const samples = {
  'plain log, one step': () => plainLog(1),
  'plain log, 20 steps in turn': () => plainLog(20),
  'plain log of v0.3': () => plainLog(1, true),
  trace: traceLog,
};

function plainLog(steps, isV03 = false) {
  const lines = [];
  for (let step = 1; step <= steps; step += 1) {
    lines.push(`#${step} [build ${step}/${steps}] RUN make -j8 all`);
    if (isV03) lines.push(`#${step}       digest: sha256:${'ab'.repeat(32)}`);
    for (let line = 0; line < 20_000 / steps; line += 1) {
      const seconds = (line / 1000).toFixed(3);
      lines.push(
        `#${step} ${seconds} [ ${line % 100}%] Building CXX object src/CMakeFiles/core.dir/unit_${line}.cpp.o`,
      );
    }
    lines.push(`#${step} ...`, '');
  }
  return Buffer.from(`${lines.join('\n')}\n`);
}

function traceLog() {
  const vertex = `sha256:${'ab'.repeat(32)}`;
  const lines = [
    JSON.stringify({vertexes: [{digest: vertex, name: '[1/1] RUN make', started: '2026-01-01T00:00:00Z'}]}),
  ];
  for (let line = 0; line < 10_000; line += 1) {
    const data = Buffer.from(
      `[ ${line % 100}%] Building CXX object src/CMakeFiles/core.dir/unit_${line}.cpp.o\n`,
    );
    const log = {
      vertex,
      stream: 1,
      data: data.toString('base64'),
      timestamp: '2026-01-01T00:00:01.123456789Z',
    };
    lines.push(JSON.stringify({logs: [log]}));
  }
  return Buffer.from(`${lines.join('\n')}\n`);
}

/** Feeds `sample` again and again until `sizeBytes` are reached; gives MB/s. */
function feed(write, sample, sizeBytes) {
  const started = process.hrtime.bigint();
  let fedBytes = 0;
  while (fedBytes < sizeBytes) {
    for (let at = 0; at < sample.length; at += chunkBytes) write(sample.subarray(at, at + chunkBytes));
    fedBytes += sample.length;
  }
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  return fedBytes / megabyte / seconds;
}

function splitOnly() {
  const decoder = new TextDecoder();
  let rest = '';
  let lines = 0;
  return chunk => {
    const parts = (rest + decoder.decode(chunk, {stream: true})).split('\n');
    rest = parts.pop() ?? '';
    lines += parts.length;
    return lines;
  };
}

function best(measure) {
  return Math.max(measure(), measure(), measure());
}

function row(name, value, unit, reference, limit, ok) {
  const ratio = Math.round((value / reference) * 100) / 100;
  console.log(JSON.stringify({bench: 'progress', case: name, value, unit, reference, ratio, limit, ok}));
  if (!ok) process.exitCode = 1;
}

const rounded = value => Math.round(value * 10) / 10;

function speeds(createProgressReader) {
  for (const [name, make] of Object.entries(samples)) {
    const sample = make();
    const reference = rounded(best(() => feed(splitOnly(), sample, 60 * megabyte)));
    const value = rounded(
      best(() => {
        const reader = createProgressReader({form: 'auto'});
        return feed(chunk => reader.write(chunk), sample, 60 * megabyte);
      }),
    );
    const isPlain = name.startsWith('plain');
    row(name, value, 'MB/s', reference, isPlain ? minSpeed : null, !isPlain || value >= minSpeed);
  }
}

/** Peak memory of a process that reads so much, in MB. */
function peakOf(bundle, name, sizeMegabytes) {
  const args = [fileURLToPath(import.meta.url), '--child', bundle, name, String(sizeMegabytes)];
  const child = spawnSync(process.execPath, ['--max-semi-space-size=4', ...args], {encoding: 'utf8'});
  if (child.status !== 0) throw new Error(child.stderr);
  return Number(child.stdout);
}

function memory(bundle) {
  for (const name of Object.keys(samples)) {
    const reference = peakOf(bundle, name, 20);
    const value = peakOf(bundle, name, 400);
    row(
      `memory, ${name}: 400 MB, and 20 MB`,
      value,
      'MB',
      reference,
      maxGrowth,
      value / reference <= maxGrowth,
    );
  }
}

async function child([bundle, name, sizeMegabytes]) {
  const {createProgressReader} = await import(pathToFileURL(bundle).href);
  const reader = createProgressReader({form: 'auto'});
  feed(chunk => reader.write(chunk), samples[name](), Number(sizeMegabytes) * megabyte);
  reader.end();
  if (reader.trace().steps.length === 0) throw new Error('nothing was read');
  console.log(rounded(process.resourceUsage().maxRSS / 1000));
}

async function main() {
  const folder = mkdtempSync(join(tmpdir(), 'bench-progress-'));
  try {
    const outfile = join(folder, 'reader.mjs');
    await build({
      entryPoints: [join(root, 'src/progress/reader.ts')],
      bundle: true,
      format: 'esm',
      outfile,
      logLevel: 'error',
    });
    const {createProgressReader} = await import(pathToFileURL(outfile).href);
    speeds(createProgressReader);
    memory(outfile);
  } finally {
    rmSync(folder, {recursive: true, force: true});
  }
}

if (process.argv[2] === '--child') await child(process.argv.slice(3));
else await main();
