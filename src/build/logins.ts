import {HOST_IN_GUEST, type RegistryAuth, type RegistryMirror} from '../base/daemon.ts';
import {UserError} from '../base/errors.ts';
import type {Credential, Logins} from '../base/http.ts';
import type {Session} from '../base/ports.ts';
import type {BuildRequest} from '../base/request.ts';
import {attribute, csvFields} from './arg-list.ts';
import {registryOf} from './dockerfile/image-name.ts';
import {sourcesOf} from './dockerfile/stages.ts';
import type {Dockerfile} from './dockerfile/types.ts';

/** What a build says of the registries it will speak with. */
export interface NamedImages {
  readonly request: BuildRequest;
  /** Absent when it is not on this machine: then any registry can be named in it. */
  readonly dockerfile?: Dockerfile;
  /** Hosts of mirrors, from all inputs. */
  readonly mirrors: readonly RegistryMirror[];
}

/** By registry, as BuildKit asks for them. */
export type BuildLogins = ReadonlyMap<string, Credential>;

/**
 * The logins that a build gets: with `auto` those of registries that its Dockerfile, tags, caches and mirrors name, or all when its Dockerfile lies
 * elsewhere; a build that is hostile should find no other.
 * @throws UserError for `true` without any login.
 */
export async function buildLogins(
  auth: RegistryAuth,
  logins: Logins,
  images: NamedImages,
): Promise<BuildLogins> {
  if (auth === 'false') return new Map();
  const all = await logins.registries();
  const wanted =
    auth === 'true' || !images.dockerfile ? [...all, ...all.flatMap(fromGuest)] : registriesNamed(images);
  const found = new Map<string, Credential>();
  for (const registry of new Set(wanted)) {
    for (const name of [registry, ...onThisMachine(registry)]) {
      const login = found.has(registry) ? undefined : await logins.find(name);
      if (login) found.set(registry, login);
    }
  }
  if (auth === 'true' && found.size === 0) {
    throw new UserError("registry-auth: true, and docker's config has no login", {
      input: 'registry-auth',
      stage: 'inputs',
      hint: 'log in first (docker/login-action), or leave registry-auth at auto',
    });
  }
  return found;
}

/** The registries that a build's images, frontend, caches and pushes name, in this order. */
export function registriesNamed({request, dockerfile, mirrors}: NamedImages): readonly string[] {
  const images = [
    dockerfile?.syntax?.value.split(/\s/)[0],
    ...(dockerfile?.stages.filter(({baseStage}) => baseStage === undefined).map(({base}) => base) ?? []),
    ...(dockerfile?.instructions.flatMap(sourcesOf).filter(from => !isStage(from, dockerfile)) ?? []),
    ...request.buildArgs.filter(({key}) => key === 'BUILDKIT_SYNTAX').map(({value}) => value),
    request.overrideCopyImage,
    ...[...request.cacheFrom, ...request.cacheTo].map(cacheImage),
    ...pushedNames(request),
  ];
  // A name with a variable that only the build knows may be any.
  const named = images.filter(
    image => image !== undefined && image !== '' && image !== 'scratch' && !image.startsWith('$'),
  );
  const registries = [...new Set(named.map(image => registryOf(image ?? '')))];
  const hosts = mirrors
    .filter(({origin}) => registries.includes(origin))
    .map(({mirror}) => mirror.split('/')[0] ?? '');
  return [...new Set([...registries, ...hosts])];
}

function isStage(from: string, {stages}: Dockerfile): boolean {
  return /^\d+$/.test(from) || stages.some(({name}) => name === from.toLowerCase());
}

/** The image of a registry's cache: `type=registry,ref=IMAGE`, or `IMAGE`. */
function cacheImage(text: string): string | undefined {
  if (!text.includes('=')) return text;
  const fields = (csvFields(text) ?? []).map(field => field.trim());
  const type = fields.find(field => /^type=/i.test(field))?.slice('type='.length) ?? 'registry';
  return type.toLowerCase() === 'registry'
    ? fields.find(field => /^ref=/i.test(field))?.slice('ref='.length)
    : undefined;
}

function pushedNames({outputs, tags}: BuildRequest): readonly string[] {
  return outputs.flatMap(output => {
    const pushes = ['push', 'push-by-digest'].some(key =>
      /^(?:1|t|T|true|TRUE|True)$/.test(attribute(output, key) ?? ''),
    );
    if (output.type !== 'image' || !pushes) return [];
    return attribute(output, 'name')?.split(',') ?? tags;
  });
}

/** A registry of this machine is known to docker by a name of its loopback, and to the VM by another. */
function onThisMachine(registry: string): readonly string[] {
  const port = portOf(registry);
  return registry === `${HOST_IN_GUEST}${port}`
    ? ['localhost', '127.0.0.1', '[::1]'].map(host => `${host}${port}`)
    : [];
}

function fromGuest(registry: string): readonly string[] {
  const port = portOf(registry);
  return onThisMachine(`${HOST_IN_GUEST}${port}`).includes(registry) ? [`${HOST_IN_GUEST}${port}`] : [];
}

function portOf(registry: string): string {
  return /:\d+$/.exec(registry)?.[0] ?? '';
}

/** Docker Hub's logins are kept under the address of its first index, where buildctl looks for them (docker/cli, `registry.IndexServer`). */
const DOCKER_HUB_KEY = 'https://index.docker.io/v1/';

/** docker's `config.json` with these logins. */
export function dockerConfigJson(logins: BuildLogins): string {
  const auths = [...logins].map(([registry, login]) => [
    registry === 'docker.io' ? DOCKER_HUB_KEY : registry,
    entryOf(login),
  ]);
  return JSON.stringify({auths: Object.fromEntries(auths)});
}

function entryOf(login: Credential): object {
  if (login.kind === 'identity') return {identitytoken: login.token};
  if (login.kind === 'bearer') return {registrytoken: login.token};
  const bytes = new TextEncoder().encode(`${login.username}:${login.password}`);
  return {auth: btoa(String.fromCharCode(...bytes))};
}

/**
 * Lends the logins to `use`: a file where buildctl runs that its user alone can read, named to buildctl by its environment, gone when it returns.
 * @param dir the folder for it: in the VM, one in its memory.
 */
export async function withLogins<T>(
  session: Session,
  dir: string,
  logins: BuildLogins,
  signal: AbortSignal,
  use: (env: Readonly<Record<string, string>>) => Promise<T>,
): Promise<T> {
  if (logins.size === 0) return use({});
  const made = await session.output(['mkdir', '-p', '-m', '0700', dir], {signal});
  if (made.code !== 0) throw new Error(`cannot make ${dir}: ${made.stderr.trim()}`);
  try {
    await session.put(dockerConfigJson(logins), `${dir}/config.json`, {mode: 0o600, signal});
    return await use({DOCKER_CONFIG: dir});
  } finally {
    // A VM that is gone has no file left either.
    await session.output(['rm', '-rf', dir], {timeoutMs: 10_000}).catch(() => undefined);
  }
}
