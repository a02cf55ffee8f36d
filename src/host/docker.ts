import {spawn} from 'node:child_process';
import type {Writable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import tarStream from 'tar-stream';
import type {Docker, LoadableImage, LoadOptions} from '../base/docker.ts';
import {CanceledError, messageOf} from '../base/errors.ts';
import type {CommandLine} from '../base/ports.ts';
import {childEnvironment, findProgram} from './processes.ts';

/** What the docker client reads (docker's manual, "docker" CLI reference, Environment variables), and what its SSH connections need. */
const CLIENT_VARIABLES = [
  ...[
    'DOCKER_HOST',
    'DOCKER_CONTEXT',
    'DOCKER_CONFIG',
    'DOCKER_TLS',
    'DOCKER_TLS_VERIFY',
    'DOCKER_CERT_PATH',
  ],
  ...['DOCKER_API_VERSION', 'SSH_AUTH_SOCK'],
];
const STDERR_TAIL_BYTES = 4 * 1024;
const CHUNK_BYTES = 1024 * 1024;

/** The docker client that is on PATH. */
export function localDocker(env: NodeJS.ProcessEnv): Docker {
  return {
    command: args => dockerCommand(env, args),
    load: async (image, name, options) => {
      const command = await dockerCommand(env, ['load', '--quiet']);
      if (!command) throw new Error('there is no docker on PATH');
      await feed(command, stream => writeImage(stream, image, name, options), options.signal);
    },
  };
}

async function dockerCommand(
  env: NodeJS.ProcessEnv,
  args: readonly string[],
): Promise<CommandLine | undefined> {
  const file = await findProgram('docker');
  if (file === undefined) return undefined;
  const set = CLIENT_VARIABLES.flatMap(name => (env[name] === undefined ? [] : [[name, env[name]]]));
  return {file, args, env: Object.fromEntries(set)};
}

/** Runs a command whose standard input `write` writes. @throws with the command's last words when it fails. */
async function feed(
  command: CommandLine,
  write: (stdin: Writable) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const child = spawn(command.file, command.args, {
    stdio: ['pipe', 'ignore', 'pipe'],
    env: {...childEnvironment(), ...command.env},
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_TAIL_BYTES);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const onAbort = (): boolean => child.kill('SIGTERM');
  signal.addEventListener('abort', onAbort, {once: true});
  try {
    // A docker that gives up early says why; the broken pipe is only its consequence.
    const written = write(child.stdin).then(
      () => undefined,
      (error: unknown) => {
        child.stdin.destroy();
        return {error};
      },
    );
    const [code, failure] = await Promise.all([ended, written]);
    if (signal.aborted) throw new CanceledError();
    if (code !== 0) throw new Error(stderr.trim() || `docker load ended with exit status ${code}`);
    if (failure) throw failure.error;
  } finally {
    signal.removeEventListener('abort', onAbort);
    child.kill('SIGKILL');
  }
}

/**
 * Writes what `docker save` writes (Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset Format"), which every docker reads; an
 * OCI layout is read from 25.0 on.
 */
export async function writeImage(
  stream: Writable,
  image: LoadableImage,
  name: string,
  {signal, onProgress}: LoadOptions,
): Promise<void> {
  const configName = `${hex(image.id)}.json`;
  const layers = [...new Map(image.layers.map(layer => [layer.diffId, layer])).values()];
  const totalBytes = layers.reduce((sum, {sizeBytes}) => sum + sizeBytes, 0);
  const manifest = [
    {Config: configName, RepoTags: [name], Layers: image.layers.map(({diffId}) => layerName(diffId))},
  ];
  const pack = tarStream.pack({highWaterMark: CHUNK_BYTES});
  const sent = pipeline(pack, stream, {signal});
  sent.catch(error => pack.destroy(error));
  const entries = (async () => {
    pack.entry({name: configName}, image.config);
    let sentBytes = 0;
    for (const layer of layers) {
      const body = await layer.open();
      body.on('data', (chunk: Buffer) => {
        sentBytes += chunk.length;
        onProgress?.(sentBytes, totalBytes);
      });
      await pipeline(body, pack.entry({name: layerName(layer.diffId), size: layer.sizeBytes}), {signal});
    }
    pack.entry({name: 'manifest.json'}, JSON.stringify(manifest));
    pack.finalize();
  })();
  entries.catch(error => pack.destroy(error instanceof Error ? error : new Error(messageOf(error))));
  await Promise.all([entries, sent]);
}

function layerName(diffId: string): string {
  return `${hex(diffId)}.tar`;
}

function hex(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1);
}
