import {CanceledError, UserError} from '../base/errors.ts';
import {type HttpResponse, TransferError, type TransferFault} from '../base/http.ts';
import {bodyBytes, bodyChunks} from './registry/body.ts';
import type {RegistryPorts} from './registry/client.ts';
import {delayMs, isPassingStatus, parseRetryAfterMs, type TransferPolicy} from './registry/policy.ts';
import {followRedirects, type Origin} from './registry/redirect.ts';

/** A file of a web server that cannot be had. */
export class DownloadError extends UserError {
  readonly status: number | undefined;
  readonly passing: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    options: {
      readonly hint: string;
      readonly status?: number;
      readonly passing?: boolean;
      readonly retryAfterMs?: number | undefined;
      readonly cause?: unknown;
    },
  ) {
    super(message, {input: 'release-mirror', stage: 'archive', hint: options.hint, cause: options.cause});
    this.status = options.status;
    this.passing = options.passing ?? false;
    this.retryAfterMs = options.retryAfterMs;
  }
}

export interface DownloadOptions {
  readonly policy: TransferPolicy;
  readonly signal: AbortSignal;
  /** For errors: what else can be done. */
  readonly hint: string;
  /** @param totalBytes undefined when the server does not say. */
  readonly onProgress?: (receivedBytes: number, totalBytes: number | undefined) => void;
}

/**
 * The bytes of a file in order, each once: what may pass is tried again with growing pauses, and a broken transfer is taken up where it was, as long as
 * the server says that it is still the same file (`If-Range`; RFC 9110, 13.1.5 and 14.2).
 * @throws DownloadError; CanceledError.
 */
export async function* downloaded(
  ports: RegistryPorts,
  url: string,
  options: DownloadOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const {policy, signal, onProgress = () => undefined} = options;
  let offset = 0;
  let totalBytes: number | undefined;
  let validator: Validator | undefined;
  for (let failures = 0, connections = 1; ; connections++) {
    try {
      const response = await open(ports, url, options, restFrom(offset, validator));
      const isPart = response.status === 206;
      if (offset > 0 && !isPart && !(validator && response.headers[validator.header] === validator.value)) {
        response.body.destroy();
        throw new DownloadError(`${url}: the file may have changed while it was read`, {hint: options.hint});
      }
      totalBytes ??= lengthOf(response);
      validator ??= validatorOf(response);
      let skip = isPart ? 0 : offset;
      for await (const chunk of bodyChunks(response.body, ports.clock, policy, signal)) {
        const kept = chunk.subarray(Math.min(skip, chunk.length));
        skip -= chunk.length - kept.length;
        if (kept.length === 0) continue;
        offset += kept.length;
        failures = 0;
        onProgress(offset, totalBytes);
        yield kept;
      }
      if (totalBytes === undefined || offset >= totalBytes) return;
      throw new TransferError('reset', 'the transfer ended early');
    } catch (thrown) {
      const error = asDownloadError(url, thrown, options.hint);
      failures++;
      const isOver = failures >= policy.attempts || connections >= policy.maxConnections;
      if (isOver || !(error instanceof DownloadError) || !error.passing) throw error;
      if ((error.retryAfterMs ?? 0) > policy.maxRetryAfterMs) throw error;
      const pauseMs = delayMs(policy, failures, error.retryAfterMs, ports.registry.random());
      await ports.clock.sleep(pauseMs, signal);
    }
  }
}

/** A small file, whole; undefined when the server does not have it. @throws DownloadError; CanceledError. */
export async function downloadSmall(
  ports: RegistryPorts,
  url: string,
  limitBytes: number,
  options: DownloadOptions,
): Promise<Buffer | undefined> {
  try {
    const bytes = await bodyBytes(downloaded(ports, url, options), limitBytes);
    if (bytes) return bytes;
    throw new DownloadError(`${url} is larger than ${limitBytes} bytes`, {hint: options.hint});
  } catch (error) {
    if (error instanceof DownloadError && (error.status === 404 || error.status === 410)) return undefined;
    throw error;
  }
}

/** What tells a file from a later one of the same name. */
interface Validator {
  readonly header: 'etag' | 'last-modified';
  readonly value: string;
}

/** Asks for the rest of a file as long as it is the same; for all of it when that cannot be said. */
function restFrom(offset: number, validator: Validator | undefined): Readonly<Record<string, string>> {
  return offset === 0 || !validator ? {} : {range: `bytes=${offset}-`, 'if-range': validator.value};
}

async function open(
  ports: RegistryPorts,
  url: string,
  {policy, signal, hint}: DownloadOptions,
  headers: Readonly<Record<string, string>>,
): Promise<HttpResponse> {
  const origin: Origin = {name: url, plainHttp: url.startsWith('http:'), hint};
  const {response} = await followRedirects(ports.registry.http, origin, {
    method: 'GET',
    url,
    headers,
    timeoutMs: policy.answerTimeoutMs,
    signal,
  });
  if (response.status === 200 || (response.status === 206 && isRestFrom(response, headers.range)))
    return response;
  response.body.destroy();
  const {status} = response;
  throw new DownloadError(`${url}: the server answers with status ${status}`, {
    hint,
    status,
    passing: isPassingStatus(status),
    retryAfterMs: parseRetryAfterMs(response.headers['retry-after'], ports.registry.nowEpochMs()),
  });
}

function isRestFrom(response: HttpResponse, range: string | undefined): boolean {
  const from = /^bytes=(\d+)-$/.exec(range ?? '')?.[1];
  return from !== undefined && (response.headers['content-range'] ?? '').startsWith(`bytes ${from}-`);
}

function lengthOf({status, headers}: HttpResponse): number | undefined {
  const length = headers['content-length'];
  return status === 200 && length !== undefined && /^\d+$/.test(length) ? Number(length) : undefined;
}

/** A weak entity tag does not tell bytes apart (RFC 9110, 8.8.1). */
function validatorOf({headers}: HttpResponse): Validator | undefined {
  const {etag, 'last-modified': modified} = headers;
  if (etag?.startsWith('"')) return {header: 'etag', value: etag};
  return modified === undefined ? undefined : {header: 'last-modified', value: modified};
}

const LASTING_FAULTS: readonly TransferFault[] = ['dns', 'tls', 'proxy'];

function asDownloadError(url: string, error: unknown, hint: string): unknown {
  if (error instanceof CanceledError || !(error instanceof TransferError)) return error;
  const passing = !LASTING_FAULTS.includes(error.fault);
  return new DownloadError(`${url}: ${error.message}`, {hint, passing, cause: error});
}
