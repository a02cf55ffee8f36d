import type {Hasher} from '../base/http.ts';

/** A layer of up to this many compressed bytes is kept with the documents: one that only brings `/start.sh` has some hundred. */
export const SMALL_LAYER_BYTES = 64 * 1024;
/** More than the manifests, the config and the small layers of any image that is no attack. */
export const DOCUMENTS_LIMIT_BYTES = 16 * 1024 * 1024;

export type CreateHash = (algorithm: 'sha256' | 'sha512') => Hasher;

/** The small parts of an image, with which its disk is found and verified without its registry. */
export interface ImageDocuments {
  /** Index, manifest, config and small layers: digest → bytes. Always bytes of that digest. */
  readonly blobs: ReadonlyMap<string, Buffer>;
  /** The diffId of the layer that brings the disk, when this machine has found it out itself. */
  readonly diskLayer?: string | undefined;
}

const SCHEMA = 1;
const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** The digest of bytes, by the algorithm of another digest. */
export function digestOf(createHash: CreateHash, bytes: Uint8Array, like: string): string {
  const algorithm = like.startsWith('sha512:') ? 'sha512' : 'sha256';
  const hash = createHash(algorithm);
  hash.update(bytes);
  return `${algorithm}:${hash.hex()}`;
}

/** Documents as the text of one file. */
export function printDocuments({blobs, diskLayer}: ImageDocuments): string {
  const encoded = [...blobs].map(([digest, bytes]) => [digest, bytes.toString('base64')]);
  return JSON.stringify({schema: SCHEMA, diskLayer, blobs: Object.fromEntries(encoded)});
}

/**
 * Reads what `printDocuments` wrote, wherever it comes from: a blob whose bytes are not those of its digest is left out.
 * `diskLayer` can not be verified, so that it is only to be believed in a file of one's own.
 * @returns undefined when the text is no such file.
 */
export function parseDocuments(text: string, createHash: CreateHash): ImageDocuments | undefined {
  let value: {schema?: unknown; diskLayer?: unknown; blobs?: unknown} | null;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (value?.schema !== SCHEMA || typeof value.blobs !== 'object' || value.blobs === null) return undefined;
  const blobs = Object.entries(value.blobs).flatMap(([digest, encoded]: [string, unknown]) => {
    if (!DIGEST.test(digest) || typeof encoded !== 'string') return [];
    const bytes = Buffer.from(encoded, 'base64');
    return digestOf(createHash, bytes, digest) === digest ? [[digest, bytes] as const] : [];
  });
  const {diskLayer} = value;
  return {
    blobs: new Map(blobs),
    ...(typeof diskLayer === 'string' && DIGEST.test(diskLayer) && {diskLayer}),
  };
}
