/** What a build changes of the VM's buildkitd, and what of this machine's logins it gets; nothing here knows a release. */
export interface DaemonRequest {
  /** A `buildkitd.toml` to lay over the archive's own. */
  readonly config?: DaemonConfig;
  /** Further arguments of buildkitd. */
  readonly flags: readonly string[];
  readonly mirrors: readonly RegistryMirror[];
  readonly registryAuth: RegistryAuth;
}

export type DaemonConfig =
  | {readonly kind: 'file'; readonly path: string}
  | {readonly kind: 'text'; readonly text: string};

/** Where the images of a registry are looked for first. */
export interface RegistryMirror {
  /** `HOST[:PORT]`; `docker.io` for Docker Hub. */
  readonly origin: string;
  /** `HOST[:PORT][/PATH]`, as the VM reaches it. */
  readonly mirror: string;
  /** Speak HTTP without TLS. */
  readonly plainHttp: boolean;
}

/** `auto`: logins of the registries that the build names; `true`: all that docker's config has; `false`: none. */
export const REGISTRY_AUTH_MODES = ['auto', 'true', 'false'] as const;
export type RegistryAuth = (typeof REGISTRY_AUTH_MODES)[number];

/** This machine's loopback, seen from the VM (qemu-system(1), `-netdev user`: the default `host`). */
export const HOST_IN_GUEST = '10.0.2.2';
