import {type ChildProcess, spawn} from 'node:child_process';
import {existsSync} from 'node:fs';
import {join} from 'node:path';
import {build} from 'esbuild';

/** The program of a pull in a process of its own, for what only a process can have: a death, or an environment at its start. */
const PROGRAM = `
import {withRegistryImage} from './src/archive/registry/sources.ts';
import {systemClock} from './src/host/clock.ts';
import {dockerCredentials} from './src/host/docker-config.ts';
import {localImages} from './src/host/images.ts';
import {localRegistryTools} from './src/host/registry.ts';
import {parseReference} from './src/plan/reference.ts';

const [reference, dest] = process.argv.slice(2);
const signal = new AbortController().signal;
const warn = message => console.error(message);
withRegistryImage(
  {clock: systemClock, registry: localRegistryTools(dockerCredentials({env: process.env, warn}))},
  [parseReference(reference, 'archive')],
  {
    signal,
    policy: {firstDelayMs: 4, maxDelayMs: 20},
    warn,
    onProgress: ({receivedBytes}) => console.log('received', receivedBytes),
  },
  async ({image}) => {
    for (const layer of [...image.layers].reverse()) {
      if ((await localImages.extractFile(layer, 'vm.qcow2', dest, signal)) !== 'absent') return;
    }
  },
).then(
  () => console.log('done', process.resourceUsage().maxRSS),
  error => {
    console.error(error.message + ' // ' + error.hint);
    process.exitCode = 1;
  },
);
`;

/** Bundles the program once. @returns its path. */
export async function bundlePull(dir: string): Promise<string> {
  const outfile = join(dir, 'pull.cjs');
  if (!existsSync(outfile)) {
    await build({
      stdin: {contents: PROGRAM, resolveDir: process.cwd(), loader: 'ts'},
      bundle: true,
      platform: 'node',
      format: 'cjs',
      outfile,
      logLevel: 'warning',
    });
  }
  return outfile;
}

export interface PullChild {
  readonly child: ChildProcess;
  /** Everything it printed, once it has ended. */
  readonly ended: Promise<{code: number | null; signal: string | null; stdout: string; stderr: string}>;
}

export function startPull(
  program: string,
  reference: string,
  dest: string,
  env: Record<string, string> = {},
  prefix: readonly string[] = [],
): PullChild {
  const [file = '', ...args] = [...prefix, process.execPath, program, reference, dest];
  const child = spawn(file, args, {env: {...process.env, ...env}, stdio: ['ignore', 'pipe', 'pipe']});
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', chunk => {
    stdout += chunk;
  });
  child.stderr?.on('data', chunk => {
    stderr += chunk;
  });
  const ended = new Promise<Awaited<PullChild['ended']>>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({code, signal, stdout, stderr}));
  });
  return {child, ended};
}
