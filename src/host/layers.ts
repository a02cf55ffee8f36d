import {createHash, type Hash} from 'node:crypto';
import {PassThrough, Readable, type Transform} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import tarStream, {type Header} from 'tar-stream';
import {asCanceled, DamagedError, messageOf, UserError} from '../base/errors.ts';
import type {LayerBlob} from '../base/ports.ts';
import {decompressed} from './blobs.ts';
import {checkGrowth, LAYER_LIMITS, type LayerLimits} from './layer-limits.ts';

/**
 * Takes one entry; what it leaves of the body is skipped. Whoever pipes the body on does it with `stop`, which is aborted when the layer breaks: the body
 * may be gone by then, and a pipeline that begins at a stream of tar-stream's that is gone waits for ever.
 */
export type EntryHandler = (header: Header, body: Readable, stop: AbortSignal) => Promise<void>;

/**
 * Hands over every entry of a layer in order while it is read, and fails at the end when the bytes are not those of its digests.
 * @throws UserError when the layer is damaged or unpacks to too much; `CanceledError` when `signal` is aborted.
 */
export async function readLayer(
  layer: LayerBlob,
  onEntry: EntryHandler,
  signal: AbortSignal,
  options: {
    readonly limits?: LayerLimits /** Sees the uncompressed tar on its way. */;
    readonly tap?: Transform;
  } = {},
): Promise<void> {
  const {limits = LAYER_LIMITS, tap = new PassThrough()} = options;
  if (signal.aborted) throw asCanceled(signal);
  const source = await layer.open();
  const extract = tarStream.extract();
  // The first error at either end is the cause of all others.
  let cause: {readonly error: unknown} | undefined;
  const first = (error: unknown): void => {
    cause ??= {error};
  };
  source.once('error', first);
  const stop = new AbortController();
  const entries = (async () => {
    for await (const entry of extract) {
      await onEntry(entry.header, entry as unknown as Readable, stop.signal).catch(error => {
        if (!stop.signal.aborted) first(error);
        throw error;
      });
      entry.resume();
    }
  })();
  try {
    const tar = Readable.from(verifiedTar(layer, source, limits));
    const piped = pipeline(tar, tap, extract, {signal}).catch(error => {
      stop.abort();
      throw error;
    });
    const ends = await Promise.allSettled([piped, entries]);
    if (signal.aborted) throw asCanceled(signal);
    if (cause) throw cause.error;
    for (const end of ends) if (end.status === 'rejected') throw unreadable(end.reason);
  } finally {
    source.destroy();
  }
}

/**
 * The uncompressed tar of a layer; fails at its end when the bytes are not those of the digests.
 * @throws like `readLayer`, while it is read.
 */
export async function* layerTar(
  layer: LayerBlob,
  limits: LayerLimits = LAYER_LIMITS,
): AsyncGenerator<Buffer, void, undefined> {
  const source = await layer.open();
  try {
    yield* verifiedTar(layer, source, limits);
  } catch (error) {
    throw unreadable(error);
  } finally {
    source.destroy();
  }
}

/** An error of gzip, zstd or tar: said in terms of the layer. */
function unreadable(error: unknown): unknown {
  if (error instanceof UserError) return error;
  return new DamagedError(`the layer cannot be unpacked: ${messageOf(error)}`, {
    input: 'archive',
    stage: 'archive',
    cause: error,
    hint: 'get the image again',
  });
}

async function* verifiedTar(
  layer: LayerBlob,
  source: Readable,
  limits: LayerLimits,
): AsyncGenerator<Buffer, void, undefined> {
  const blobHash = layer.verified ? undefined : hashFor(layer.digest);
  const tarHash = hashFor(layer.diffId);
  let packedBytes = 0;
  let unpackedBytes = 0;
  const packed = async function* (): AsyncGenerator<Buffer, void, undefined> {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      packedBytes += chunk.length;
      blobHash?.update(chunk);
      yield chunk;
    }
  };
  for await (const chunk of decompressed(packed())) {
    unpackedBytes += chunk.length;
    checkGrowth(unpackedBytes, packedBytes, limits);
    tarHash?.update(chunk);
    yield chunk;
  }
  requireDigest('the layer', layer.digest, blobHash);
  requireDigest("the layer's tar", layer.diffId, tarHash);
}

/** For `sha256:…` and `sha512:…`, the registered algorithms (OCI image spec, "descriptor.md"). */
function hashFor(digest: string | undefined): Hash | undefined {
  const algorithm = /^(sha256|sha512):/.exec(digest ?? '')?.[1];
  return algorithm === undefined ? undefined : createHash(algorithm);
}

function requireDigest(what: string, expected: string | undefined, hash: Hash | undefined): void {
  if (expected === undefined || hash === undefined) return;
  const found = `${expected.slice(0, expected.indexOf(':'))}:${hash.digest('hex')}`;
  if (found === expected) return;
  throw new DamagedError(`${what} is damaged: its digest is ${found}, not ${expected}`, {
    input: 'archive',
    stage: 'archive',
    hint: 'get the image again',
  });
}
