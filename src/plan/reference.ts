import {UserError} from '../base/errors.ts';
import {formatReference, type ImageReference, isLoopback} from '../base/image-reference.ts';

// The grammar is that of github.com/distribution/reference, regexp.go; parsers on npm are unmaintained, or that code compiled to 1.8 MB.
const LABEL = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const HOST = `(?:${LABEL}(?:\\.${LABEL})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
const PART = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const WHOLE_HOST = new RegExp(`^${HOST}$`);
const WHOLE_PATH = new RegExp(`^${PART}(?:/${PART})*$`);
const TAG = /^[\w][\w.-]{0,127}$/;
const DIGEST = /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/;
/** distribution/reference, `RepositoryNameTotalLengthMax`. */
const MAX_NAME_LENGTH = 255;

/**
 * Parses the name of an image: `[http://|https://|docker://][HOST[:PORT]/]PATH[:TAG][@DIGEST]`. A first part that looks like no host is Docker Hub's
 * namespace, one without a namespace is in `library`, and without tag and digest the tag is `latest`, all as docker has it.
 * @param input The input it came from, for the message. @throws UserError when it is no reference.
 */
export function parseReference(text: string, input: string): ImageReference {
  const {scheme, rest} = splitScheme(text.trim());
  const [beforeDigest = '', digest, ...more] = rest.split('@');
  const {name, tag} = splitTag(beforeDigest);
  const fail = (what: string): never => {
    throw new UserError(`${input}: ${JSON.stringify(text)} is no image reference: ${what}`, {
      input,
      stage: 'inputs',
      hint: 'write HOST/PATH:TAG or HOST/PATH@sha256:DIGEST, such as ghcr.io/ctrsploit/buildkit-v0.20.2:latest',
    });
  };
  if (more.length > 0) return fail('it has more than one "@"');
  if (digest !== undefined && !DIGEST.test(digest)) return fail(`${JSON.stringify(digest)} is no digest`);
  if (tag !== undefined && !TAG.test(tag)) return fail(`${JSON.stringify(tag)} is no tag`);
  const {registry, repository} = splitHost(name);
  if (!WHOLE_HOST.test(registry)) return fail(`${JSON.stringify(registry)} is no host`);
  if (repository === '') return fail('it names no repository');
  if (/[A-Z]/.test(repository)) return fail('the repository must be in lower case');
  if (!WHOLE_PATH.test(repository)) return fail(`${JSON.stringify(repository)} is no repository`);
  if (repository.length > MAX_NAME_LENGTH)
    return fail(`the repository is longer than ${MAX_NAME_LENGTH} characters`);
  const effectiveTag = tag ?? (digest === undefined ? 'latest' : undefined);
  return {
    registry,
    repository,
    ...(effectiveTag !== undefined && {tag: effectiveTag}),
    ...(digest !== undefined && {digest}),
    plainHttp: scheme === 'http' || (scheme !== 'https' && isLoopback(registry)),
  };
}

/**
 * The error for an image that holds no VM by its name: the published `ctr_` images have an archive's root file system as an ordinary
 * container image. Undefined for all others. Said before the download, since only its end would show it.
 */
export function explainCtrImage(reference: ImageReference, input: string): UserError | undefined {
  const ofTag = /^ctr_(?=latest$|v?\d|buildkit-)/.exec(reference.tag ?? '');
  const ofName = /(?<=^|\/)ctr_(?=buildkit-|docker_archive)/.exec(reference.repository);
  if (!ofTag && !ofName) return undefined;
  const {digest: _, ...rest} = reference;
  const meant: ImageReference = {
    ...rest,
    repository: reference.repository.replace(/(?<=^|\/)ctr_(?=buildkit-|docker_archive)/, ''),
    ...(reference.tag !== undefined && {tag: reference.tag.replace(/^ctr_/, '')}),
  };
  return ctrError(`${input}: ${formatReference(reference)}`, formatReference(meant), input);
}

export function ctrError(what: string, meant: string, input: string): UserError {
  return new UserError(
    `${what} is a "ctr_" image: the archive's root file system as an ordinary container image, without the VM disk /vm.qcow2`,
    {input, stage: 'inputs', hint: `leave out "ctr_": ${meant}`},
  );
}

/** True for `HOST[:PORT]`. */
export function isHost(text: string): boolean {
  return WHOLE_HOST.test(text);
}

/** True for a repository's path, without a tag. */
export function isRepository(path: string): boolean {
  return WHOLE_PATH.test(path);
}

/** Takes a scheme off: `http` asks for a connection without TLS. */
export function splitScheme(text: string): {scheme: 'http' | 'https' | undefined; rest: string} {
  const match = /^(https?|docker):\/\//i.exec(text);
  const scheme = match?.[1]?.toLowerCase();
  return {
    scheme: scheme === 'http' || scheme === 'https' ? scheme : undefined,
    rest: text.slice(match?.[0].length ?? 0),
  };
}

/** Splits host and path by docker's rule: the first part is a host when it has a dot or a colon, or is `localhost`. */
export function splitHost(name: string): {registry: string; repository: string} {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isHost = first === 'localhost' || /[.:]/.test(first) || first !== first.toLowerCase();
  if (!isHost)
    return {registry: 'docker.io', repository: slash < 0 && name !== '' ? `library/${name}` : name};
  const path = name.slice(slash + 1);
  if (!/^(?:index\.)?docker\.io$/.test(first)) return {registry: first, repository: path};
  return {registry: 'docker.io', repository: path.includes('/') || path === '' ? path : `library/${path}`};
}

/** A colon behind the last slash begins a tag; one before it a port. */
function splitTag(text: string): {name: string; tag: string | undefined} {
  const colon = text.lastIndexOf(':');
  return colon > text.lastIndexOf('/')
    ? {name: text.slice(0, colon), tag: text.slice(colon + 1)}
    : {name: text, tag: undefined};
}
