import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {Readable} from 'node:stream';
import {asCanceled} from '../../src/base/errors.ts';
import type {Exit, Output, RunOptions, Session} from '../../src/base/ports.ts';

/** In the machine we are root; here tar may have to do without changing owners. */
function asThisUser(word: string): string {
  return word === '--same-owner' && process.getuid?.() !== 0 ? '--no-same-owner' : word;
}

/** A `Session` whose machine is this one: commands run here, without a shell. */
export function localSession(env: Readonly<Record<string, string>> = {}): Session {
  const session: Session = {
    async run(argv, options: RunOptions = {}): Promise<Exit> {
      if (options.signal?.aborted) throw asCanceled(options.signal);
      const [file = '', ...args] = argv.map(asThisUser);
      const child = spawn(file, args, {env: {...process.env, ...env, ...options.env}, stdio: 'pipe'});
      const source = options.stdin instanceof Readable ? options.stdin : Readable.from([options.stdin ?? '']);
      child.stdin.on('error', () => undefined);
      const canceled = new Promise<never>((_, reject) => {
        options.signal?.addEventListener('abort', () => {
          child.kill();
          reject(asCanceled(options.signal as AbortSignal));
        });
        source.once('error', error => {
          child.kill();
          reject(error);
        });
      });
      source.pipe(child.stdin);
      const drained = [drain(child.stdout, options.onStdout), drain(child.stderr, options.onStderr)];
      for (const stream of drained) stream.catch(() => undefined);
      const [code, signal] = await Promise.race([once(child, 'close'), canceled]);
      await Promise.all(drained);
      return {code: code ?? undefined, signal: signal ?? undefined};
    },
    async output(argv, options): Promise<Output> {
      const stdout: Buffer[] = [];
      const stderr: Buffer[] = [];
      const exit = await session.run(argv, {
        ...options,
        onStdout: chunk => void stdout.push(chunk),
        onStderr: chunk => void stderr.push(chunk),
      });
      return {...exit, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString()};
    },
    put: () => Promise.reject(new Error('not used')),
    get: () => Promise.reject(new Error('not used')),
    close: async () => undefined,
  };
  return session;
}

async function drain(stream: Readable, handler: RunOptions['onStdout']): Promise<void> {
  for await (const chunk of stream) await handler?.(chunk as Buffer);
}
