/** The name of an image in a registry (distribution's `reference` grammar), with what docker leaves unsaid filled in. */
export interface ImageReference {
  /** `HOST[:PORT]`; `docker.io` for Docker Hub. */
  readonly registry: string;
  /** `library/busybox`. */
  readonly repository: string;
  readonly tag?: string;
  /** `sha256:…`: with it, the tag only stands in messages. */
  readonly digest?: string;
  /** Speak HTTP without TLS: asked for with `http://`, or the registry is on loopback. */
  readonly plainHttp: boolean;
}

/** `ghcr.io/org/image:tag@sha256:…`, as docker prints it. */
export function formatReference(reference: ImageReference): string {
  const {registry, repository, tag, digest} = reference;
  return `${registry}/${repository}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

/** True for `localhost`, names under it, 127.0.0.0/8 and ::1, with or without a port (RFC 6761, 6.3; RFC 1122, 3.2.1.3). */
export function isLoopback(hostAndPort: string): boolean {
  const host = hostAndPort.replace(/:\d+$/, '').toLowerCase();
  return (
    host === 'localhost' ||
    host.endsWith('.localhost') ||
    host === '[::1]' ||
    host === '::1' ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host)
  );
}
