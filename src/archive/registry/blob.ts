import {formatReference} from '../../base/image-reference.ts';
import type {RegistryClient} from './client.ts';
import {damaged, RegistryError} from './errors.ts';

export interface BlobDescriptor {
  /** `sha256:…` or `sha512:…`. */
  readonly digest: string;
  readonly sizeBytes: number;
}

/** Told with each piece of a layer that has come. */
export interface PullProgress {
  readonly digest: string;
  readonly receivedBytes: number;
  readonly totalBytes: number;
}

/**
 * The bytes of a blob in order, each once: a broken or stalled connection is taken up where it was (RFC 9110, 14.2).
 * @throws RegistryError when it cannot be had, and at the end when the bytes are not those of the digest.
 */
export async function* blobChunks(
  client: RegistryClient,
  {digest, sizeBytes}: BlobDescriptor,
  signal: AbortSignal,
  onProgress: (progress: PullProgress) => void = () => undefined,
): AsyncGenerator<Buffer, void, undefined> {
  const [algorithm = '', expected = ''] = digest.split(':');
  const hash = client.ports.registry.createHash(algorithm === 'sha512' ? 'sha512' : 'sha256');
  let offset = 0;
  let failures = 0;
  for (let connections = 1; ; connections++) {
    try {
      for await (const chunk of rest(client, digest, offset, signal)) {
        if (offset + chunk.length > sizeBytes) {
          throw damaged(client.reference, `${digest} is longer than its ${sizeBytes} bytes`);
        }
        hash.update(chunk);
        offset += chunk.length;
        failures = 0;
        onProgress({digest, receivedBytes: offset, totalBytes: sizeBytes});
        yield chunk;
      }
      if (offset >= sizeBytes) break;
      throw new RegistryError(`${formatReference(client.reference)}: the transfer ended early`, {
        hint: 'run again, or name another source with "registries"',
        passing: true,
      });
    } catch (thrown) {
      const error = client.asRegistryError(thrown);
      failures++;
      if (failures >= client.policy.attempts || connections >= client.policy.maxConnections) {
        throw givenUp(error, digest, offset, sizeBytes, failures);
      }
      await client.pause(error, failures, signal);
    }
  }
  const found = hash.hex();
  if (found !== expected) {
    throw damaged(client.reference, `the bytes of ${digest} have the digest ${algorithm}:${found}`);
  }
}

/** One connection's worth of a blob from `offset` on. */
async function* rest(
  client: RegistryClient,
  digest: string,
  offset: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const response = await client.open(`blobs/${digest}`, {fromByte: offset, signal});
  // A server may ignore the range and begin anew.
  let skip = response.status === 206 ? 0 : offset;
  const range = response.headers['content-range'];
  if (response.status === 206 && !range?.startsWith(`bytes ${offset}-`)) {
    response.body.destroy();
    throw damaged(client.reference, `asked for ${digest} from byte ${offset}, got ${JSON.stringify(range)}`);
  }
  for await (const chunk of client.chunks(response.body, signal)) {
    const kept = chunk.subarray(Math.min(skip, chunk.length));
    skip -= chunk.length - kept.length;
    if (kept.length > 0) yield kept;
  }
}

function givenUp(error: unknown, digest: string, offset: number, sizeBytes: number, tries: number): unknown {
  if (!(error instanceof RegistryError) || !error.passing) return error;
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
  return new RegistryError(
    `${error.message}, at ${megabytes(offset)} of ${megabytes(sizeBytes)} MB of ${digest}, ${tries} times without progress`,
    {hint: error.hint ?? '', cause: error, ...(error.status !== undefined && {status: error.status})},
  );
}
