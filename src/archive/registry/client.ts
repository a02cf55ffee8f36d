import {CanceledError} from '../../base/errors.ts';
import {type HttpResponse, type RegistryTools, TransferError} from '../../base/http.ts';
import {formatReference, type ImageReference} from '../../base/image-reference.ts';
import type {Clock} from '../../base/ports.ts';
import {type AskTokenService, Authorizer} from './auth.ts';
import {bodyBytes, bodyChunks} from './body.ts';
import {damaged, describeStatus, hintForFault, hintForStatus, RegistryError} from './errors.ts';
import {delayMs, isPassingStatus, parseRetryAfterMs, type TransferPolicy} from './policy.ts';
import {followRedirects, type Origin} from './redirect.ts';

const DOCKER_HUB = 'registry-1.docker.io';
/** What errors say of themselves is JSON of a few hundred bytes. */
const DETAIL_LIMIT_BYTES = 64 * 1024;

export interface RegistryPorts {
  readonly clock: Clock;
  readonly registry: RegistryTools;
}

export interface GetOptions {
  readonly accept?: string;
  /** The first byte that is wanted. */
  readonly fromByte?: number;
  readonly signal: AbortSignal;
}

/** Reads one repository of a registry (OCI distribution spec v1.1): logs in when asked to, follows redirects, tries again what may pass. */
export class RegistryClient {
  readonly reference: ImageReference;
  readonly ports: RegistryPorts;
  readonly policy: TransferPolicy;
  readonly #auth: Authorizer;

  constructor(ports: RegistryPorts, reference: ImageReference, policy: TransferPolicy) {
    this.ports = ports;
    this.reference = reference;
    this.policy = policy;
    this.#auth = new Authorizer(
      reference,
      () => ports.registry.credentials.find(reference.registry),
      this.#askTokenService,
    );
  }

  /** One small answer, whole. @param path Behind `/v2/REPOSITORY/`. @throws RegistryError */
  fetch(
    path: string,
    limitBytes: number,
    options: GetOptions,
  ): Promise<{readonly bytes: Buffer; readonly headers: HttpResponse['headers']}> {
    return this.retry(options.signal, async () => {
      const {headers, body} = await this.open(path, options);
      const bytes = await this.#reading(bodyBytes(this.chunks(body, options.signal), limitBytes));
      if (!bytes) throw damaged(this.reference, `${path} is larger than ${limitBytes} bytes`);
      return {bytes, headers};
    });
  }

  /** One try of one request; the body is the caller's to read. @throws RegistryError */
  async open(path: string, options: GetOptions): Promise<HttpResponse> {
    let {response, isOwn} = await this.#send(path, options);
    if (response.status === 401 && isOwn) {
      // A token may have run out in mid-way, so every 401 is answered once.
      const detail = await this.#detailOf(response, options.signal);
      if (!(await this.#auth.answer(response.headers['www-authenticate'], options.signal)))
        throw await this.#refused(path, response, detail);
      ({response, isOwn} = await this.#send(path, options));
    }
    if (response.status === 200 || response.status === 206) return response;
    throw await this.#refused(path, response, await this.#detailOf(response, options.signal));
  }

  chunks(body: HttpResponse['body'], signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
    return bodyChunks(body, this.ports.clock, this.policy, signal);
  }

  /** Tries again what may pass, with growing pauses. */
  async retry<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    for (let failures = 1; ; failures++) {
      try {
        return await work();
      } catch (error) {
        if (failures >= this.policy.attempts) throw error;
        await this.pause(error, failures, signal);
      }
    }
  }

  /** Waits before the next try. @throws what it was given when another try is of no use. */
  async pause(error: unknown, failures: number, signal: AbortSignal): Promise<void> {
    if (!(error instanceof RegistryError) || !error.passing) throw error;
    if ((error.retryAfterMs ?? 0) > this.policy.maxRetryAfterMs) throw error;
    const {clock, registry} = this.ports;
    await clock.sleep(delayMs(this.policy, failures, error.retryAfterMs, registry.random()), signal);
  }

  /** An error of the network, in terms of this registry. */
  asRegistryError(error: unknown): unknown {
    if (!(error instanceof TransferError)) return error;
    const passing = !['dns', 'tls', 'proxy'].includes(error.fault);
    return new RegistryError(`${formatReference(this.reference)}: ${error.message}`, {
      hint: hintForFault(error.fault, this.reference.registry, error.message),
      passing,
      cause: error,
    });
  }

  async #send(path: string, {accept, fromByte = 0, signal}: GetOptions): ReturnType<typeof followRedirects> {
    const {registry, repository, plainHttp} = this.reference;
    const host = registry === 'docker.io' ? DOCKER_HUB : registry;
    const authorization = this.#auth.header;
    return this.#reading(
      followRedirects(this.ports.registry.http, this.#origin, {
        method: 'GET',
        url: `${plainHttp ? 'http' : 'https'}://${host}/v2/${repository}/${path}`,
        headers: {
          ...(accept !== undefined && {accept}),
          ...(fromByte > 0 && {range: `bytes=${fromByte}-`}),
          ...(authorization !== undefined && {authorization}),
        },
        timeoutMs: this.policy.answerTimeoutMs,
        signal,
      }),
    );
  }

  get #origin(): Origin {
    const {plainHttp} = this.reference;
    return {
      name: formatReference(this.reference),
      plainHttp,
      hint: 'name another source with "registries"',
    };
  }

  async #reading<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw this.asRegistryError(error);
    }
  }

  async #refused(path: string, {status, headers}: HttpResponse, detail: string): Promise<RegistryError> {
    const isLoggedIn = await this.#auth.isLoggedIn();
    const passing = isPassingStatus(status);
    const {registry, nowEpochMs} = {registry: this.reference.registry, ...this.ports.registry};
    const retryAfterMs = passing ? parseRetryAfterMs(headers['retry-after'], nowEpochMs()) : undefined;
    const isBlob = path.startsWith('blobs/');
    const wait =
      retryAfterMs === undefined ? '' : `; it wants to be asked again in ${Math.ceil(retryAfterMs / 1000)} s`;
    return new RegistryError(
      `${formatReference(this.reference)}: ${registry} answers ${describeStatus(status, detail)}${isBlob ? ` for ${path.slice('blobs/'.length)}` : ''}${wait}`,
      {
        status,
        passing,
        hint: hintForStatus(status, this.reference, isLoggedIn),
        blobGone: isBlob && status === 404,
        ...(retryAfterMs !== undefined && {retryAfterMs}),
      },
    );
  }

  /** What an error says of itself, as one harmless line (distribution spec, "Error Codes"). */
  async #detailOf(response: HttpResponse, signal: AbortSignal): Promise<string> {
    try {
      const bytes = await bodyBytes(this.chunks(response.body, signal), DETAIL_LIMIT_BYTES);
      return errorDetail(bytes?.toString('utf8') ?? '');
    } catch (error) {
      if (error instanceof CanceledError) throw error;
      return '';
    }
  }

  readonly #askTokenService: AskTokenService = (request, signal) =>
    this.retry(signal, () =>
      this.#reading(
        (async () => {
          const {http, nowEpochMs} = this.ports.registry;
          const response = await http.send({...request, timeoutMs: this.policy.answerTimeoutMs, signal});
          const bytes = await bodyBytes(this.chunks(response.body, signal), DETAIL_LIMIT_BYTES);
          const text = bytes?.toString('utf8') ?? '';
          const detail = errorDetail(text);
          if (!isPassingStatus(response.status)) return {response, text, detail};
          const retryAfterMs = parseRetryAfterMs(response.headers['retry-after'], nowEpochMs());
          throw new RegistryError(
            `${formatReference(this.reference)}: the token service ${new URL(request.url).host} answers ${describeStatus(response.status, detail)}`,
            {
              status: response.status,
              passing: true,
              hint: hintForStatus(response.status, this.reference, await this.#auth.isLoggedIn()),
              ...(retryAfterMs !== undefined && {retryAfterMs}),
            },
          );
        })(),
      ),
    );
}

/** `CODE: message` of a registry's error, or nothing. It comes from the network: cut short, without control characters. */
export function errorDetail(text: string): string {
  try {
    const {errors, details} = JSON.parse(text);
    const first = errors?.[0] ?? {};
    const said = [first.code, first.message ?? details].filter(part => typeof part === 'string').join(': ');
    return said.replace(/[\p{Cc}\p{Cf}]+/gu, ' ').slice(0, 200);
  } catch {
    return '';
  }
}
