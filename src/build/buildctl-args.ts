import {UserError} from '../base/errors.ts';
import type {BuildRequest, KeyValue} from '../base/request.ts';
import {ArgList, csvLine, type GuestLayout, pair} from './arg-list.ts';
import {CacheArgs} from './cache-args.ts';
import {exporterArgs} from './exporter-args.ts';
import {entryOf, findEntry, type Release} from './versions/table.ts';

/** A command line for buildctl and what it cannot express. */
export interface BuildctlCommand {
  readonly argv: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * buildctl's command line for `request` on `release`. What the release does not know is never passed and hoped for.
 * @throws UserError when leaving an input out would change the result.
 */
export function buildctlArgs(request: BuildRequest, layout: GuestLayout, release: Release): BuildctlCommand {
  const args = new ArgList(release);
  sources(args, request, layout);
  frontendOptions(args, request);
  exporterArgs(args, request, layout);
  new CacheArgs(args).add(request);
  for (const {id} of request.secrets) args.add('--secret', csvLine([`id=${id}`, `src=${layout.secret(id)}`]));
  entitlements(args, request);
  if (args.allows('build --trace', 'trace', layout.trace)) args.add('--trace', layout.trace);
  if (args.knows('build --metadata-file')) args.add('--metadata-file', layout.metadata);
  return {argv: args.argv, warnings: args.warnings};
}

/** The host's network needs an entitlement, which buildx grants with the network; so does this. */
function entitlements(args: ArgList, {allow, network}: BuildRequest): void {
  const granted = network === 'host' && !allow.includes('network.host') ? [...allow, 'network.host'] : allow;
  for (const entitlement of granted) {
    const id = `entitlement ${entitlement.split('=')[0]}`;
    const input = allow.includes(entitlement) ? 'allow' : 'network';
    if (!findEntry(id)) throw refused(input, entitlement, 'network.host, security.insecure, device[=NAME]');
    args.allows(id, input, entitlement);
    args.add('--allow', entitlement);
  }
}

function sources(args: ArgList, request: BuildRequest, layout: GuestLayout): void {
  if (request.context.kind === 'local') {
    args.add('--local', `context=${layout.context}`, '--local', `dockerfile=${layout.dockerfile}`);
  } else {
    for (const form of remoteForms(request.context.url))
      args.allows(`context-form ${form}`, 'context', request.context.url);
    args.opt('context', request.context.url);
  }
  args.opt('filename', request.dockerfile.name);
}

/**
 * What a release must know of remote contexts to fetch this one (frontend/dockerfile: `detectGitContext`, from v0.11.0
 * `gitutil.ParseGitRef`). What BuildKit takes for no URL it would silently take for a local context.
 */
function remoteForms(url: string): readonly string[] {
  const [address = '', fragment = ''] = url.split('#', 2);
  const http = /^https?:\/\//.test(address);
  const overSsh = address.startsWith('ssh://') || /^(?!git@)[\w.-]+@[\w.-]+:/.test(address);
  const git = overSsh || /^(?:git:\/\/|git@|github\.com\/)/.test(address) || /\.git(?:\?|$)/.test(address);
  if (!git && http) return ['http'];
  if (!git) throw refused('context', url, 'a folder, a Git URL, or an HTTP(S) URL');
  return [
    'git',
    ...(fragment.includes(':') ? ['git with subdirectory'] : []),
    ...(overSsh ? ['git over ssh://'] : []),
    ...(address.includes('?') ? ['git with query'] : []),
  ];
}

function frontendOptions(args: ArgList, request: BuildRequest): void {
  if (request.target !== undefined) args.opt('target', request.target);
  for (const {key, value} of request.buildArgs) {
    const known = findEntry(`frontend-option build-arg:${key}`);
    // To an older frontend it is an argument like any other, which it is passed as.
    if (known) args.reads(known, 'build-args', key);
    args.opt(`build-arg:${key}`, value);
  }
  for (const {key, value} of request.labels) args.opt(`label:${key}`, value);
  platforms(args, request.platforms);
  if (request.addHosts.length > 0) args.opt('add-hosts', csvLine(request.addHosts.map(host)));
  if (request.pull) args.opt('image-resolve-mode', 'pull');
  noCache(args, request);
  const network = networkMode(request.network);
  if (network !== undefined) args.opt('force-network-mode', network);
  if (request.shmSize !== undefined && args.allows('frontend-option shm-size', 'shm-size', request.shmSize)) {
    args.opt('shm-size', String(sizeBytes('shm-size', request.shmSize)));
  }
  if (
    request.ulimits.length > 0 &&
    args.allows('frontend-option ulimit', 'ulimit', request.ulimits.map(pair).join(','))
  ) {
    args.opt('ulimit', request.ulimits.map(pair).join(','));
  }
  const image = request.overrideCopyImage;
  if (
    image !== undefined &&
    args.allows('frontend-option override-copy-image', 'override-copy-image', image)
  ) {
    args.opt('override-copy-image', image);
  }
}

/** Archives are VMs of x86-64; whether a platform that is foreign to it is run at all is for the release to say. */
function platforms(args: ArgList, names: readonly string[]): void {
  if (names.length === 0) return;
  const foreign = names.filter(name => !/^linux\/(?:amd64|x86_64)(?:\/|$)/.test(name));
  const emulated = entryOf('frontend-option platform of an emulator');
  if (foreign.length > 0) args.reads(emulated, 'platforms', foreign.join(','));
  args.opt('platform', names.join(','));
}

function noCache(args: ArgList, request: BuildRequest): void {
  if (request.noCache && args.knows('build --no-cache with a frontend')) args.add('--no-cache');
  else if (request.noCache) args.opt('no-cache', '');
  else if (request.noCacheFilters.length > 0) args.opt('no-cache', request.noCacheFilters.join(','));
}

/** Frontends of all releases know `host` and `none`, and refuse `default`, which is what they do when told nothing. */
function networkMode(network: string | undefined): string | undefined {
  if (network === undefined || network === '' || network === 'default' || network === 'sandbox')
    return undefined;
  if (network === 'host' || network === 'none') return network;
  throw refused('network', network, 'default, host, none');
}

/** `HOST=IP`; an IPv6 address goes without the brackets that docker allows around it. */
function host({key, value}: KeyValue): string {
  return pair({key, value: value.replace(/^\[(.*)\]$/, '$1')});
}

function refused(input: string, value: string, allowed: string): UserError {
  return new UserError(`${input}: ${JSON.stringify(value)} is not allowed; allowed: ${allowed}`, {
    input,
    stage: 'inputs',
    hint: `set ${input} to one of the allowed values, or leave it out`,
  });
}

/** Bytes of `64m`, `1g`, `67108864` (docker's units, binary). */
function sizeBytes(input: string, text: string): number {
  const match = /^(\d+)\s*([bkmg]?)b?$/i.exec(text);
  const factor = {b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3}[(match?.[2] || 'b').toLowerCase()];
  if (match && factor !== undefined) return Number(match[1]) * factor;
  throw refused(input, text, 'a size: bytes, or a number with k, m or g, such as 128m');
}
