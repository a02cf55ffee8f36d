import type {Readable} from 'node:stream';
import type {TarFrames} from '../base/cache.ts';
import type {LoadableImage, LoadableLayer} from '../base/docker.ts';
import {DamagedError, UserError} from '../base/errors.ts';
import type {RegistryTools} from '../base/http.ts';
import type {Files, Images, LayerBlob} from '../base/ports.ts';
import {FRAME_SUFFIX} from '../base/store.ts';
import type {ConfigBlob, Image} from './image.ts';
import type {GetOptions, Store} from './store.ts';

export interface DockerImagePorts {
  readonly files: Files;
  readonly images: Images;
  readonly frames: TarFrames;
  readonly createHash: RegistryTools['createHash'];
}

/** The disk that was taken out of one of the image's layers. */
export interface TakenDisk {
  readonly path: string;
  /** Of its layer. */
  readonly diffId: string;
}

const CONFIG_LIMIT_BYTES = 4 * 1024 * 1024;

/**
 * An image for `docker load`, from the store: the disk's layer is put together again from the disk, and the others are kept as tars, so that nothing is
 * fetched twice and the disk is not kept twice.
 * @throws UserError when a layer or the config is damaged or cannot be had; CanceledError.
 */
export async function dockerImage(
  ports: DockerImagePorts,
  store: Store,
  image: Image,
  disk: TakenDisk,
  options: GetOptions & {readonly signal: AbortSignal},
): Promise<LoadableImage> {
  const config = await readConfig(image.config);
  const id = `sha256:${hexDigest(ports.createHash, config)}`;
  const {digest} = image.config;
  if (digest?.startsWith('sha256:') && digest !== id) {
    throw new DamagedError(`the image's config is damaged: its digest is ${id}, not ${digest}`, {
      input: 'archive',
      stage: 'archive',
      hint: 'get the image again',
    });
  }
  const layers: LoadableLayer[] = [];
  for (const layer of image.layers) {
    const rebuilt = layer.diffId === disk.diffId ? await fromDisk(ports, disk) : undefined;
    layers.push(rebuilt ?? (await fromStore(ports, store, layer, options)));
  }
  return {id, config, layers};
}

/** Undefined when the store has no frame for the disk: its layer holds too much beside it. */
async function fromDisk(
  {files, frames}: DockerImagePorts,
  {path, diffId}: TakenDisk,
): Promise<LoadableLayer | undefined> {
  const framePath = `${path}${FRAME_SUFFIX}`;
  if (!(await files.exists(framePath))) return undefined;
  const {sizeBytes, open} = await frames.tar(framePath, path);
  return {diffId, sizeBytes, open: async () => open()};
}

async function fromStore(
  {files, images}: DockerImagePorts,
  store: Store,
  layer: LayerBlob,
  options: GetOptions & {readonly signal: AbortSignal},
): Promise<LoadableLayer> {
  const {diffId} = layer;
  const make = async (dest: string) => {
    const sizeBytes = await images.writeTar(layer, dest, options.signal);
    // The tar's digest is what it is named by.
    return diffId.startsWith('sha256:') ? {sizeBytes, contentDigest: diffId} : undefined;
  };
  const {path} = await store.getOrMake({kind: 'layers', digest: diffId}, make, options);
  const sizeBytes = (await files.size(path)) ?? 0;
  return {diffId, sizeBytes, open: async () => files.openRead(path)};
}

async function readConfig(blob: ConfigBlob): Promise<Buffer> {
  const stream: Readable = await blob.open();
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of stream) {
    sizeBytes += (chunk as Buffer).length;
    if (sizeBytes > CONFIG_LIMIT_BYTES) {
      throw new UserError(`the image's config is larger than ${CONFIG_LIMIT_BYTES} bytes`, {
        input: 'archive',
        stage: 'archive',
        hint: 'use an image that was made by docker, buildah or a similar tool',
      });
    }
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

function hexDigest(createHash: RegistryTools['createHash'], bytes: Buffer): string {
  const hash = createHash('sha256');
  hash.update(bytes);
  return hash.hex();
}
