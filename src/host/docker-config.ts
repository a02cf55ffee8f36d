import {execFile} from 'node:child_process';
import {readFile} from 'node:fs/promises';
import {homedir} from 'node:os';
import {join} from 'node:path';
import {messageOf} from '../base/errors.ts';
import type {Credential, Credentials, Logins} from '../base/http.ts';

/** `~/.docker/config.json` as far as logins go (docker/cli, cli/config/configfile). */
interface DockerConfig {
  readonly auths?: Readonly<Record<string, AuthEntry>>;
  readonly credHelpers?: Readonly<Record<string, string>>;
  readonly credsStore?: string;
}
interface AuthEntry {
  /** Base64 of `NAME:PASSWORD`. */
  readonly auth?: string;
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
  readonly registrytoken?: string;
}

export interface DockerConfigOptions {
  readonly env: NodeJS.ProcessEnv;
  /** A config or helper that fails is no reason to fail: the image may be public. */
  readonly warn: (message: string) => void;
}

/** Docker Hub's logins are kept under the address of its first index (docker/cli, `registry.IndexServer`). */
const DOCKER_HUB_KEY = 'https://index.docker.io/v1/';
const DOCKER_HUB_HOST = 'index.docker.io';
const HELPER_TIMEOUT_MS = 30_000;
/** A helper gives this name with an identity token (docker/docker-credential-helpers, README). */
const TOKEN_USERNAME = '<token>';
/** docker-credential-helpers, credentials/error.go: printed to stdout with exit status 1. */
const NOT_FOUND = 'credentials not found in native keychain';

/** The logins of docker's config, where docker/login-action puts them: `credHelpers`, then `credsStore`, then `auths`. */
export function dockerCredentials(options: DockerConfigOptions): Logins {
  let config: Promise<DockerConfig> | undefined;
  const read = (): Promise<DockerConfig> => {
    config ??= readConfig(options);
    return config;
  };
  return {
    find: async registry => findCredential(await read(), registry, options),
    async registries() {
      const {auths = {}, credHelpers = {}} = await read();
      // What is kept in a `credsStore` has an empty entry in `auths` (docker/cli, cli/config/credentials/native_store.go).
      const hosts = [...Object.keys(auths), ...Object.keys(credHelpers)].map(hostOf);
      return [...new Set(hosts.map(host => (host === DOCKER_HUB_HOST ? 'docker.io' : host)))];
    },
  };
}

/** The same logins; `mask` gets each secret, and the form in which docker keeps it, before anyone else does. */
export function maskedLogins(logins: Logins, mask: (secret: string) => void): Logins {
  return {
    ...logins,
    async find(registry) {
      const found = await logins.find(registry);
      if (found?.kind === 'password') {
        mask(found.password);
        mask(Buffer.from(`${found.username}:${found.password}`).toString('base64'));
      } else if (found) mask(found.token);
      return found;
    },
  };
}

/** A login given by name for one registry, before those of `others`. */
export function givenCredentials(
  login: {readonly registry: string; readonly username: string; readonly password: string} | undefined,
  others: Credentials,
): Credentials {
  return {
    async find(registry) {
      if (login === undefined || login.registry !== registry) return others.find(registry);
      return {kind: 'password', username: login.username, password: login.password};
    },
  };
}

async function readConfig({env, warn}: DockerConfigOptions): Promise<DockerConfig> {
  const path = join(env.DOCKER_CONFIG || join(env.HOME || homedir(), '.docker'), 'config.json');
  try {
    const config: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (typeof config === 'object' && config !== null) return config;
    throw new Error('it is no object');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // The parser's message would quote what it read.
    const why = error instanceof SyntaxError ? 'it is no JSON' : messageOf(error);
    if (code !== 'ENOENT' && code !== 'ENOTDIR') warn(`docker's config ${path} is left out: ${why}`);
    return {};
  }
}

async function findCredential(
  config: DockerConfig,
  registry: string,
  options: DockerConfigOptions,
): Promise<Credential | undefined> {
  const key = registry === 'docker.io' ? DOCKER_HUB_KEY : registry;
  const helper = config.credHelpers?.[key] ?? config.credHelpers?.[registry] ?? config.credsStore;
  const kept = helper ? await askHelper(helper, key, options) : undefined;
  return kept ?? ofEntry(findEntry(config.auths ?? {}, key));
}

/** The entry of exactly this name, else one of the same host (docker/cli, `ResolveAuthConfig`). */
function findEntry(auths: Readonly<Record<string, AuthEntry>>, key: string): AuthEntry | undefined {
  const host = hostOf(key);
  const same = Object.keys(auths).find(name => hostOf(name) === host);
  return auths[key] ?? (same === undefined ? undefined : auths[same]);
}

function hostOf(key: string): string {
  const host = key.replace(/^https?:\/\//, '').split('/')[0] ?? '';
  return ['docker.io', 'registry-1.docker.io'].includes(host) ? DOCKER_HUB_HOST : host;
}

function ofEntry(entry: AuthEntry | undefined): Credential | undefined {
  if (!entry) return undefined;
  if (entry.registrytoken) return {kind: 'bearer', token: entry.registrytoken};
  if (entry.identitytoken) return {kind: 'identity', token: entry.identitytoken};
  const decoded = Buffer.from(entry.auth ?? '', 'base64')
    .toString('utf8')
    .replace(/\0+$/, '');
  const colon = decoded.indexOf(':');
  const username = colon > 0 ? decoded.slice(0, colon) : entry.username;
  const password = colon > 0 ? decoded.slice(colon + 1) : entry.password;
  return username && password ? {kind: 'password', username, password} : undefined;
}

/** Runs `docker-credential-NAME get` with the registry on its standard input (docker-credential-helpers' protocol). */
async function askHelper(
  name: string,
  key: string,
  {env, warn}: DockerConfigOptions,
): Promise<Credential | undefined> {
  const program = `docker-credential-${name}`;
  try {
    if (!/^[\w.-]+$/.test(name)) throw new Error('its name is no program');
    const {Username: username, Secret: secret} = JSON.parse(await run(program, key, env));
    if (typeof username !== 'string' || typeof secret !== 'string' || secret === '') return undefined;
    return username === TOKEN_USERNAME
      ? {kind: 'identity', token: secret}
      : {kind: 'password', username, password: secret};
  } catch (error) {
    if (error instanceof NotFound) return undefined;
    const why = error instanceof SyntaxError ? 'its answer is no JSON' : messageOf(error);
    warn(`${program} gives no login for ${key}: ${why}`);
    return undefined;
  }
}

class NotFound extends Error {}

function run(program: string, input: string, env: NodeJS.ProcessEnv): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      ['get'],
      {env, timeout: HELPER_TIMEOUT_MS, encoding: 'utf8'},
      (error, stdout, stderr) => {
        if (!error) return resolve(stdout);
        if (stdout.includes(NOT_FOUND)) return reject(new NotFound());
        if (error.code === undefined && error.killed)
          return reject(new Error(`no answer within ${HELPER_TIMEOUT_MS / 1000} s`));
        const said = `${stdout} ${stderr}`.replace(/\s+/g, ' ').trim().slice(0, 200);
        reject(
          (error.code as unknown) === 'ENOENT'
            ? new Error('there is no such program on PATH')
            : new Error(said || `it ended with exit status ${error.code}`),
        );
      },
    );
    // A program that reads nothing says so by its exit status.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });
}
