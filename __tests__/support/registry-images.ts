import {execFileSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import zlib, {gzipSync} from 'node:zlib';
import tarStream, {type Header} from 'tar-stream';

/** Small images made here, and put into a registry by its own protocol, in every form there is. */
export interface Entry extends Partial<Header> {
  readonly name: string;
  readonly content?: Buffer | string;
}

export interface MadeLayer {
  readonly blob: Buffer;
  readonly digest: string;
  readonly diffId: string;
  readonly mediaType: string;
}

export const sha256 = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** Bytes that do not compress, the same for the same seed. */
export function noise(sizeBytes: number, seed = 'seed'): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 0; i * 64 < sizeBytes; i++) blocks.push(createHash('sha512').update(`${seed} ${i}`).digest());
  return Buffer.concat(blocks).subarray(0, sizeBytes);
}

async function makeTar(entries: readonly Entry[]): Promise<Buffer> {
  const pack = tarStream.pack();
  for (const {content, ...header} of entries) pack.entry(header, content ?? '');
  pack.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of pack) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function zstd(bytes: Buffer): Buffer {
  const {zstdCompressSync} = zlib as {zstdCompressSync?: (input: Buffer) => Buffer};
  return zstdCompressSync
    ? zstdCompressSync(bytes)
    : execFileSync('zstd', ['-cq'], {input: bytes, maxBuffer: 1024 ** 3});
}

export async function makeLayer(
  entries: readonly Entry[],
  compression: 'gzip' | 'zstd' | 'none' = 'gzip',
): Promise<MadeLayer> {
  const tar = await makeTar(entries);
  const blob = compression === 'gzip' ? gzipSync(tar) : compression === 'zstd' ? zstd(tar) : tar;
  const suffix = compression === 'none' ? '' : `+${compression}`;
  return {
    blob,
    digest: sha256(blob),
    diffId: sha256(tar),
    mediaType: `application/vnd.oci.image.layer.v1.tar${suffix}`,
  };
}

export interface MadeImage {
  readonly manifest: Buffer;
  readonly mediaType: string;
  readonly digest: string;
  readonly blobs: readonly Buffer[];
}

export function makeImage(
  layers: readonly MadeLayer[],
  options: {
    readonly form?: 'oci' | 'docker';
    readonly architecture?: string;
    readonly patch?: Record<string, unknown>;
  } = {},
): MadeImage {
  const {form = 'oci', architecture = 'amd64', patch = {}} = options;
  const config = Buffer.from(
    JSON.stringify({
      architecture,
      os: 'linux',
      rootfs: {type: 'layers', diff_ids: layers.map(l => l.diffId)},
    }),
  );
  const isOci = form === 'oci';
  const mediaType = isOci
    ? 'application/vnd.oci.image.manifest.v1+json'
    : 'application/vnd.docker.distribution.manifest.v2+json';
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: {
        mediaType: isOci
          ? 'application/vnd.oci.image.config.v1+json'
          : 'application/vnd.docker.container.image.v1+json',
        digest: sha256(config),
        size: config.length,
      },
      layers: layers.map(({digest, blob, mediaType: type}) => ({
        mediaType: isOci ? type : 'application/vnd.docker.image.rootfs.diff.tar.gzip',
        digest,
        size: blob.length,
      })),
      ...patch,
    }),
  );
  return {manifest, mediaType, digest: sha256(manifest), blobs: [config, ...layers.map(l => l.blob)]};
}

export function makeIndex(
  images: readonly {image: MadeImage; os?: string; architecture: string}[],
  form: 'oci' | 'docker' = 'oci',
): MadeImage {
  const mediaType =
    form === 'oci'
      ? 'application/vnd.oci.image.index.v1+json'
      : 'application/vnd.docker.distribution.manifest.list.v2+json';
  const manifests = images.map(({image, os = 'linux', architecture}) => ({
    mediaType: image.mediaType,
    digest: image.digest,
    size: image.manifest.length,
    platform: {os, architecture},
  }));
  const manifest = Buffer.from(JSON.stringify({schemaVersion: 2, mediaType, manifests}));
  return {manifest, mediaType, digest: sha256(manifest), blobs: []};
}

/** Puts an image there; `name` is a tag or the image's digest. @param base Such as `http://127.0.0.1:5000`. */
export async function pushImage(
  base: string,
  repository: string,
  name: string,
  image: MadeImage,
): Promise<void> {
  for (const blob of image.blobs) await pushBlob(base, repository, blob);
  const response = await fetch(`${base}/v2/${repository}/manifests/${name}`, {
    method: 'PUT',
    headers: {'content-type': image.mediaType},
    body: new Uint8Array(image.manifest),
  });
  if (!response.ok) throw new Error(`push of ${name}: ${response.status} ${await response.text()}`);
}

async function pushBlob(base: string, repository: string, blob: Buffer): Promise<void> {
  const started = await fetch(`${base}/v2/${repository}/blobs/uploads/`, {method: 'POST'});
  const location = new URL(started.headers.get('location') ?? '', base);
  location.searchParams.set('digest', sha256(blob));
  const ended = await fetch(location, {
    method: 'PUT',
    headers: {'content-type': 'application/octet-stream'},
    body: new Uint8Array(blob),
  });
  if (!ended.ok) throw new Error(`push of a blob: ${ended.status} ${await ended.text()}`);
}
