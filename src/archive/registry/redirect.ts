import type {Http, HttpRequest, HttpResponse} from '../../base/http.ts';
import {formatReference, type ImageReference, isLoopback} from '../../base/image-reference.ts';
import {RegistryError} from './errors.ts';

const REDIRECTS = [301, 302, 303, 307, 308];
const MAX_REDIRECTS = 10;

/**
 * Sends a GET and follows where it is sent to. The login goes to no other origin than the first: blobs are often served by a store that is
 * addressed by signed URLs, and must not learn it. An encrypted connection is never left for an open one.
 */
export async function followRedirects(
  http: Http,
  reference: ImageReference,
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
    const where = `${formatReference(reference)}: ${new URL(url).host}`;
    if (count >= MAX_REDIRECTS) throw badRedirect(`${where} redirects more than ${MAX_REDIRECTS} times`);
    if (!URL.canParse(location, url)) throw badRedirect(`${where} redirects to no address`);
    const next = new URL(location, url);
    if (next.protocol !== 'https:' && !mayBeOpen(next, reference)) {
      throw badRedirect(`${where} redirects to ${next.protocol}//${next.host}, which is not encrypted`);
    }
    url = next.href;
    if (next.origin !== first.origin) {
      const {authorization: _, ...rest} = headers;
      headers = rest;
    }
  }
}

function mayBeOpen(url: URL, reference: ImageReference): boolean {
  return url.protocol === 'http:' && (reference.plainHttp || isLoopback(url.host));
}

function badRedirect(message: string): RegistryError {
  return new RegistryError(message, {hint: 'name another source with "registries"'});
}
