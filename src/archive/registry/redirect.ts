import type {Http, HttpRequest, HttpResponse} from '../../base/http.ts';
import {isLoopback} from '../../base/image-reference.ts';
import {RegistryError} from './errors.ts';

const REDIRECTS = [301, 302, 303, 307, 308];
const MAX_REDIRECTS = 10;

/** Who is asked, for messages; and what else could be done when his answer leads astray. */
export interface Origin {
  readonly name: string;
  /** An open connection was asked for. */
  readonly plainHttp: boolean;
  readonly hint: string;
}

/**
 * Sends a GET and follows where it is sent to. The login goes to no other origin than the first: blobs are often served by a store that is
 * addressed by signed URLs, and must not learn it. An encrypted connection is never left for an open one.
 */
export async function followRedirects(
  http: Http,
  origin: Origin,
  request: HttpRequest,
): Promise<{
  readonly response: HttpResponse /** The answer is the registry's own. */;
  readonly isOwn: boolean;
}> {
  const first = new URL(request.url);
  let {url, headers = {}} = request;
  for (let count = 0; ; count++) {
    const response = await http.send({...request, url, headers});
    const location = response.headers.location;
    if (!REDIRECTS.includes(response.status) || location === undefined)
      return {response, isOwn: new URL(url).origin === first.origin};
    response.body.destroy();
    const where = `${origin.name}: ${new URL(url).host}`;
    if (count >= MAX_REDIRECTS)
      throw badRedirect(origin, `${where} redirects more than ${MAX_REDIRECTS} times`);
    if (!URL.canParse(location, url)) throw badRedirect(origin, `${where} redirects to no address`);
    const next = new URL(location, url);
    if (next.protocol !== 'https:' && !mayBeOpen(next, origin)) {
      throw badRedirect(
        origin,
        `${where} redirects to ${next.protocol}//${next.host}, which is not encrypted`,
      );
    }
    url = next.href;
    if (next.origin !== first.origin) {
      const {authorization: _, ...rest} = headers;
      headers = rest;
    }
  }
}

function mayBeOpen(url: URL, origin: Origin): boolean {
  return url.protocol === 'http:' && (origin.plainHttp || isLoopback(url.host));
}

function badRedirect({hint}: Origin, message: string): RegistryError {
  return new RegistryError(message, {hint});
}
