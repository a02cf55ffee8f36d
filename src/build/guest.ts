import type {Readable} from 'node:stream';
import type {Session} from '../base/ports.ts';
import type {SecretSpec} from '../base/request.ts';

/** Where a build's files lie in the VM. */
export interface GuestPaths {
  readonly context: string;
  readonly dockerfile: string;
  readonly out: string;
  readonly trace: string;
  readonly metadata: string;
  readonly secrets: string;
  /** docker's folder for buildctl, with its logins. */
  readonly docker: string;
}

/** Large things go to the disk; secrets stay in memory (`/run` is a tmpfs under systemd) and never reach the disk's overlay. */
export const GUEST_PATHS: GuestPaths = {
  context: '/var/lib/buildkit-archive/context',
  dockerfile: '/var/lib/buildkit-archive/dockerfile',
  out: '/var/lib/buildkit-archive/out',
  trace: '/run/buildkit-archive/trace',
  metadata: '/run/buildkit-archive/metadata.json',
  secrets: '/run/buildkit-archive/secrets',
  docker: '/run/buildkit-archive/docker',
};

export function secretPath(id: string): string {
  return `${GUEST_PATHS.secrets}/${id}`;
}

/** Where the n-th result that comes back lies in the VM. */
export function guestOutput(index: number): string {
  return `${GUEST_PATHS.out}/${index}`;
}

/** The trace is a named pipe, so that its lines come while the build runs and are there when the VM dies in the middle. */
const PREPARE = `
set -e
umask 077
# An earlier build; the disk with its context first.
if [ -e /var/lib/buildkit-archive ] || [ -e /run/buildkit-archive ]; then
  while umount "$1" 2> /dev/null; do :; done
  rm -rf /var/lib/buildkit-archive /run/buildkit-archive
fi
mkdir -p "$1" "$2" "$3" "$4"
mkfifo "$5"
`;

/** Makes the folders anew and puts the secrets in place. @throws with the VM's message when it cannot. */
export async function prepareGuest(
  session: Session,
  secrets: readonly SecretSpec[],
  openRead: (path: string) => Readable,
  signal: AbortSignal,
): Promise<void> {
  const {context, dockerfile, out, secrets: secretDir, trace} = GUEST_PATHS;
  const made = await session.output(
    ['sh', '-c', PREPARE, 'prepare', context, dockerfile, out, secretDir, trace],
    {signal},
  );
  if (made.code !== 0) throw new Error(`cannot make the build's folders in the VM: ${made.stderr.trim()}`);
  for (const secret of secrets) {
    const source = secret.kind === 'value' ? secret.value : openRead(secret.path);
    await session.put(source, secretPath(secret.id), {mode: 0o600, signal});
  }
}
