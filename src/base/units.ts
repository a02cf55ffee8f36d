import {isAtLeast, parseVersion, version} from './version.ts';

/** A release's systemd units. */
export interface Units {
  readonly service: string;
  /** Undefined for releases that cannot be handed a socket. */
  readonly socket: string | undefined;
}

export const UNIT_FOLDER = '/usr/local/lib/systemd/system';

// From the release's own examples/systemd/ (Apache-2.0): the same text in v0.10.0 … v0.32.2 (system/), another in
// v0.9.0; older releases have none.
const DOCUMENTATION = 'Documentation=https://github.com/moby/buildkit\n';
const HEAD = `[Unit]
Description=BuildKit
Requires=buildkit.socket
After=buildkit.socket
${DOCUMENTATION}
[Service]
`;
const HEAD_WITHOUT_SOCKET = `[Unit]
Description=BuildKit
${DOCUMENTATION}
[Service]
`;
const TAIL = `
[Install]
WantedBy=multi-user.target
`;
const SOCKET_HEAD = `[Unit]
Description=BuildKit
${DOCUMENTATION}
[Socket]
ListenStream=%t/buildkit/buildkitd.sock
`;
const SOCKET_TAIL = `
[Install]
WantedBy=sockets.target
`;
const EXEC = 'ExecStart=/usr/local/bin/buildkitd';

const V0_9 = version('v0.9.0');
const V0_10 = version('v0.10.0');

/**
 * The units for a release as upstream ships them. `fd://` as an address came with v0.9.0: an older daemon makes its
 * own socket, so there is no socket unit; a client that came too early would hang on systemd's.
 * @param release a version as in `v0.20.2`; what is no version (a fork's name) counts as new.
 */
export function unitsFor(release: string): Units {
  const parsed = parseVersion(release);
  if (!parsed || isAtLeast(parsed, V0_10)) {
    return {
      service: `${HEAD}Type=notify\n${EXEC} --addr fd://\n${TAIL}`,
      socket: `${SOCKET_HEAD}SocketMode=0660\n${SOCKET_TAIL}`,
    };
  }
  if (isAtLeast(parsed, V0_9)) {
    return {service: `${HEAD}${EXEC} --addr fd://\n${TAIL}`, socket: `${SOCKET_HEAD}${SOCKET_TAIL}`};
  }
  return {service: `${HEAD_WITHOUT_SOCKET}${EXEC}\n${TAIL}`, socket: undefined};
}

/** The targets that want a unit (`WantedBy=` in its [Install] section). */
export function wantedBy(unit: string): string[] {
  return unit
    .split('\n')
    .filter(line => line.startsWith('WantedBy='))
    .flatMap(line => line.slice('WantedBy='.length).trim().split(/\s+/));
}

/** Groups the base system has; a socket unit may name one of them as `SocketGroup=`. */
export const KNOWN_GROUPS: readonly string[] = ['root', 'buildkit'];

/** The group a socket unit asks for, when the base system does not have it. */
export function unknownSocketGroup(socket: string | undefined): string | undefined {
  const group = /^SocketGroup=(\S+)$/m.exec(socket ?? '')?.[1];
  return group === undefined || KNOWN_GROUPS.includes(group) ? undefined : group;
}
