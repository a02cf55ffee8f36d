import {type ChildProcess, execFile, spawn} from 'node:child_process';
import {chmodSync, createWriteStream, mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {promisify} from 'node:util';
import type {Session} from '../../src/base/ports.ts';

const run = promisify(execFile);
/** prune names all that it removes. */
const QUIET = {maxBuffer: 2 ** 28};

/**
 * The machine's own buildctl and buildkitd, run on this side: what a local build makes of a context. Only for Dockerfiles without RUN, so that it needs no runc.
 * Needs root, as any buildkitd without user namespaces.
 */
export class LocalBuildkit {
  readonly #dir: string;
  readonly #daemon: ChildProcess;

  private constructor(dir: string, daemon: ChildProcess) {
    this.#dir = dir;
    this.#daemon = daemon;
  }

  static async start(session: Session): Promise<LocalBuildkit> {
    const dir = mkdtempSync(join(tmpdir(), 'itg-bk-'));
    const bin = join(dir, 'bin');
    mkdirSync(bin);
    for (const name of ['buildctl', 'buildkitd']) {
      const {stdout} = await session.output(['sh', '-c', 'command -v "$0"', name]);
      await session.get(stdout.trim(), createWriteStream(join(bin, name), {mode: 0o755}));
    }
    // The worker looks for it when it starts, and runs it for RUN only.
    writeFileSync(join(bin, 'buildkit-runc'), '#!/bin/sh\nexit 1\n');
    chmodSync(join(bin, 'buildkit-runc'), 0o755);
    const args = [
      '--root',
      join(dir, 'root'),
      '--addr',
      `unix://${dir}/sock`,
      '--oci-worker-snapshotter',
      'native',
    ];
    const env = {...process.env, PATH: `${bin}:${process.env.PATH}`};
    const daemon = spawn(join(bin, 'buildkitd'), args, {env, stdio: ['ignore', 'ignore', 'pipe']});
    let said = '';
    daemon.stderr.setEncoding('utf8').on('data', text => {
      said += text;
    });
    const local = new LocalBuildkit(dir, daemon);
    while (!said.includes('running server on')) {
      if (daemon.exitCode !== null) throw new Error(`buildkitd ended: ${said}`);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
    return local;
  }

  /** `buildctl build` with the given outputs. */
  async build(contextDir: string, outputs: readonly string[]): Promise<void> {
    const buildctl = join(this.#dir, 'bin/buildctl');
    const addr = ['--addr', `unix://${this.#dir}/sock`];
    // A directory of which files went missing since the last build would have its mtime changed.
    await run(buildctl, [...addr, 'prune', '--all'], QUIET);
    const output = outputs.flatMap(spec => ['--output', spec]);
    const locals = ['--local', `context=${contextDir}`, '--local', `dockerfile=${contextDir}`];
    await run(buildctl, [...addr, 'build', '--frontend', 'dockerfile.v0', ...locals, ...output], QUIET);
  }

  async stop(): Promise<void> {
    this.#daemon.kill('SIGTERM');
    await new Promise(resolve => this.#daemon.once('close', resolve));
    rmSync(this.#dir, {recursive: true, force: true});
  }
}
