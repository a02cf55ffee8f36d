import type {ImageReference} from '../../base/image-reference.ts';
import {formatReference} from '../../base/image-reference.ts';
import type {ImageFile} from '../../base/ports.ts';
import {digestOf, type ImageDocuments, SMALL_LAYER_BYTES} from '../documents.ts';
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
  /**
   * Documents that are known of the image whose manifest or index has a digest: what they hold is not asked for.
   * @param isPinned the reference has this digest, so that nothing was asked for yet.
   */
  readonly known?: (digest: string, isPinned: boolean) => Promise<ImageDocuments | undefined>;
}

export interface RegistryImage {
  /** Its layers are downloaded when they are opened, and fail when their bytes are not those of their digests. */
  readonly image: Image;
  /** Of what the tag named: an index or a manifest. */
  readonly digest: string;
  readonly reference: ImageReference;
  /** All that was read of it but large layers, until now. */
  readonly documents: ImageDocuments;
}

interface Manifest {
  readonly schemaVersion?: number;
  readonly mediaType?: string;
  readonly config?: {readonly mediaType?: string; readonly digest?: string; readonly size?: number};
  readonly layers?: readonly {readonly digest?: string; readonly size?: number}[];
  readonly manifests?: readonly {readonly digest?: string}[];
}

/**
 * Looks up what a reference names and reads manifest and config; of an index, the image for linux/amd64. A registry is asked only for what is not known.
 * @throws RegistryError when this registry does not give it; `UserError` when it is for another architecture.
 */
export async function resolveRegistryImage(
  ports: RegistryPorts,
  reference: ImageReference,
  options: PullOptions,
): Promise<RegistryImage> {
  const client = new RegistryClient(ports, reference, {...DEFAULT_POLICY, ...options.policy});
  const reader = new ManifestReader(client, options);
  if (reference.digest !== undefined) await reader.recall(reference.digest, true);
  const root = await reader.readRoot();
  if (reference.digest === undefined) await reader.recall(root.digest, false);
  const image = await readLayout(reader.asLayout(root), formatReference(reference), undefined);
  return {
    image: {
      ...image,
      layers: image.layers.map(layer => ({...layer, verified: true})),
      names: [formatReference(reference)],
    },
    digest: root.digest,
    reference: {...reference, digest: root.digest},
    documents: reader.documents,
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
  /** What was read. */
  readonly #blobs = new Map<string, Buffer>();
  /** What need not be asked for. */
  #known: ImageDocuments = {blobs: new Map()};

  constructor(client: RegistryClient, options: PullOptions) {
    this.#client = client;
    this.#options = options;
  }

  /** The manifests, configs and small layers that are read, growing. */
  get documents(): ImageDocuments {
    return {blobs: this.#blobs, diskLayer: this.#known.diskLayer};
  }

  /** Looks for what is known of an image. */
  async recall(digest: string, isPinned: boolean): Promise<void> {
    this.#known = (await this.#options.known?.(digest, isPinned)) ?? this.#known;
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
        return this.#sizes.has(wanted) ? this.#readConfig(wanted) : this.#manifest(wanted);
      },
      open: async name => {
        const wanted = name.replace(/^blobs\//, '').replace('/', ':');
        const {signal, onProgress} = this.#options;
        const blob = this.#descriptor(wanted);
        return this.#client.ports.registry.toStream(closed =>
          blob.sizeBytes <= SMALL_LAYER_BYTES || this.#held(wanted)
            ? this.#smallBlob(blob)
            : blobChunks(this.#client, blob, AbortSignal.any([signal, closed]), onProgress),
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
    const known = expected === undefined ? undefined : this.#known.blobs.get(expected);
    const {bytes, headers} = known
      ? {bytes: known, headers: {}}
      : await this.#client.fetch(`manifests/${name}`, JSON_LIMIT_BYTES, {accept: ACCEPT, signal});
    const digest = digestOf(this.#client.ports.registry.createHash, bytes, expected ?? 'sha256:');
    if (expected !== undefined && digest !== expected) {
      throw damaged(this.#client.reference, `the manifest ${expected} has the digest ${digest}`);
    }
    const manifest = this.#checked(this.#parse(bytes, 'the manifest'), headers['content-type'] ?? '');
    for (const blob of [...(manifest.layers ?? []), ...(manifest.config ? [manifest.config] : [])]) {
      if (blob.digest !== undefined) this.#sizes.set(blob.digest, blob.size ?? Number.NaN);
    }
    this.#manifests.set(digest, manifest);
    this.#blobs.set(digest, bytes);
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

  async #readConfig(digest: string): Promise<unknown> {
    return this.#parse(await this.#readBlob(digest, JSON_LIMIT_BYTES, 'the config'), 'the config');
  }

  async *#smallBlob({digest, sizeBytes}: BlobDescriptor): AsyncGenerator<Buffer, void, undefined> {
    const bytes = await this.#readBlob(digest, sizeBytes, 'the layer');
    this.#options.onProgress?.({digest, receivedBytes: bytes.length, totalBytes: sizeBytes});
    yield bytes;
  }

  /** A blob that fits into memory, verified and kept. */
  async #readBlob(digest: string, limitBytes: number, what: string): Promise<Buffer> {
    const bytes = this.#held(digest) ?? (await this.#fetchBlob(digest, limitBytes, what));
    this.#blobs.set(digest, bytes);
    return bytes;
  }

  #held(digest: string): Buffer | undefined {
    return this.#blobs.get(digest) ?? this.#known.blobs.get(digest);
  }

  async #fetchBlob(digest: string, limitBytes: number, what: string): Promise<Buffer> {
    const {signal} = this.#options;
    const {bytes} = await this.#client.fetch(`blobs/${digest}`, limitBytes, {signal});
    const found = digestOf(this.#client.ports.registry.createHash, bytes, digest);
    if (found === digest) return bytes;
    throw damaged(this.#client.reference, `${what} ${digest} has the digest ${found}`);
  }

  #descriptor(digest: string): BlobDescriptor {
    const sizeBytes = this.#sizes.get(digest) ?? Number.NaN;
    if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0) return {digest, sizeBytes};
    throw damaged(this.#client.reference, `its manifest gives no size for ${digest}`);
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
