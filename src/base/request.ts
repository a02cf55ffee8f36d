/** One build, in the terms of docker/build-push-action; nothing here knows where or on what it will run. */
export interface BuildRequest {
  readonly context: ContextSource;
  /** Where the Dockerfile lies: a folder and a name for local files; only a name inside a Git context. */
  readonly dockerfile: {readonly dir?: string; readonly name: string};
  readonly target?: string;
  readonly buildArgs: readonly KeyValue[];
  readonly labels: readonly KeyValue[];
  readonly noCache: boolean;
  /** Stages whose cache is not used; empty for none. */
  readonly noCacheFilters: readonly string[];
  readonly pull: boolean;
  readonly platforms: readonly string[];
  /** `host=ip`. */
  readonly addHosts: readonly KeyValue[];
  readonly outputs: readonly OutputSpec[];
  readonly tags: readonly string[];
  readonly secrets: readonly SecretSpec[];
  readonly allow: readonly string[];
  readonly network?: string;
  readonly shmSize?: string;
  readonly ulimits: readonly KeyValue[];
  readonly cacheFrom: readonly string[];
  readonly cacheTo: readonly string[];
  /** v0.3/v0.4 only: the image that carries out COPY and ADD. */
  readonly overrideCopyImage?: string;
}

export type ContextSource =
  | {readonly kind: 'local'; readonly dir: string}
  /** A Git or HTTP(S) URL, handed to BuildKit as it is (`https://…git#ref:dir`). */
  | {readonly kind: 'remote'; readonly url: string};

export interface KeyValue {
  readonly key: string;
  readonly value: string;
}

/** What to do with what a release's built-in frontend is foreseen not to understand. */
export const PREFLIGHT_MODES = ['notice', 'error', 'off'] as const;
export type PreflightMode = (typeof PREFLIGHT_MODES)[number];

/** Where buildctl runs. */
export const CLIENT_PLACES = ['vm', 'runner'] as const;
export type ClientPlace = (typeof CLIENT_PLACES)[number];

export const OUTPUT_TYPES = ['local', 'tar', 'oci', 'docker', 'image'] as const;
export type OutputType = (typeof OUTPUT_TYPES)[number];

/** Attributes of an output that some release reads; `annotation…` has a key in its name. Others are passed on, since a fork may know them. */
export const OUTPUT_ATTRIBUTES = [
  'annotation',
  'attestation-inline',
  'attestation-prefix',
  'buildinfo',
  'buildinfo-attrs',
  'compression',
  'compression-level',
  'danging-name-empty-only',
  'dangling-name-prefix',
  'force-compression',
  'mode',
  'name',
  'name-canonical',
  'oci-artifact',
  'oci-mediatypes',
  'platform-split',
  'prefer-nondist-layers',
  'push',
  'push-by-digest',
  'registry.insecure',
  'rewrite-timestamp',
  'store',
  'tar',
  'unpack',
] as const;

/** One `outputs` entry: `type=local,dest=out`. */
export interface OutputSpec {
  readonly type: OutputType;
  /** Path on the runner where the result goes; absent for `image`. */
  readonly dest?: string;
  /** All other attributes in their order (`name=…`, `push=true`, `compression=zstd`). */
  readonly attrs: readonly KeyValue[];
}

export type SecretSpec =
  | {readonly id: string; readonly kind: 'value'; readonly value: string}
  | {readonly id: string; readonly kind: 'file'; readonly path: string};
