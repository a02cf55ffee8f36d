// How long dist/ takes to its first log line, and how large it is.
import {spawn} from 'node:child_process';
import {readdir, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {median, root, row} from './lib.mjs';

const RUNS = 9;

export async function* bench() {
  const toFirstLine = await measure([join(root, 'dist/main.cjs')]);
  const bareNode = await measure(['-e', 'console.log("::")']);
  // The limit is on the whole; what a bare Node.js takes on this machine stands beside it.
  const {value, ...rest} = row('load/first-log-line', {value: toFirstLine, unit: 's', limit: 0.3});
  yield {
    ...rest,
    value,
    reference: Number(bareNode.toPrecision(3)),
    ratio: Number((toFirstLine / bareNode).toPrecision(3)),
  };
  const files = await readdir(join(root, 'dist'));
  const sizes = await Promise.all(files.map(async name => (await stat(join(root, 'dist', name))).size));
  yield row('load/dist-size', {
    value: sizes.reduce((sum, size) => sum + size, 0) / 1024 ** 2,
    unit: 'MiB',
    limit: 3,
  });
}

/** Median seconds from the start of a process to its first byte of output. */
async function measure(args) {
  const seconds = [];
  for (let i = 0; i < RUNS; i++) {
    const started = performance.now();
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      // No archive is named, so the first line is the error about it.
      env: {PATH: process.env.PATH, GITHUB_WORKSPACE: root},
    });
    await new Promise(resolve => child.stdout.once('data', resolve));
    seconds.push((performance.now() - started) / 1000);
    child.kill();
  }
  return median(seconds);
}
