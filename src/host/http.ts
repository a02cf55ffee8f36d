import http, {type ClientRequest, type IncomingMessage} from 'node:http';
import https from 'node:https';
import {HttpProxyAgent} from 'http-proxy-agent';
import {HttpsProxyAgent} from 'https-proxy-agent';
import {getProxyForUrl} from 'proxy-from-env';
import {asCanceled} from '../base/errors.ts';
import {type Http, type HttpRequest, type HttpResponse, TransferError} from '../base/http.ts';
import {isLoopback} from '../base/image-reference.ts';
import {bypassesProxy} from './no-proxy.ts';

const USER_AGENT = `buildkit-archive/${process.env.BUILDKIT_ARCHIVE_VERSION ?? 'dev'}`;

/**
 * HTTP/1.1 by Node's own client, whose answers come with backpressure. Proxies are those of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
 * `NO_PROXY`, in either case; loopback is always reached directly, as in Go's net/http and so in docker.
 */
export function createHttp(): Http {
  const agents = new Map<string, http.Agent>();
  const agentFor = (url: URL): http.Agent => {
    const noProxy = process.env.no_proxy || process.env.NO_PROXY || '';
    const isDirect = isLoopback(url.host) || bypassesProxy(url, noProxy);
    const proxy = isDirect ? '' : getProxyForUrl(url.href);
    const key = `${url.protocol} ${proxy}`;
    const agent = agents.get(key) ?? createAgent(url, proxy);
    agents.set(key, agent);
    return agent;
  };
  return {send: request => send(request, agentFor(new URL(request.url)))};
}

function createAgent(url: URL, proxy: string): http.Agent {
  const isTls = url.protocol === 'https:';
  if (proxy === '') return isTls ? new https.Agent({keepAlive: true}) : new http.Agent({keepAlive: true});
  if (!/^https?:\/\//.test(proxy)) {
    throw new TransferError(
      'proxy',
      `the proxy ${withoutLogin(proxy)} for ${url.host} is neither http:// nor https://`,
    );
  }
  return isTls ? new HttpsProxyAgent(proxy, {keepAlive: true}) : new HttpProxyAgent(proxy, {keepAlive: true});
}

async function send(request: HttpRequest, agent: http.Agent): Promise<HttpResponse> {
  const {url, method, headers, body, timeoutMs, signal} = request;
  if (signal.aborted) throw asCanceled(signal);
  const {protocol, host} = new URL(url);
  return new Promise((resolve, reject) => {
    const outgoing: ClientRequest = (protocol === 'https:' ? https : http).request(url, {
      method,
      headers: {'user-agent': USER_AGENT, ...headers},
      agent,
    });
    const onAbort = (): void => void outgoing.destroy(asCanceled(signal));
    const timer = setTimeout(() => {
      outgoing.destroy(new TransferError('timeout', `${host} does not answer within ${timeoutMs / 1000} s`));
    }, timeoutMs);
    const settled = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    };
    signal.addEventListener('abort', onAbort, {once: true});
    // A proxy's refusal must not pass for the registry's answer, whose challenges get a login.
    outgoing.once('proxyConnect', ({statusCode}: {statusCode?: number}) => {
      // Without a tunnel (plain HTTP) there is no status yet.
      if (statusCode === undefined || statusCode === 200) return;
      outgoing.destroy(new TransferError('proxy', `the proxy for ${host} refuses with status ${statusCode}`));
    });
    outgoing.once('response', (incoming: IncomingMessage) => {
      settled();
      resolve({status: incoming.statusCode ?? 0, headers: flat(incoming), body: incoming});
    });
    outgoing.once('error', error => {
      settled();
      reject(signal.aborted ? asCanceled(signal) : asTransferError(error, host));
    });
    outgoing.end(body);
  });
}

function flat(incoming: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(incoming.headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value]],
    ),
  );
}

const FAULTS: Readonly<Record<string, {fault: TransferError['fault']; text: string}>> = {
  ENOTFOUND: {fault: 'dns', text: 'there is no such host'},
  EAI_AGAIN: {fault: 'dns-busy', text: 'no name server answers for it'},
  ECONNREFUSED: {fault: 'refused', text: 'the connection is refused'},
  ECONNRESET: {fault: 'reset', text: 'the connection was reset'},
  EPIPE: {fault: 'reset', text: 'the connection was reset'},
  ETIMEDOUT: {fault: 'timeout', text: 'the connection timed out'},
  EHOSTUNREACH: {fault: 'refused', text: 'there is no way to it'},
  ENETUNREACH: {fault: 'refused', text: 'there is no way to it'},
};

function asTransferError(error: NodeJS.ErrnoException, host: string): TransferError {
  if (error instanceof TransferError) return error;
  // Several addresses were tried (RFC 8305): the first says why.
  const first =
    error instanceof AggregateError ? ((error.errors[0] as NodeJS.ErrnoException) ?? error) : error;
  const code = first.code ?? '';
  const known = FAULTS[code];
  if (known) return new TransferError(known.fault, `${host}: ${known.text} (${code})`, {cause: error});
  const isTls = /CERT|SSL|TLS|SELF_SIGNED|UNABLE_TO|EPROTO/.test(code);
  // OpenSSL's message is a line of its source, of which one field is in words.
  const reason = /SSL routines:[^:]*:([^:]+):/.exec(first.message)?.[1] ?? first.message;
  return new TransferError(isTls ? 'tls' : 'other', `${host}: ${reason}`, {cause: error});
}

function withoutLogin(proxy: string): string {
  return proxy.replace(/\/\/[^@/]*@/, '//***@');
}
