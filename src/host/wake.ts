import {randomBytes} from 'node:crypto';
import type {Session} from '../base/ports.ts';

const ENTROPY_BYTES = 64;

/**
 * Bytes that are written to /dev/urandom only reach the generator at its next reseeding; RNDRESEEDCRNG (random(4), Linux 4.14) asks for it now, and needs a
 * language with ioctl.
 */
const WAKE_SCRIPT = `
date -s "@$1" >/dev/null || exit
cat > /dev/urandom
perl -e 'open(my $f, ">", "/dev/urandom") and ioctl($f, 0x5207, 0)' 2>/dev/null
exit 0
`;

/** Sets the clock and stirs the random pool of a machine that was frozen, by commands. @throws when its clock cannot be set. */
export async function wakeBySession(session: Session, signal: AbortSignal): Promise<void> {
  const seconds = (Date.now() / 1000).toFixed(3);
  const {code, stderr} = await session.output(['sh', '-c', WAKE_SCRIPT, 'wake', seconds], {
    stdin: randomBytes(ENTROPY_BYTES),
    signal,
  });
  if (code !== 0) throw new Error(`its clock could not be set: ${stderr.trim()}`);
}
