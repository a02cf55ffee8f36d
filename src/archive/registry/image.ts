import type {ImageReference} from '../../base/image-reference.ts';
import {formatReference} from '../../base/image-reference.ts';
import type {ImageFile} from '../../base/ports.ts';
import {type Image, readLayout} from '../image.ts';
import {type BlobDescriptor, blobChunks, type PullProgress} from './blob.ts';
import {RegistryClient, type RegistryPorts} from './client.ts';
import {damaged, RegistryError} from './errors.ts';
import {DEFAULT_POLICY, type TransferPolicy} from './policy.ts';

const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const ACCEPT = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(', ');
const CONFIGS = [
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
];
/** The distribution spec lets registries refuse manifests over 4 MiB. */
const JSON_LIMIT_BYTES = 4 * 1024 * 1024;

export interface PullOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: PullProgress) => void;
  readonly policy?: Partial<TransferPolicy>;
}

export interface RegistryImage {
  /** Its layers are downloaded when they are opened, and fail when their bytes are not those of their digests. */
  readonly image: Image;
  /** Of what the tag named: an index or a manifest. */
  readonly digest: string;
  readonly reference: ImageReference;
}

interface Manifest {
  readonly schemaVersion?: number;
  readonly mediaType?: string;
  readonly config?: {readonly mediaType?: string; readonly digest?: string; readonly size?: number};
  readonly layers?: readonly {readonly digest?: string; readonly size?: number}[];
  readonly manifests?: readonly {readonly digest?: string}[];
}

/**
 * Looks up what a reference names and reads manifest and config; of an index, the image for linux/amd64.
 * @throws RegistryError when this registry does not give it; `UserError` when it is for another architecture.
 */
export async function resolveRegistryImage(
  ports: RegistryPorts,
  reference: ImageReference,
  options: PullOptions,
): Promise<RegistryImage> {
  const client = new RegistryClient(ports, reference, {...DEFAULT_POLICY, ...options.policy});
  const reader = new ManifestReader(client, options);
  const root = await reader.readRoot();
  const image = await readLayout(reader.asLayout(root), formatReference(reference), undefined);
  return {
    image: {
      ...image,
      layers: image.layers.map(layer => ({...layer, verified: true})),
      names: [formatReference(reference)],
    },
    digest: root.digest,
    reference: {...reference, digest: root.digest},
  };
}

/** The digest of what a reference names now. @throws RegistryError */
export async function resolveDigest(
  ports: RegistryPorts,
  reference: ImageReference,
  options: PullOptions,
): Promise<string> {
  const client = new RegistryClient(ports, reference, {...DEFAULT_POLICY, ...options.policy});
  return (await new ManifestReader(client, options).readRoot()).digest;
}

interface Root {
  readonly digest: string;
  readonly isIndex: boolean;
}

/** Reads a registry's manifests as if they lay in an OCI image layout, so that there is one place that picks an image. */
class ManifestReader {
  readonly #client: RegistryClient;
  readonly #options: PullOptions;
  readonly #manifests = new Map<string, Manifest>();
  /** Descriptors of all blobs that the manifests read so far name. */
  readonly #sizes = new Map<string, number>();

  constructor(client: RegistryClient, options: PullOptions) {
    this.#client = client;
    this.#options = options;
  }

  /** The manifest or index that the reference names; whatever its tag does afterwards, this stays what is read. */
  async readRoot(): Promise<Root> {
    const {digest, tag} = this.#client.reference;
    const read = await this.#readManifest(digest ?? tag ?? 'latest', digest);
    return {digest: read.digest, isIndex: read.manifest.manifests !== undefined};
  }

  asLayout({digest, isIndex}: Root): ImageFile {
    return {
      readJson: async name => {
        if (name === 'index.json') {
          return {manifests: [{mediaType: isIndex ? OCI_INDEX : OCI_MANIFEST, digest}]};
        }
        const wanted = name.replace(/^blobs\//, '').replace('/', ':');
        return this.#sizes.has(wanted) ? this.#readBlob(wanted) : this.#manifest(wanted);
      },
      open: async name => {
        const wanted = name.replace(/^blobs\//, '').replace('/', ':');
        const {signal, onProgress} = this.#options;
        const blob = this.#descriptor(wanted);
        return this.#client.ports.registry.toStream(closed =>
          blobChunks(this.#client, blob, AbortSignal.any([signal, closed]), onProgress),
        );
      },
    };
  }

  async #manifest(digest: string): Promise<Manifest> {
    return this.#manifests.get(digest) ?? (await this.#readManifest(digest, digest)).manifest;
  }

  async #readManifest(
    name: string,
    expected: string | undefined,
  ): Promise<{manifest: Manifest; digest: string}> {
    const {signal} = this.#options;
    const {bytes, headers} = await this.#client.fetch(`manifests/${name}`, JSON_LIMIT_BYTES, {
      accept: ACCEPT,
      signal,
    });
    const digest = this.#digestOf(bytes, expected ?? 'sha256:');
    if (expected !== undefined && digest !== expected) {
      throw damaged(this.#client.reference, `the manifest ${expected} has the digest ${digest}`);
    }
    const manifest = this.#checked(this.#parse(bytes, 'the manifest'), headers['content-type'] ?? '');
    for (const blob of [...(manifest.layers ?? []), ...(manifest.config ? [manifest.config] : [])]) {
      if (blob.digest !== undefined) this.#sizes.set(blob.digest, blob.size ?? Number.NaN);
    }
    this.#manifests.set(digest, manifest);
    return {manifest, digest};
  }

  #checked(manifest: Manifest, contentType: string): Manifest {
    if (manifest.manifests !== undefined) return manifest;
    if (manifest.schemaVersion === 1) {
      throw this.#unusable(
        'is stored in the image format of before 2016 (schema 1)',
        'push it again with a newer docker',
      );
    }
    const kind = manifest.config?.mediaType;
    if (manifest.config && manifest.layers && (kind === undefined || CONFIGS.includes(kind))) return manifest;
    throw this.#unusable(
      `is no container image but ${JSON.stringify(kind ?? manifest.mediaType ?? contentType)}`,
      'name the image of a BuildKit archive',
    );
  }

  async #readBlob(digest: string): Promise<unknown> {
    const {signal} = this.#options;
    const {bytes} = await this.#client.fetch(`blobs/${digest}`, JSON_LIMIT_BYTES, {signal});
    const found = this.#digestOf(bytes, digest);
    if (found !== digest) {
      throw damaged(this.#client.reference, `the config ${digest} has the digest ${found}`);
    }
    return this.#parse(bytes, 'the config');
  }

  #descriptor(digest: string): BlobDescriptor {
    const sizeBytes = this.#sizes.get(digest) ?? Number.NaN;
    if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0) return {digest, sizeBytes};
    throw damaged(this.#client.reference, `its manifest gives no size for ${digest}`);
  }

  #digestOf(bytes: Buffer, like: string): string {
    const algorithm = like.startsWith('sha512:') ? 'sha512' : 'sha256';
    const hash = this.#client.ports.registry.createHash(algorithm);
    hash.update(bytes);
    return `${algorithm}:${hash.hex()}`;
  }

  #parse(bytes: Buffer, what: string): Manifest {
    try {
      const value: unknown = JSON.parse(bytes.toString('utf8'));
      if (typeof value === 'object' && value !== null) return value;
      throw new Error('it is no object');
    } catch (cause) {
      throw damaged(this.#client.reference, `${what} is no JSON`, cause);
    }
  }

  #unusable(what: string, hint: string): RegistryError {
    return new RegistryError(`${formatReference(this.#client.reference)} ${what}`, {hint});
  }
}
