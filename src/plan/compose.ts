import {formatReference} from '../base/image-reference.ts';
import type {ResolvedVersion} from './catalog.ts';
import {referenceOf, type Source} from './catalog-sources.ts';

export interface ComposeOptions {
  /** Where the image is named. */
  readonly source: Source;
  /** Publish on 127.0.0.1 alone; the publishers' files publish on all addresses, and the login is root/root. */
  readonly loopback?: boolean;
  /** Hand /dev/kvm in, as the publishers' docker-compose.kvm.yml does. */
  readonly kvm?: boolean;
}

/** For an archive of which its publishers' port is not known. */
const OTHER_PORT = 2222;

/**
 * The docker compose file with which an archive is published (github.com/ctrsploit/dqd and ssst0n3/docker_archive, `buildkit/<name>/docker-compose.yml`):
 * the revision that is the newest unless one was asked for, SSH on its publishers' port, and for one with a debugger its forward and the next port.
 */
export function composeFile({entry, revision}: ResolvedVersion, options: ComposeOptions): string {
  const {source, loopback = false, kvm = false} = options;
  const image = formatReference(referenceOf(source, entry, revision ?? entry.revisions.at(-1)));
  const port = entry.port ?? OTHER_PORT;
  const host = loopback ? '127.0.0.1:' : '';
  const {debugger: debugPort} = entry;
  const list = (name: string, items: readonly string[]): readonly string[] =>
    items.length === 0 ? [] : [`    ${name}:`, ...items.map(item => `      - "${item}"`)];
  return [
    'services:',
    '  vm:',
    `    image: ${image}`,
    ...list(
      'environment',
      debugPort === undefined ? [] : [`QEMU_HOSTFWD=hostfwd=tcp::${debugPort}-:${debugPort}`],
    ),
    ...list('ports', [
      `${host}${port}:22`,
      ...(debugPort === undefined ? [] : [`${host}${port + 1}:${debugPort}`]),
    ]),
    ...list('devices', kvm ? ['/dev/kvm:/dev/kvm'] : []),
    '    tty: true',
    '    stdin_open: true',
    '',
  ].join('\n');
}
