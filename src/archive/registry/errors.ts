import {UserError} from '../../base/errors.ts';
import type {TransferFault} from '../../base/http.ts';
import {formatReference, type ImageReference} from '../../base/image-reference.ts';

export interface RegistryErrorOptions {
  readonly hint: string;
  /** Of the answer, when there was one. */
  readonly status?: number;
  /** The same request may succeed later. */
  readonly passing?: boolean;
  readonly retryAfterMs?: number;
  /** A part of the image that its manifest names is not there. */
  readonly blobGone?: boolean;
  readonly cause?: unknown;
}

/** A registry does not give what it was asked for. Another one may. */
export class RegistryError extends UserError {
  readonly status: number | undefined;
  readonly passing: boolean;
  readonly retryAfterMs: number | undefined;
  readonly blobGone: boolean;

  constructor(message: string, options: RegistryErrorOptions) {
    super(message, {input: 'archive', stage: 'archive', hint: options.hint, cause: options.cause});
    this.status = options.status;
    this.passing = options.passing ?? false;
    this.retryAfterMs = options.retryAfterMs;
    this.blobGone = options.blobGone ?? false;
  }
}

const NAMES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  407: 'Proxy Authentication Required',
  408: 'Request Timeout',
  416: 'Range Not Satisfiable',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

/** `401 Unauthorized (DENIED: …)`, with what the registry says of it. */
export function describeStatus(status: number, detail: string): string {
  return [status, NAMES[status], detail && `(${detail})`].filter(Boolean).join(' ');
}

/** What to do about a status. */
export function hintForStatus(status: number, reference: ImageReference, isLoggedIn: boolean): string {
  const {registry} = reference;
  if (status === 401) {
    return isLoggedIn
      ? `the login for ${registry} is refused or has expired: check registry-username and registry-password, or log in again with docker/login-action`
      : `${registry} wants a login, or has no such image: set registry-username and registry-password, or run docker/login-action before`;
  }
  if (status === 403) {
    return isLoggedIn
      ? `this login may not read ${reference.repository}: grant it the right to pull (for ghcr.io, "permissions: packages: read" or a token with read:packages)`
      : `${reference.repository} is private, or there is no such image: log in with registry-username and registry-password or docker/login-action`;
  }
  if (status === 404) return 'check the name and the tag, or name another source with "registries"';
  if (status === 429) {
    return isLoggedIn
      ? 'wait, or name another source with "registries"'
      : 'log in (registry-username and registry-password, or docker/login-action), which raises the limit, or name another source with "registries"';
  }
  if (status >= 500)
    return `${registry} has trouble: run again later, or name another source with "registries"`;
  return 'check the name of the image, or name another source with "registries"';
}

/** What to do about a failing network. */
export function hintForFault(fault: TransferFault, registry: string, message: string): string {
  switch (fault) {
    case 'dns':
    case 'dns-busy':
      return `check the name of the registry, and that this machine may reach ${registry}; behind a proxy, set HTTPS_PROXY`;
    case 'tls':
      return /wrong version number|packet length too long|http request/i.test(message)
        ? `if ${registry} speaks no TLS, write http:// before its name`
        : 'for a certificate of your own, name its authority in NODE_EXTRA_CA_CERTS';
    case 'proxy':
      return 'check HTTPS_PROXY, HTTP_PROXY and NO_PROXY';
    case 'refused':
      return `check host and port of ${registry}`;
    default:
      return 'run again, or name another source with "registries"';
  }
}

/** The error for an image whose manifest or bytes are not what they should be. */
export function damaged(reference: ImageReference, what: string, cause?: unknown): RegistryError {
  return new RegistryError(`${formatReference(reference)}: ${what}`, {
    hint: `the image in ${reference.registry} is damaged, or something on the way changes it: name another source with "registries"`,
    cause,
  });
}
