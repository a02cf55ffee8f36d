import {chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, describe, expect, test} from '@jest/globals';
import type {Credential} from '../../src/base/http.ts';
import {dockerCredentials, maskedLogins} from '../../src/host/docker-config.ts';

const dir = mkdtempSync(join(tmpdir(), 'docker-config-'));
afterAll(() => rmSync(dir, {recursive: true, force: true}));

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const password = (username: string, secret: string): Credential => ({
  kind: 'password',
  username,
  password: secret,
});

/** Looks a registry up in a config of this text. */
async function find(
  registry: string,
  text: string | undefined,
  env: NodeJS.ProcessEnv = {},
): Promise<{found: Credential | undefined; warnings: string[]}> {
  const config = mkdtempSync(join(dir, 'config-'));
  if (text !== undefined) writeFileSync(join(config, 'config.json'), text);
  const warnings: string[] = [];
  const credentials = dockerCredentials({
    env: {PATH: process.env.PATH, DOCKER_CONFIG: config, ...env},
    warn: message => void warnings.push(message.replaceAll(config, 'DIR')),
  });
  return {found: await credentials.find(registry), warnings};
}
const lookUp = async (registry: string, config: unknown): Promise<Credential | undefined> =>
  (await find(registry, JSON.stringify(config))).found;

describe('auths', () => {
  const entry = {auth: base64('me:pa:ss')};
  test.each([
    ['ghcr.io', 'ghcr.io', true],
    ['ghcr.io', 'https://ghcr.io', true],
    ['ghcr.io', 'https://ghcr.io/v2/', true],
    ['ghcr.io', 'http://ghcr.io/', true],
    ['ghcr.io', 'ghcr.io.evil.example', false],
    ['ghcr.io', 'evil.example/ghcr.io', false],
    ['127.0.0.1:5000', '127.0.0.1:5000', true],
    ['127.0.0.1:5000', '127.0.0.1:5001', false],
    ['127.0.0.1:5000', '127.0.0.1', false],
    ['docker.io', 'https://index.docker.io/v1/', true],
    ['docker.io', 'index.docker.io', true],
    ['docker.io', 'docker.io', true],
    ['docker.io', 'registry-1.docker.io', true],
  ])('%s from the entry %s: %s', async (registry, key, expected) => {
    expect(await lookUp(registry, {auths: {[key]: entry}})).toEqual(
      expected ? password('me', 'pa:ss') : undefined,
    );
  });

  test.each([
    [{auth: base64('ü:€')}, password('ü', '€')],
    [{auth: base64('me:pw\0\0')}, password('me', 'pw')],
    [{username: 'me', password: 'pw'}, password('me', 'pw')],
    [
      {auth: base64('me:pw'), identitytoken: 'id'},
      {kind: 'identity', token: 'id'},
    ],
    [{registrytoken: 'reg'}, {kind: 'bearer', token: 'reg'}],
    [{auth: base64('no colon')}, undefined],
    [{auth: base64(':no-name')}, undefined],
    [{}, undefined],
  ])('%j', async (fields, expected) => {
    expect(await lookUp('ghcr.io', {auths: {'ghcr.io': fields}})).toEqual(expected);
  });

  test('the exact name comes before one of the same host', async () => {
    const auths = {'https://ghcr.io/v1/': {auth: base64('other:x')}, 'ghcr.io': entry};
    expect(await lookUp('ghcr.io', {auths})).toEqual(password('me', 'pa:ss'));
  });
});

describe('helpers', () => {
  const bin = mkdtempSync(join(dir, 'bin-'));
  const helper = (name: string, script: string): void => {
    writeFileSync(join(bin, `docker-credential-${name}`), `#!/bin/sh\n${script}\n`);
    chmodSync(join(bin, `docker-credential-${name}`), 0o755);
  };
  const env = {PATH: `${bin}:${process.env.PATH}`};
  const ask = (config: unknown, registry = 'ghcr.io') => find(registry, JSON.stringify(config), env);
  helper('echo', 'read -r name; printf \'{"Username":"%s","Secret":"%s"}\' "$1" "$name"');
  helper('token', 'cat >/dev/null; echo \'{"Username":"<token>","Secret":"refresh"}\'');
  helper('empty', 'cat >/dev/null; echo "credentials not found in native keychain"; exit 1');
  helper('broken', 'echo "the keychain is locked" >&2; exit 3');
  helper('chatty', 'cat >/dev/null; echo hello');
  const auths = {'ghcr.io': {auth: base64('file:pw')}};

  test.each([
    [{credHelpers: {'ghcr.io': 'echo'}, credsStore: 'token', auths}, password('get', 'ghcr.io')],
    [
      {credHelpers: {'other.example': 'echo'}, credsStore: 'token', auths},
      {kind: 'identity', token: 'refresh'},
    ],
    [{credsStore: 'empty', auths}, password('file', 'pw')],
    [{credsStore: 'empty'}, undefined],
    [{credsStore: ''}, undefined],
  ])('%j', async (config, expected) => {
    expect(await ask(config)).toEqual({found: expected, warnings: []});
  });

  test('Docker Hub is asked for by the address of its index', async () => {
    const {found} = await ask({credsStore: 'echo'}, 'docker.io');
    expect(found).toEqual(password('get', 'https://index.docker.io/v1/'));
  });

  test.each([
    ['broken', 'docker-credential-broken gives no login for ghcr.io: the keychain is locked'],
    ['missing', 'docker-credential-missing gives no login for ghcr.io: there is no such program on PATH'],
    ['chatty', 'docker-credential-chatty gives no login for ghcr.io: its answer is no JSON'],
    ['../x', 'docker-credential-../x gives no login for ghcr.io: its name is no program'],
  ])('%s is a warning', async (name, warning) => {
    expect(await ask({credsStore: name})).toEqual({found: undefined, warnings: [warning]});
  });
});

describe('the file', () => {
  test('that is not there is nothing to speak of', async () => {
    expect(await find('ghcr.io', undefined)).toEqual({found: undefined, warnings: []});
  });

  test.each([
    ['{"auths": secret', 'it is no JSON'],
    ['42', 'it is no object'],
    ['null', 'it is no object'],
  ])('%s is a warning that does not repeat it', async (text, why) => {
    const {found, warnings} = await find('ghcr.io', text);
    expect(found).toBeUndefined();
    expect(warnings).toEqual([`docker's config DIR/config.json is left out: ${why}`]);
  });

  test('lies in ~/.docker without DOCKER_CONFIG', async () => {
    const home = mkdtempSync(join(dir, 'home-'));
    mkdirSync(join(home, '.docker'));
    writeFileSync(
      join(home, '.docker/config.json'),
      JSON.stringify({auths: {'ghcr.io': {auth: base64('a:b')}}}),
    );
    const credentials = dockerCredentials({env: {HOME: home}, warn: () => undefined});
    expect(await credentials.find('ghcr.io')).toEqual(password('a', 'b'));
  });
});

test('registries: those of auths and of credHelpers, by the names that images have', async () => {
  const config = mkdtempSync(join(dir, 'config-'));
  const auths = {'https://index.docker.io/v1/': {}, 'https://ghcr.io': {}, '127.0.0.1:5000': {}};
  writeFileSync(
    join(config, 'config.json'),
    JSON.stringify({auths, credHelpers: {'ecr.example': 'x', 'ghcr.io': 'y'}}),
  );
  const open = (path: string) => dockerCredentials({env: {DOCKER_CONFIG: path}, warn: () => undefined});
  expect(await open(config).registries()).toEqual(['docker.io', 'ghcr.io', '127.0.0.1:5000', 'ecr.example']);
  expect(await open(join(dir, 'none')).registries()).toEqual([]);
});

test('each secret is masked before it is given away, in the form of the file, too', async () => {
  const masked: string[] = [];
  const found: Credential[] = [
    password('me', 'pw'),
    {kind: 'identity', token: 'id'},
    {kind: 'bearer', token: 'tok'},
  ];
  const logins = maskedLogins({find: async () => found.shift(), registries: async () => []}, secret =>
    masked.push(secret),
  );
  for (let i = 0; i < 4; i++) await logins.find('r');
  expect(masked).toEqual(['pw', base64('me:pw'), 'id', 'tok']);
});
