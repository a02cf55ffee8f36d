import {CACHE_MODES, type CacheMode} from '../base/cache.ts';
import {REGISTRY_AUTH_MODES, type RegistryAuth} from '../base/daemon.ts';
import {DERIVE_MODES, type DeriveMode, RUNC_CHOICES, type RuncChoice} from '../base/derive.ts';
import {UserError} from '../base/errors.ts';
import {nearest} from '../base/nearest.ts';
import {
  CLIENT_PLACES,
  type ClientPlace,
  type KeyValue,
  type OutputSpec,
  PREFLIGHT_MODES,
  type PreflightMode,
  type SecretSpec,
} from '../base/request.ts';
import {EXPECTATIONS, type Expectation} from '../base/result.ts';
import {parseDaemonFlags, parseMirror} from './daemon.ts';
import {parseOutput} from './outputs.ts';
import * as values from './values.ts';

/** All inputs with their parsed types. `action.yml` and the command line offer exactly these names. */
export type Inputs = {readonly [K in InputName]: ReturnType<(typeof INPUTS)[K]['parse']>};
export type InputName = keyof typeof INPUTS;

/** One input: its default as text, how its text is read, and whether it is a list (a repeatable flag on the command line). */
interface Input<T> {
  readonly default: string;
  readonly list?: 'lines' | 'commas';
  readonly parse: (text: string, name: string) => T;
}

const text: Input<string> = {default: '', parse: value => value};
const flag = (byDefault: boolean): Input<boolean> => ({
  default: String(byDefault),
  parse: (value, name) => values.parseBoolean(name, value),
});
const choice = <T extends string>(byDefault: T, choices: readonly T[]): Input<T> => ({
  default: byDefault,
  parse: (value, name) => values.parseChoice(name, value, choices),
});
const lines = <T>(
  one: (item: string, name: string) => T,
  options: {quote?: boolean} = {},
): Input<readonly T[]> => ({
  default: '',
  list: 'lines',
  parse: (value, name) =>
    values.parseList(name, value, {ignoreComma: true, ...options}).map(item => one(item, name)),
});
const commas = <T>(one: (item: string, name: string) => T): Input<readonly T[]> => ({
  default: '',
  list: 'commas',
  parse: (value, name) => values.parseList(name, value).map(item => one(item, name)),
});
const outputs = (): Input<readonly OutputSpec[]> => ({
  default: '',
  list: 'lines',
  parse: (value, name) =>
    values.parseList(name, value, {ignoreComma: true, quote: false}).flatMap(item => parseOutput(item)),
});
const same = (item: string): string => item;
const pair = (item: string, name: string): KeyValue => values.parseKeyValue(name, item);

export const INPUTS = {
  archive: text,
  'buildkit-version': text,
  derive: choice<DeriveMode>('auto', DERIVE_MODES),
  'runc-version': choice<RuncChoice>('bundled', RUNC_CHOICES),
  'release-mirror': {default: '', parse: (value: string, name: string) => values.parseHttpUrl(name, value)},
  'release-sha256': {default: '', parse: (value: string, name: string) => values.parseSha256(name, value)},
  'buildkit-binaries': text,
  registries: commas(same),
  'registry-username': text,
  'registry-password': text,
  cache: choice<CacheMode>('true', CACHE_MODES),
  context: {...text, default: '.'},
  file: text,
  target: text,
  'build-args': lines(buildArg),
  labels: lines(pair),
  tags: commas(same),
  'no-cache': flag(false),
  'no-cache-filters': commas(same),
  pull: flag(false),
  platforms: commas(same),
  'add-hosts': commas(addHost),
  outputs: outputs(),
  secrets: lines(secretValue),
  'secret-files': lines(secretFile),
  allow: commas(same),
  network: text,
  'shm-size': text,
  ulimit: lines(pair),
  'cache-from': lines(same, {quote: false}),
  'cache-to': lines(same, {quote: false}),
  'override-copy-image': text,
  'buildkitd-config': text,
  'buildkitd-config-inline': text,
  'buildkitd-flags': {default: '', parse: parseDaemonFlags},
  'registry-mirrors': commas(parseMirror),
  'registry-auth': choice<RegistryAuth>('auto', REGISTRY_AUTH_MODES),
  expect: choice<Expectation>('success', EXPECTATIONS),
  client: choice<ClientPlace>('vm', CLIENT_PLACES),
  preflight: choice<PreflightMode>('notice', PREFLIGHT_MODES),
  launcher: choice('auto', ['auto', 'qemu', 'docker'] as const),
  accelerator: choice('auto', ['auto', 'kvm', 'tcg'] as const),
  machine: choice('auto', ['auto', 'published'] as const),
  snapshot: choice('auto', ['auto', 'off'] as const),
  cpus: {
    default: '2',
    parse: (value: string, name: string) => values.parseInteger(name, value, {min: 1, max: 64, unit: 'CPUs'}),
  },
  memory: {
    default: '2048M',
    parse: (value: string, name: string) => values.parseMemoryMib(name, value, {min: 256, max: 1_048_576}),
  },
  'boot-timeout': {
    default: '5m',
    parse: (value: string, name: string) => values.parseSeconds(name, value, {min: 1, max: 3600}),
  },
  'kvm-patience': {
    default: '30s',
    parse: (value: string, name: string) => values.parseSeconds(name, value, {min: 1, max: 3600}),
  },
  'debug-port': {default: '', parse: (value: string, name: string) => values.parsePort(name, value)},
  'build-timeout': {
    default: '6h',
    parse: (value: string, name: string) => values.parseSeconds(name, value, {min: 1, max: 86_400}),
  },
  'keep-running': flag(false),
  summary: flag(true),
  annotations: flag(true),
} as const satisfies Record<string, Input<unknown>>;

export const INPUT_NAMES = Object.keys(INPUTS) as readonly InputName[];

/**
 * Parses every input once. An absent or empty text stands for the default, as an unset input of a workflow is empty.
 * @throws UserError for the first bad value, and for a name that is no input, with the nearest one.
 */
export function parseInputs(raw: Readonly<Record<string, string | undefined>>): Inputs {
  for (const name of Object.keys(raw)) {
    if (!Object.hasOwn(INPUTS, name)) throw unknownInput(name);
  }
  const parsed = INPUT_NAMES.map(name => {
    const input: Input<unknown> = INPUTS[name];
    const given = (raw[name] ?? '').trim();
    return [name, input.parse(given === '' ? input.default : given, name)];
  });
  return Object.fromEntries(parsed) as Inputs;
}

function unknownInput(name: string): UserError {
  const near = nearest(name, INPUT_NAMES);
  return new UserError(`there is no input "${name}"; the inputs are: ${INPUT_NAMES.join(', ')}`, {
    input: name,
    stage: 'inputs',
    hint: near === undefined ? 'take one from the list' : `did you mean "${near}"?`,
  });
}

/** `KEY=VALUE`, or `KEY` alone for a value from the environment, which the caller looks up: here it is refused by name. */
function buildArg(item: string, name: string): KeyValue {
  return values.parseKeyValue(name, item);
}

/** `host:ip` or `host=ip`, as docker build has it; an IPv6 address may stand in brackets. */
function addHost(item: string, name: string): KeyValue {
  const {key, value} = values.parseKeyValue(name, item, ':=');
  const ip = value.replace(/^\[(.*)\]$/, '$1');
  if (!/^[0-9a-fA-F:.]+$/.test(ip)) throw values.bad(name, item, 'HOST:IP or HOST=IP');
  return {key, value: ip};
}

function secretValue(item: string, name: string): SecretSpec {
  try {
    const {key, value} = values.parseKeyValue(name, item);
    return {id: secretId(key, name), kind: 'value', value};
  } catch {
    // The item may be the secret itself: it is not repeated in the message.
    throw new UserError(`${name}: an item is not of the form ID=VALUE`, {
      input: name,
      stage: 'inputs',
      hint: 'write one ID=VALUE a line; put a value with line breaks in double quotes together with its ID: "ID=first\\nsecond"',
    });
  }
}

function secretFile(item: string, name: string): SecretSpec {
  const {key, value} = values.parseKeyValue(name, item);
  return {id: secretId(key, name), kind: 'file', path: value};
}

/** The id becomes a file name in the VM and a CSV field of `--secret`. */
function secretId(id: string, name: string): string {
  if (/^[\w.-]+$/.test(id) && !/^\.+$/.test(id)) return id;
  throw values.bad(name, id, 'an ID of letters, digits, ".", "_" and "-"');
}
