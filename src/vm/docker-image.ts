import {LOADED_IMAGE_PREFIX, type LoadableImage} from '../base/docker.ts';
import {CanceledError, messageOf, UserError} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import {type DockerPorts, docker, tryDocker} from './find-docker.ts';

const REMOVE_TIMEOUT_MS = 30_000;

/** An image that docker has. */
export interface ImageInDocker {
  /** What to run. */
  readonly reference: string;
  /** Its name when it is there because of us: to be taken away again. */
  readonly loadedName?: string;
}

/** The name that an image has when we load it; the same for all jobs, so that the last of them takes it away. */
export function loadedName({id}: Pick<LoadableImage, 'id'>): string {
  return `${LOADED_IMAGE_PREFIX}${id.slice(id.indexOf(':') + 1)}`;
}

/**
 * Sees to it that docker has an image: one that is there already is used as it is, else it is streamed in from the store.
 * @throws UserError with docker's reason when it does not take it; CanceledError.
 */
export async function imageInDocker(
  ports: DockerPorts & {readonly emit: Emit},
  image: LoadableImage,
  signal: AbortSignal,
): Promise<ImageInDocker> {
  const name = loadedName(image);
  const names = await namesOf(ports, image.id, signal);
  if (names && !names.includes(name)) return {reference: image.id};
  // Engines with containerd's image store know images by their manifests' digests, and this one by its name.
  if (names || (await namesOf(ports, name, signal))) return {reference: name, loadedName: name};
  const onProgress = (sentBytes: number, totalBytes: number): void =>
    ports.emit({
      kind: 'progress',
      stage: 'vm',
      text: `loading the image into docker: ${Math.round((100 * sentBytes) / Math.max(1, totalBytes))} %`,
    });
  try {
    await ports.docker.load(image, name, {signal, onProgress});
  } catch (error) {
    if (error instanceof CanceledError || signal.aborted) throw error;
    throw new UserError(`docker does not take the image: ${messageOf(error)}`, {
      input: 'launcher',
      stage: 'vm',
      cause: error,
      hint: 'is there space where docker keeps its images? launcher: qemu needs no docker',
    });
  }
  return {reference: name, loadedName: name};
}

/** Names of an image in docker; undefined when it has no such image. */
async function namesOf(
  ports: DockerPorts,
  reference: string,
  signal: AbortSignal,
): Promise<readonly string[] | undefined> {
  const {code, stdout} = await docker(
    ports,
    ['image', 'inspect', '--format', '{{json .RepoTags}}', reference],
    signal,
  );
  if (code !== 0) return undefined;
  return (JSON.parse(stdout) as readonly string[] | null) ?? [];
}

/** Takes an image away that is there because of us, unless another job's container still uses it: the last one takes it away. */
export async function releaseImage(ports: DockerPorts, {loadedName}: ImageInDocker): Promise<void> {
  if (loadedName !== undefined) await tryDocker(ports, ['image', 'rm', loadedName], REMOVE_TIMEOUT_MS);
}
