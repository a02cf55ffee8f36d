import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net, {type AddressInfo} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import {bundlePull, startPull} from '../support/pull-child.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {makeImage, makeLayer, noise, pushImage} from '../support/registry-images.ts';
import {makeCertificate} from '../support/token-service.ts';

const DISK = noise(300_000);
/** A name that only the proxy knows (RFC 6761, 6.4). */
const NAME = 'registry.test';
const dir = mkdtempSync(join(tmpdir(), 'pull-network-'));
const asked: string[] = [];
let registry: Registry;
let tls: https.Server;
let proxy: http.Server;
let refuses = false;
let ca: string;

const portOf = (server: {address(): AddressInfo | string | null}): number =>
  (server.address() as AddressInfo).port;
const listen = (server: net.Server): Promise<void> =>
  new Promise(resolve => server.listen(0, '127.0.0.1', resolve));

beforeAll(async () => {
  registry = await startRegistry();
  const image = makeImage([await makeLayer([{name: 'vm.qcow2', content: DISK}])]);
  await pushImage(`http://127.0.0.1:${registry.port}`, 'x/archive', 'v1', image);
  const {cert, key} = makeCertificate(dir, [NAME, 'localhost']);
  ca = cert;
  const forward = (request: http.IncomingMessage, response: http.ServerResponse): void => {
    const {pathname} = new URL(request.url ?? '', 'http://x');
    const options = {host: '127.0.0.1', port: registry.port, path: pathname, headers: request.headers};
    http.get(options, upstream => {
      response.writeHead(upstream.statusCode ?? 502, upstream.headers);
      upstream.pipe(response);
    });
  };
  tls = https.createServer({cert: readFileSync(cert), key: readFileSync(key)}, forward);
  await listen(tls);
  proxy = http.createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers['proxy-authorization'] ?? ''}`);
    if (refuses) response.writeHead(403).end();
    else forward(request, response);
  });
  proxy.on('connect', (request, socket: net.Socket) => {
    asked.push(`CONNECT ${request.url} ${request.headers['proxy-authorization'] ?? ''}`);
    if (refuses) {
      // A challenge, to see that no login is given to it.
      socket.end('HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer realm="https://x.test/"\r\n\r\n');
      return;
    }
    const upstream = net.connect(portOf(tls), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.pipe(upstream).pipe(socket);
    });
    upstream.on('error', () => socket.destroy());
    socket.on('error', () => upstream.destroy());
  });
  await listen(proxy);
});
afterAll(async () => {
  tls.close();
  proxy.close();
  tls.closeAllConnections();
  proxy.closeAllConnections();
  await registry.stop();
  rmSync(dir, {recursive: true, force: true});
});
beforeEach(() => {
  asked.length = 0;
  refuses = false;
});

async function pull(reference: string, env: Record<string, string>) {
  const dest = join(dir, `disk-${Math.random().toString(36).slice(2)}.qcow2`);
  const none = {HTTP_PROXY: '', HTTPS_PROXY: '', NO_PROXY: '', http_proxy: '', https_proxy: '', no_proxy: ''};
  const end = await startPull(await bundlePull(dir), reference, dest, {...none, ...env}).ended;
  const isWhole = end.code === 0 && readFileSync(dest).equals(DISK);
  return {...end, isWhole};
}
const proxyUrl = (login = ''): string => `http://${login}127.0.0.1:${portOf(proxy)}`;

describe('TLS', () => {
  test('with a known authority', async () => {
    const {isWhole, stderr} = await pull(`https://localhost:${portOf(tls)}/x/archive:v1`, {
      NODE_EXTRA_CA_CERTS: ca,
    });
    expect(stderr).toBe('');
    expect(isWhole).toBe(true);
  });

  test('with an unknown one', async () => {
    const {stderr} = await pull(`https://localhost:${portOf(tls)}/x/archive:v1`, {});
    expect(stderr).toMatch(/self.signed certificate.* \/\/ .*NODE_EXTRA_CA_CERTS/);
  });

  test('with a certificate for another name', async () => {
    const env = {NODE_EXTRA_CA_CERTS: ca, HTTPS_PROXY: proxyUrl()};
    const {stderr} = await pull(`other.test:${portOf(tls)}/x/archive:v1`, env);
    expect(stderr).toContain("does not match certificate's altnames");
  });
});

describe('proxies', () => {
  test('HTTPS_PROXY, with a login: one tunnel', async () => {
    const env = {NODE_EXTRA_CA_CERTS: ca, HTTPS_PROXY: proxyUrl('me:pw@')};
    const {isWhole, stderr} = await pull(`${NAME}/x/archive:v1`, env);
    expect(stderr).toBe('');
    expect(isWhole).toBe(true);
    const login = `Basic ${Buffer.from('me:pw').toString('base64')}`;
    expect(new Set(asked)).toEqual(new Set([`CONNECT ${NAME}:443 ${login}`]));
  });

  test('HTTP_PROXY, for a registry that was asked for without TLS', async () => {
    const {isWhole, stderr} = await pull(`http://${NAME}/x/archive:v1`, {http_proxy: proxyUrl()});
    expect(stderr).toBe('');
    expect(isWhole).toBe(true);
    expect(asked[0]).toBe(`GET http://${NAME}/v2/x/archive/manifests/v1 `);
  });

  test('NO_PROXY leaves the proxy out', async () => {
    const {stderr} = await pull(`http://${NAME}/x/archive:v1`, {HTTP_PROXY: proxyUrl(), NO_PROXY: '.test'});
    expect(stderr).toMatch(/ENOTFOUND|EAI_AGAIN/);
    expect(asked).toEqual([]);
  });

  test('loopback needs no proxy', async () => {
    const {isWhole} = await pull(`127.0.0.1:${registry.port}/x/archive:v1`, {HTTP_PROXY: proxyUrl()});
    expect([isWhole, asked]).toEqual([true, []]);
  });

  test('one that refuses is said to, and gets no login', async () => {
    refuses = true;
    const {stderr} = await pull(`${NAME}/x/archive:v1`, {HTTPS_PROXY: proxyUrl()});
    expect(stderr).toMatch(/the proxy for registry\.test refuses with status 401 \/\/ check HTTPS_PROXY/);
    expect(asked).toHaveLength(1);
  });

  test('one that is not there', async () => {
    const {stderr} = await pull(`${NAME}/x/archive:v1`, {HTTPS_PROXY: 'http://127.0.0.1:1'});
    expect(stderr).toContain('the connection is refused');
  });

  test('one of a kind that is not spoken', async () => {
    const {stderr} = await pull(`${NAME}/x/archive:v1`, {HTTPS_PROXY: 'socks5://me:pw@127.0.0.1:1'});
    expect(stderr).toContain(
      'the proxy socks5://***@127.0.0.1:1 for registry.test is neither http:// nor https://',
    );
  });
});
