import {execFileSync} from 'node:child_process';
import {createSign, randomUUID} from 'node:crypto';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import http from 'node:http';
import type {AddressInfo} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

/** A self-signed certificate for loopback names. @returns paths of certificate and key in PEM. */
export function makeCertificate(
  dir: string,
  names: readonly string[] = ['localhost'],
): {cert: string; key: string} {
  const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
  const alternatives = [...names.map(name => `DNS:${name}`), 'IP:127.0.0.1'].join(',');
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=test'],
      ...['-keyout', key, '-out', cert, '-addext', `subjectAltName=${alternatives}`],
    ],
    {stdio: 'pipe'},
  );
  return {cert, key};
}

export interface TokenRequest {
  readonly method: string;
  readonly query: URLSearchParams;
  readonly form: URLSearchParams;
  readonly authorization: string | undefined;
}

/** A token service whose tokens a real docker-registry accepts (distribution, "Token Authentication Specification"). */
export interface TokenService {
  readonly url: string;
  /** The `auth:` section of a registry that trusts it. */
  readonly config: string;
  readonly requests: TokenRequest[];
  /** Answers a request instead of giving a token; undefined gives one. */
  refuse: (request: TokenRequest) => {status: number; body: string} | undefined;
  /** May the token that is given pull? */
  isGranted: (request: TokenRequest) => boolean;
  close(): Promise<void>;
}

export async function startTokenService(): Promise<TokenService> {
  const dir = mkdtempSync(join(tmpdir(), 'token-service-'));
  const {cert, key} = makeCertificate(dir);
  const server = http.createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  const service: TokenService = {
    url,
    config: `auth: {token: {realm: "${url}", service: test-registry, issuer: test-issuer, rootcertbundle: "${cert}"}}`,
    requests: [],
    refuse: () => undefined,
    isGranted: () => true,
    close: () =>
      new Promise(resolve => {
        rmSync(dir, {recursive: true, force: true});
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  server.on('request', async (request: http.IncomingMessage, response: http.ServerResponse) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const seen: TokenRequest = {
      method: request.method ?? '',
      query: new URL(request.url ?? '', url).searchParams,
      form: new URLSearchParams(body),
      authorization: request.headers.authorization,
    };
    service.requests.push(seen);
    const refusal = service.refuse(seen);
    if (refusal) return void response.writeHead(refusal.status).end(refusal.body);
    const scope = seen.query.get('scope') ?? seen.form.get('scope') ?? '';
    const token = signToken(cert, key, service.isGranted(seen) ? scope : '');
    const name = seen.method === 'POST' ? 'access_token' : 'token';
    response
      .writeHead(200, {'content-type': 'application/json'})
      .end(JSON.stringify({[name]: token, expires_in: 60}));
  });
  return service;
}

/** A JSON Web Token (RFC 7519) with the certificate in its header (RFC 7515, 4.1.6). */
function signToken(cert: string, key: string, scope: string): string {
  const der = readFileSync(cert, 'utf8').replace(/-----[^-]+-----|\s/g, '');
  const [type = '', name = '', actions = ''] = scope.split(':');
  const seconds = Math.floor(Date.now() / 1000);
  const claims = {
    iss: 'test-issuer',
    aud: 'test-registry',
    sub: '',
    iat: seconds,
    nbf: seconds - 5,
    exp: seconds + 60,
    jti: randomUUID(),
    access: name === '' ? [] : [{type, name, actions: actions.split(',')}],
  };
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const unsigned = `${encode({typ: 'JWT', alg: 'RS256', x5c: [der]})}.${encode(claims)}`;
  return `${unsigned}.${createSign('sha256').update(unsigned).sign(readFileSync(key, 'utf8'), 'base64url')}`;
}
