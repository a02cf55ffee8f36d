import {createHash} from 'node:crypto';
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {gzipSync} from 'node:zlib';
import tarStream, {type Header} from 'tar-stream';

/** Small qcow2 images and container images, made here byte by byte, with the damage a test asks for. */

const CLUSTER_BYTES = 65_536;

export interface Qcow2Options {
  readonly version?: number;
  readonly backingFile?: string;
  readonly features?: bigint;
  readonly encryption?: number;
  /** Cuts the file to this many bytes. */
  readonly truncateBytes?: number;
}

/** A qcow2 of 1 MiB with one data cluster: header, L1 table, L2 table, data, a cluster each. */
export function qcow2(options: Qcow2Options = {}): Buffer {
  const image = Buffer.alloc(4 * CLUSTER_BYTES);
  image.writeUInt32BE(0x514649fb, 0);
  image.writeUInt32BE(options.version ?? 3, 4);
  if (options.backingFile) {
    image.writeBigUInt64BE(512n, 8);
    image.writeUInt32BE(options.backingFile.length, 16);
    image.write(options.backingFile, 512);
  }
  image.writeUInt32BE(16, 20);
  image.writeBigUInt64BE(1024n * 1024n, 24);
  image.writeUInt32BE(options.encryption ?? 0, 32);
  image.writeUInt32BE(1, 36);
  image.writeBigUInt64BE(BigInt(CLUSTER_BYTES), 40);
  image.writeBigUInt64BE(options.features ?? 0n, 72);
  image.writeUInt32BE(104, 100);
  image.writeBigUInt64BE((1n << 63n) | BigInt(2 * CLUSTER_BYTES), CLUSTER_BYTES);
  image.writeBigUInt64BE((1n << 63n) | BigInt(3 * CLUSTER_BYTES), 2 * CLUSTER_BYTES);
  image.write('data', 3 * CLUSTER_BYTES);
  return image.subarray(0, options.truncateBytes ?? image.length);
}

export type Entry = Partial<Header> & {readonly name: string; readonly content?: Buffer | string};

export async function tar(entries: readonly Entry[]): Promise<Buffer> {
  const pack = tarStream.pack();
  for (const {content, ...header} of entries) pack.entry(header as Header, (content ?? '') as string);
  pack.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of pack) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

export const sha256 = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

export interface LayoutOptions {
  readonly architecture?: string;
  readonly tags?: readonly string[];
  /** Changes a blob after its digest was taken. */
  readonly damage?: boolean;
  readonly platform?: {readonly os: string; readonly architecture: string};
}

/** Writes an OCI image layout whose layers have these entries, lowest first. */
export async function writeLayout(
  dir: string,
  layers: readonly (readonly Entry[])[],
  options: LayoutOptions = {},
): Promise<void> {
  const blobs = join(dir, 'blobs/sha256');
  mkdirSync(blobs, {recursive: true});
  const put = (bytes: Buffer, damaged = false): {digest: string; size: number} => {
    const digest = sha256(bytes);
    const stored = damaged ? gzipSync(Buffer.from('something else')) : bytes;
    writeFileSync(join(blobs, digest.slice(7)), stored);
    return {digest, size: bytes.length};
  };
  const tars = await Promise.all(layers.map(tar));
  const descriptors = tars.map(bytes => ({
    mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
    ...put(gzipSync(bytes), options.damage),
  }));
  const config = put(
    Buffer.from(
      JSON.stringify({
        os: 'linux',
        architecture: options.architecture ?? 'amd64',
        rootfs: {type: 'layers', diff_ids: tars.map(sha256)},
      }),
    ),
  );
  const manifest = put(Buffer.from(JSON.stringify({schemaVersion: 2, config, layers: descriptors})));
  const manifests = (options.tags ?? ['buildkit-v0.20.2']).map(tag => ({
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    ...manifest,
    ...(options.platform && {platform: options.platform}),
    annotations: {'org.opencontainers.image.ref.name': tag},
  }));
  writeFileSync(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(dir, 'index.json'), JSON.stringify({schemaVersion: 2, manifests}));
}

/** Writes what `docker save` writes: manifest.json, the config, and uncompressed layers. */
export async function writeDockerArchive(
  path: string,
  layers: readonly (readonly Entry[])[],
  tags: readonly string[],
): Promise<void> {
  const tars = await Promise.all(layers.map(tar));
  const config = JSON.stringify({
    os: 'linux',
    architecture: 'amd64',
    rootfs: {type: 'layers', diff_ids: tars.map(sha256)},
  });
  const manifest = JSON.stringify([
    {Config: 'config.json', RepoTags: tags, Layers: tars.map((_, i) => `layer${i}/layer.tar`)},
  ]);
  writeFileSync(
    path,
    await tar([
      ...tars.map((content, i) => ({name: `layer${i}/layer.tar`, content})),
      {name: 'config.json', content: config},
      {name: 'manifest.json', content: manifest},
    ]),
  );
}
