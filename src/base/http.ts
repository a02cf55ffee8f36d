import type {Readable} from 'node:stream';

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** How long the server may take to send the head of its answer. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  /** Names in lower case; repeated ones joined with `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** As sent: nothing is decoded. Fails when the connection breaks before its end; must be read to its end or destroyed. */
  readonly body: Readable;
}

/** One HTTP exchange a call: follows no redirect, retries nothing. Goes through a proxy where the environment names one. */
export interface Http {
  /** @throws TransferError when there is no answer; `CanceledError` when `signal` is aborted. */
  send(request: HttpRequest): Promise<HttpResponse>;
}

/** `dns`: there is no such host; `dns-busy`: no name server answers; `tls`: certificate or handshake; `proxy`: the proxy refuses. */
export type TransferFault = 'dns' | 'dns-busy' | 'tls' | 'proxy' | 'refused' | 'reset' | 'timeout' | 'other';

/** The network failed, as opposed to a server that answered with an error. */
export class TransferError extends Error {
  override readonly name = 'TransferError';
  readonly fault: TransferFault;

  constructor(fault: TransferFault, message: string, options: {cause?: unknown} = {}) {
    super(message, options);
    this.fault = fault;
  }
}

/** What a registry is logged into with. */
export type Credential =
  | {readonly kind: 'password'; readonly username: string; readonly password: string}
  /** A refresh token for the registry's token service (docker's `identitytoken`, or a credential helper's `<token>`). */
  | {readonly kind: 'identity'; readonly token: string}
  /** A bearer token for the registry itself (docker's `registrytoken`). */
  | {readonly kind: 'bearer'; readonly token: string};

export interface Credentials {
  /** @param registry `HOST[:PORT]`, `docker.io` for Docker Hub. @returns undefined to go without. */
  find(registry: string): Promise<Credential | undefined>;
}

/** Logins that can be listed. */
export interface Logins extends Credentials {
  /** The registries that there may be a login for; `docker.io` for Docker Hub. */
  registries(): Promise<readonly string[]>;
}

/** Takes bytes, gives their digest once they have ended. */
export interface Hasher {
  update(bytes: Uint8Array): void;
  /** In hexadecimal. */
  hex(): string;
}

/** What reading from a registry takes of this machine, besides a clock. */
export interface RegistryTools {
  readonly http: Http;
  readonly credentials: Credentials;
  readonly createHash: (algorithm: 'sha256' | 'sha512') => Hasher;
  /** A stream that pulls from chunks as it is read; `closed` is aborted when it is destroyed, whatever they are waiting for. */
  readonly toStream: (chunks: (closed: AbortSignal) => AsyncIterable<Buffer>) => Readable;
  /** From 0 to 1; spreads the retries of many jobs. */
  readonly random: () => number;
  /** Milliseconds since 1970, for dates in answers. */
  readonly nowEpochMs: () => number;
}
