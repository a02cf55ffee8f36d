import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, describe, expect, test} from '@jest/globals';
import type {RegistryAuth, RegistryMirror} from '../../src/base/daemon.ts';
import type {Credential, Logins} from '../../src/base/http.ts';
import type {BuildRequest} from '../../src/base/request.ts';
import {readDockerfile} from '../../src/build/dockerfile/read.ts';
import {type BuildLogins, buildLogins, dockerConfigJson, registriesNamed} from '../../src/build/logins.ts';
import {dockerCredentials} from '../../src/host/docker-config.ts';
import {parseInputs} from '../../src/plan/inputs.ts';
import {makePlan} from '../../src/plan/plan.ts';

const request = (raw: Record<string, string> = {}): BuildRequest =>
  makePlan(parseInputs({archive: 'a.qcow2', ...raw}), {workspaceDir: '/w', storeDir: '/s'}).build.request;
const named = (
  text: string,
  raw: Record<string, string> = {},
  mirrors: RegistryMirror[] = [],
): readonly string[] => {
  const asked = request(raw);
  const buildArgs = Object.fromEntries(asked.buildArgs.map(({key, value}) => [key, value]));
  return registriesNamed({request: asked, dockerfile: readDockerfile(text, {buildArgs}), mirrors});
};

describe('the registries that a build names', () => {
  test.each<[string, Record<string, string>, string[]]>([
    ['FROM scratch', {}, []],
    ['FROM alpine', {}, ['docker.io']],
    ['FROM org/app AS a\nFROM a', {}, ['docker.io']],
    ['FROM index.docker.io/library/alpine', {}, ['docker.io']],
    [
      'FROM ghcr.io/org/app:1 AS a\nFROM quay.io/x/y@sha256:00\nCOPY --from=a /a /\nCOPY --from=0 /b /',
      {},
      ['ghcr.io', 'quay.io'],
    ],
    ['FROM scratch\nCOPY --from=r.example:5000/x /a /', {}, ['r.example:5000']],
    ['FROM scratch\nRUN --mount=type=bind,from=localhost/x,target=/x true', {}, ['localhost']],
    ['FROM scratch\nONBUILD COPY --from=r.example/x /a /', {}, ['r.example']],
    ['ARG R=r.example\nFROM ${R}/x', {}, ['r.example']],
    ['ARG R=r.example\nFROM ${R}/x', {'build-args': 'R=other.example'}, ['other.example']],
    ['ARG BASE\nFROM $BASE', {}, []],
    ['# syntax=ghcr.io/front/end:1\nFROM scratch', {}, ['ghcr.io']],
    ['FROM scratch', {'build-args': 'BUILDKIT_SYNTAX=docker/dockerfile:1'}, ['docker.io']],
    ['FROM scratch', {tags: 'ghcr.io/org/app:1'}, []],
    ['FROM scratch', {tags: 'ghcr.io/org/app:1', outputs: 'type=oci,dest=x'}, []],
    [
      'FROM scratch',
      {tags: 'ghcr.io/org/app:1,org/app', outputs: 'type=image,push=true'},
      ['ghcr.io', 'docker.io'],
    ],
    ['FROM scratch', {tags: 'ghcr.io/a/b', outputs: 'type=image,push=false'}, []],
    [
      'FROM scratch',
      {tags: 'ghcr.io/a/b', outputs: 'type=image,"name=q.example/a,r.example/b",push=1'},
      ['q.example', 'r.example'],
    ],
    [
      'FROM scratch',
      {
        'cache-from': 'type=registry,ref=a.example/c\nb.example/c\ntype=gha,url=https://c.example',
        'cache-to': 'type=registry,mode=max,ref=d.example/c',
      },
      ['a.example', 'b.example', 'd.example'],
    ],
    ['FROM scratch', {'override-copy-image': 'r.example/copy'}, ['r.example']],
  ])('%j with %j: %j', (text, raw, registries) => expect(named(text, raw)).toEqual(registries));

  test('and the mirrors of those', () => {
    const mirrors = [
      {origin: 'docker.io', mirror: 'm.example/hub', plainHttp: false},
      {origin: 'ghcr.io', mirror: 'n.example', plainHttp: false},
    ];
    expect(named('FROM alpine', {}, mirrors)).toEqual(['docker.io', 'm.example']);
  });
});

const login = (name: string): Credential => ({kind: 'password', username: name, password: `pw-${name}`});

/** Logins as docker knows them; notes what was asked for. */
function fake(...registries: string[]): Logins & {readonly asked: string[]} {
  const asked: string[] = [];
  return {
    asked,
    async find(registry) {
      asked.push(registry);
      return registries.includes(registry) ? login(registry) : undefined;
    },
    registries: async () => registries,
  };
}

describe('the logins that a build gets', () => {
  const get = async (auth: RegistryAuth, text: string | undefined, logins: Logins): Promise<BuildLogins> =>
    buildLogins(auth, logins, {
      request: request(),
      ...(text !== undefined && {dockerfile: readDockerfile(text)}),
      mirrors: [],
    });

  test('auto: of the registries that it names, and no other is asked for', async () => {
    const logins = fake('ghcr.io', 'docker.io', 'secret.example');
    expect([...(await get('auto', 'FROM ghcr.io/a\nCOPY --from=r.example/x / /', logins)).keys()]).toEqual([
      'ghcr.io',
    ]);
    expect(logins.asked).toEqual(['ghcr.io', 'r.example']);
  });

  test('auto: all for a Dockerfile that lies elsewhere', async () => {
    expect([...(await get('auto', undefined, fake('a.example', 'b.example'))).keys()]).toEqual([
      'a.example',
      'b.example',
    ]);
  });

  test('true: all', async () => {
    expect([...(await get('true', 'FROM scratch', fake('a.example', 'docker.io'))).keys()]).toEqual([
      'a.example',
      'docker.io',
    ]);
  });

  test('true without any is an error', async () => {
    await expect(get('true', 'FROM alpine', fake())).rejects.toThrow(/^registry-auth: true/);
    expect((await get('auto', 'FROM alpine', fake())).size).toBe(0);
  });

  test('false: none, and nobody is asked', async () => {
    const logins = fake('docker.io');
    expect((await get('false', 'FROM alpine', logins)).size).toBe(0);
    expect(logins.asked).toEqual([]);
  });

  test.each(['localhost:5000', '127.0.0.1:5000', '10.0.2.2:5000'])(
    'a registry of this machine, logged into as %s',
    async name => {
      const wanted = new Map([['10.0.2.2:5000', login(name)]]);
      expect(await get('auto', 'FROM 10.0.2.2:5000/x', fake(name))).toEqual(wanted);
      expect((await get('true', 'FROM scratch', fake(name))).get('10.0.2.2:5000')).toEqual(login(name));
      expect(await get('auto', 'FROM 10.0.2.2:5001/x', fake(name))).toEqual(new Map());
    },
  );
});

describe('the file for buildctl', () => {
  const dir = mkdtempSync(join(tmpdir(), 'logins-'));
  afterEach(() => rmSync(dir, {recursive: true, force: true}));

  test('has the forms of docker’s own, so that our reader finds the same in it', async () => {
    const logins = new Map<string, Credential>([
      ['docker.io', {kind: 'password', username: 'ü', password: 'p:ä€'}],
      ['10.0.2.2:5000', {kind: 'identity', token: 'idtoken'}],
      ['r.example', {kind: 'bearer', token: 'regtoken'}],
    ]);
    const text = dockerConfigJson(logins);
    expect(JSON.parse(text)).toEqual({
      auths: {
        'https://index.docker.io/v1/': {auth: Buffer.from('ü:p:ä€').toString('base64')},
        '10.0.2.2:5000': {identitytoken: 'idtoken'},
        'r.example': {registrytoken: 'regtoken'},
      },
    });
    writeFileSync(join(dir, 'config.json'), text);
    const read = dockerCredentials({env: {DOCKER_CONFIG: dir}, warn: () => undefined});
    for (const [registry, credential] of logins) expect(await read.find(registry)).toEqual(credential);
    expect(await read.registries()).toEqual([...logins.keys()]);
  });
});
