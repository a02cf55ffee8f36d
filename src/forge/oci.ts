import {createHash} from 'node:crypto';

/**
 * The documents of an OCI image layout with one image. Sources: OCI Image Format Specification 1.0
 * (image-layout.md, config.md, manifest.md, annotations.md).
 */
export interface Layer {
  /** SHA-256 of the compressed blob, hex. */
  readonly digestHex: string;
  readonly sizeBytes: number;
  /** SHA-256 of the uncompressed tar, hex. */
  readonly diffIdHex: string;
  readonly comment: string;
}

export interface ImageRequest {
  readonly layers: readonly Layer[];
  readonly created: Date;
  readonly labels: Readonly<Record<string, string>>;
  /** `org.opencontainers.image.ref.name` in the index. */
  readonly tag: string;
}

export interface Document {
  readonly bytes: Buffer;
  readonly digestHex: string;
}

export interface ImageDocuments {
  readonly layout: Buffer;
  readonly index: Buffer;
  readonly manifest: Document;
  readonly config: Document;
}

const TYPES = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
} as const;

const PLATFORM = {architecture: 'amd64', os: 'linux'} as const;

/** All JSON documents of the layout; the layers' blobs are the caller's. */
export function imageDocuments(request: ImageRequest): ImageDocuments {
  const config = document(configOf(request));
  const manifest = document({
    schemaVersion: 2,
    mediaType: TYPES.manifest,
    config: descriptor(TYPES.config, config),
    layers: request.layers.map(layer => ({
      mediaType: TYPES.layer,
      digest: `sha256:${layer.digestHex}`,
      size: layer.sizeBytes,
    })),
    annotations: request.labels,
  });
  const index = {
    schemaVersion: 2,
    mediaType: TYPES.index,
    manifests: [
      {
        ...descriptor(TYPES.manifest, manifest),
        platform: PLATFORM,
        annotations: {'org.opencontainers.image.ref.name': request.tag},
      },
    ],
  };
  return {
    layout: Buffer.from(JSON.stringify({imageLayoutVersion: '1.0.0'})),
    index: Buffer.from(JSON.stringify(index)),
    manifest,
    config,
  };
}

function configOf(request: ImageRequest): object {
  const created = request.created.toISOString();
  return {
    created,
    ...PLATFORM,
    config: {
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      Entrypoint: ['/start.sh'],
      WorkingDir: '/',
      ExposedPorts: {'22/tcp': {}},
      Labels: request.labels,
    },
    rootfs: {type: 'layers', diff_ids: request.layers.map(layer => `sha256:${layer.diffIdHex}`)},
    history: request.layers.map(layer => ({
      created,
      created_by: 'buildkit-archive forge',
      comment: layer.comment,
    })),
  };
}

function document(value: object): Document {
  const bytes = Buffer.from(JSON.stringify(value));
  return {bytes, digestHex: createHash('sha256').update(bytes).digest('hex')};
}

function descriptor(mediaType: string, of: Document): {mediaType: string; digest: string; size: number} {
  return {mediaType, digest: `sha256:${of.digestHex}`, size: of.bytes.length};
}

/** A tag as registries take it; `undefined` when `name` is none. Source: OCI Distribution Specification, "tag". */
export function asTag(name: string): string | undefined {
  return /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/.test(name) ? name : undefined;
}
