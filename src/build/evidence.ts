import type {Session} from '../base/ports.ts';
import type {MachineEvidence} from './diagnose/diagnose.ts';

/** Less than this free where BuildKit keeps its layers, right after a failure, means that the disk was full. */
const FULL_BELOW_KIB = 16 * 1024;

const SCRIPT = `
dmesg 2>/dev/null | grep -c -i -E 'out of memory|oom-kill|killed process'
df -k --output=avail /var/lib/buildkit 2>/dev/null | tail -n 1
`;

/** Asks the machine after a failed build what its log does not say: was memory or the disk used up? Never throws. */
export async function gatherEvidence(session: Session, signal: AbortSignal): Promise<MachineEvidence> {
  try {
    const {stdout} = await session.output(['sh', '-c', SCRIPT], {signal, timeoutMs: 20_000});
    const [kills, freeKib] = stdout.trim().split('\n').map(Number);
    return {
      ...(kills !== undefined && kills > 0 && {oomSeen: true}),
      ...(freeKib !== undefined && freeKib < FULL_BELOW_KIB && {diskFull: true}),
    };
  } catch {
    return {};
  }
}
