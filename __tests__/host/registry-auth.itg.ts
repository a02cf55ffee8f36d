import {chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import type {Credential, Credentials} from '../../src/base/http.ts';
import {dockerCredentials, givenCredentials} from '../../src/host/docker-config.ts';
import {type FaultProxy, startFaultProxy} from '../support/fault-proxy.ts';
import {createPuller, failureOf, noCredentials} from '../support/pull.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {type MadeLayer, makeImage, makeLayer, noise, pushImage} from '../support/registry-images.ts';
import {startTokenService, type TokenService} from '../support/token-service.ts';

const DISK = noise(300_000);
// bcrypt of "secret", cost 5.
const HTPASSWD = 'user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n';
const SECRET: Credential = {kind: 'password', username: 'user', password: 'secret'};
const always = (credential: Credential): Credentials => ({find: async () => credential});
const basicOf = (name: string, password: string): string =>
  `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`;

const puller = createPuller();
const dir = mkdtempSync(join(tmpdir(), 'registry-auth-'));
let tokens: TokenService;
let open: Registry;
let withPassword: Registry;
let withTokens: Registry;
let proxy: FaultProxy;
let layer: MadeLayer;

beforeAll(async () => {
  writeFileSync(join(dir, 'htpasswd'), HTPASSWD);
  tokens = await startTokenService();
  open = await startRegistry();
  const {dataDir} = open;
  withPassword = await startRegistry({
    dataDir,
    config: `auth: {htpasswd: {realm: "the test's", path: "${join(dir, 'htpasswd')}"}}`,
  });
  withTokens = await startRegistry({dataDir, config: tokens.config});
  proxy = await startFaultProxy(withTokens.port);
  layer = await makeLayer([{name: 'vm.qcow2', content: DISK}]);
  await pushImage(`http://127.0.0.1:${open.port}`, 'x/archive', 'v1', makeImage([layer]));
});
afterAll(async () => {
  for (const server of [proxy, tokens]) await server.close();
  for (const registry of [open, withPassword, withTokens]) await registry.stop();
  puller.remove();
  rmSync(dir, {recursive: true, force: true});
});
beforeEach(() => {
  proxy.rule = () => undefined;
  tokens.refuse = () => undefined;
  tokens.isGranted = () => true;
  for (const list of [proxy.seen, tokens.requests, puller.warnings]) list.length = 0;
});
const at = (port: number): string => `127.0.0.1:${port}/x/archive:v1`;

describe('Basic', () => {
  test('with the right password', async () => {
    const {disk} = await puller.pull(at(withPassword.port), {credentials: always(SECRET)});
    expect(disk.equals(DISK)).toBe(true);
  });

  test('with a wrong one', async () => {
    const wrong = always({...SECRET, password: 'wrong'});
    const error = await failureOf(puller.pull(at(withPassword.port), {credentials: wrong}));
    expect(error.message).toContain('answers 401 Unauthorized (UNAUTHORIZED: authentication required)');
    expect(error.hint).toContain('is refused or has expired: check registry-username');
    expect(`${error.message}${error.hint}`).not.toContain('wrong');
  });

  test('without any', async () => {
    const error = await failureOf(puller.pull(at(withPassword.port), {credentials: noCredentials}));
    expect(error.hint).toContain('wants a login, or has no such image');
  });
});

describe('Bearer', () => {
  test('anonymously, with the scope that the registry asks for', async () => {
    const {disk} = await puller.pull(at(withTokens.port));
    expect(disk.equals(DISK)).toBe(true);
    expect(tokens.requests).toHaveLength(1);
    const request = tokens.requests[0];
    const {query} = request ?? {};
    expect([request?.method, query?.get('service'), query?.getAll('scope'), request?.authorization]).toEqual([
      'GET',
      'test-registry',
      ['repository:x/archive:pull'],
      undefined,
    ]);
  });

  test('with a password, which only the token service sees', async () => {
    await puller.pull(at(proxy.port), {credentials: always(SECRET)});
    expect(tokens.requests[0]?.authorization).toBe(basicOf('user', 'secret'));
    expect(tokens.requests[0]?.query.get('account')).toBe('user');
    const sent = proxy.seen.map(({headers}) => headers.authorization ?? 'none');
    expect(sent[0]).toBe('none');
    expect(sent.slice(1).every(header => header.startsWith('Bearer '))).toBe(true);
  });

  test('with an identity token, by OAuth2', async () => {
    await puller.pull(at(proxy.port), {credentials: always({kind: 'identity', token: 'refresh-me'})});
    const {method, form} = tokens.requests[0] ?? {};
    expect([method, form?.get('grant_type'), form?.get('refresh_token'), form?.get('scope')]).toEqual([
      'POST',
      'refresh_token',
      'refresh-me',
      'repository:x/archive:pull',
    ]);
  });

  test('a token that runs out in mid-way is replaced, and the transfer goes on', async () => {
    let isFirst = true;
    let isExpired = false;
    proxy.rule = ({path, headers}) => {
      if (!path.endsWith(layer.digest)) return undefined;
      if (isFirst) {
        isFirst = false;
        return {kind: 'reset', atByte: 100_000};
      }
      if (isExpired) return undefined;
      isExpired = true;
      expect(headers.range).toMatch(/^bytes=/);
      return {
        kind: 'answer',
        status: 401,
        headers: {
          'www-authenticate': `Bearer realm="${tokens.url}",service="test-registry",scope="repository:x/archive:pull",error="invalid_token"`,
        },
      };
    };
    const {disk} = await puller.pull(at(proxy.port));
    expect(disk.equals(DISK)).toBe(true);
    expect(tokens.requests).toHaveLength(2);
  });

  test('a token that grants nothing', async () => {
    tokens.isGranted = () => false;
    const error = await failureOf(puller.pull(at(withTokens.port)));
    expect(error.message).toContain('answers 401 Unauthorized');
    expect(tokens.requests).toHaveLength(1);
  });

  test.each([
    [
      401,
      '{"details":"incorrect username or password"}',
      '401 Unauthorized (incorrect username or password)',
    ],
    [403, '{"errors":[{"code":"DENIED","message":"denied"}]}', '403 Forbidden (DENIED: denied)'],
  ])('a token service that answers %i', async (status, body, text) => {
    tokens.refuse = () => ({status, body});
    const error = await failureOf(puller.pull(at(withTokens.port), {credentials: always(SECRET)}));
    expect(error.message).toBe(
      `${at(withTokens.port)}: the token service ${new URL(tokens.url).host} answers ${text}`,
    );
    expect(error.hint).toBeDefined();
  });

  test('a token service that has trouble for a while', async () => {
    let count = 0;
    tokens.refuse = () => (++count <= 3 ? {status: 503, body: ''} : undefined);
    expect((await puller.pull(at(withTokens.port))).disk.equals(DISK)).toBe(true);
  });

  test.each(['', 'not json', '{}', '{"token":42}', '{"token":"a\\nb"}'])(
    'one that answers %j',
    async body => {
      tokens.refuse = () => ({status: 200, body});
      const error = await failureOf(puller.pull(at(withTokens.port)));
      expect(error.message).toContain('answers without a token');
    },
  );
});

describe('redirects', () => {
  test('the login does not follow to another host', async () => {
    const store = await startFaultProxy(open.port);
    // Another name of the same machine is another origin.
    proxy.rule = ({path}) =>
      path.endsWith(layer.digest)
        ? {
            kind: 'answer',
            status: 307,
            headers: {location: `http://localhost:${store.port}${path}?signature=x`},
          }
        : undefined;
    try {
      const {disk} = await puller.pull(at(proxy.port), {credentials: always(SECRET)});
      expect(disk.equals(DISK)).toBe(true);
      expect(store.seen).toHaveLength(1);
      expect(store.seen[0]?.headers.authorization).toBeUndefined();
      const asked = proxy.seen.find(({path}) => path.endsWith(layer.digest));
      expect(asked?.headers.authorization).toMatch(/^Bearer /);
    } finally {
      await store.close();
    }
  });

  test('a cut connection behind one goes on with the range, by way of the registry', async () => {
    const store = await startFaultProxy(open.port);
    let isFirst = true;
    store.rule = () => {
      const fault = isFirst ? ({kind: 'reset', atByte: 50_000} as const) : undefined;
      isFirst = false;
      return fault;
    };
    proxy.rule = ({path}) =>
      path.endsWith(layer.digest)
        ? {kind: 'answer', status: 302, headers: {location: `http://localhost:${store.port}${path}`}}
        : undefined;
    try {
      expect((await puller.pull(at(proxy.port))).disk.equals(DISK)).toBe(true);
      expect(store.seen.map(({headers}) => headers.range?.slice(0, 6))).toEqual([undefined, 'bytes=']);
      expect(proxy.seen.filter(({path}) => path.endsWith(layer.digest))).toHaveLength(2);
    } finally {
      await store.close();
    }
  });

  test('a 401 of the other host is not answered with the login', async () => {
    const store = await startFaultProxy(open.port);
    store.rule = () => ({
      kind: 'answer',
      status: 401,
      headers: {'www-authenticate': `Bearer realm="${tokens.url}",service="stolen"`},
    });
    proxy.rule = ({path}) =>
      path.endsWith(layer.digest)
        ? {kind: 'answer', status: 307, headers: {location: `http://localhost:${store.port}${path}`}}
        : undefined;
    try {
      const error = await failureOf(puller.pull(at(proxy.port), {credentials: always(SECRET)}));
      expect(error.message).toContain('401 Unauthorized');
      expect(tokens.requests.map(({query}) => query.get('service'))).toEqual(['test-registry']);
    } finally {
      await store.close();
    }
  });

  test.each([
    ['/loop', 'redirects more than 10 times'],
    ['http://[', 'redirects to no address'],
    ['ftp://127.0.0.1/x', 'redirects to ftp://127.0.0.1, which is not encrypted'],
  ])('to %s', async (location, message) => {
    proxy.rule = () => ({kind: 'answer', status: 302, headers: {location}});
    expect((await failureOf(puller.pull(at(proxy.port)))).message).toContain(message);
  });
});

describe("docker's config", () => {
  const port = (): number => withPassword.port;
  const pullWith = async (config: unknown, env: NodeJS.ProcessEnv = {}): Promise<Buffer> => {
    const home = mkdtempSync(join(dir, 'home-'));
    mkdirSync(join(home, '.docker'));
    writeFileSync(join(home, '.docker/config.json'), JSON.stringify(config));
    const credentials = dockerCredentials({
      env: {...process.env, HOME: home, ...env},
      warn: message => void puller.warnings.push(message),
    });
    return (await puller.pull(at(port()), {credentials})).disk;
  };
  const auth = Buffer.from('user:secret').toString('base64');

  test('as docker login writes it', async () => {
    expect((await pullWith({auths: {[`127.0.0.1:${port()}`]: {auth}}})).equals(DISK)).toBe(true);
  });

  test.each(['credHelpers', 'credsStore'])('with %s', async kind => {
    const bin = mkdtempSync(join(dir, 'bin-'));
    const helper = join(bin, 'docker-credential-test');
    // It answers only what the protocol sends: the registry's name on standard input.
    writeFileSync(
      helper,
      `#!/bin/sh\n[ "$1" = get ] || exit 2\nread -r name\n[ "$name" = 127.0.0.1:${port()} ] || { echo "credentials not found in native keychain"; exit 1; }\necho '{"ServerURL":"x","Username":"user","Secret":"secret"}'\n`,
    );
    chmodSync(helper, 0o755);
    const config =
      kind === 'credsStore' ? {credsStore: 'test'} : {credHelpers: {[`127.0.0.1:${port()}`]: 'test'}};
    const disk = await pullWith(config, {PATH: `${bin}:${process.env.PATH}`});
    expect(disk.equals(DISK)).toBe(true);
    expect(puller.warnings).toEqual([]);
  });

  test('a helper that is not there is one line, and the pull goes on without a login', async () => {
    const error = await failureOf(pullWith({credsStore: 'missing'}));
    expect(error.message).toContain('401 Unauthorized');
    expect(puller.warnings).toEqual([
      `docker-credential-missing gives no login for 127.0.0.1:${port()}: there is no such program on PATH`,
    ]);
  });

  test('registry-username comes first, for its registry only', async () => {
    const login = {registry: `127.0.0.1:${port()}`, username: 'user', password: 'secret'};
    const other: Credential = {kind: 'password', username: 'other', password: 'other'};
    const credentials = givenCredentials(login, always(other));
    expect((await puller.pull(at(port()), {credentials})).disk.equals(DISK)).toBe(true);
    expect(await credentials.find('ghcr.io')).toEqual(other);
  });
});
