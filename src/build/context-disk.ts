import type {Devices, PluggedDisk} from '../base/devices.ts';
import {CanceledError, ConnectionLostError, messageOf} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import type {Session} from '../base/ports.ts';
import {NoImageError, type PackReport, type TreeImager, type TreeSurvey} from '../base/tree.ts';
import type {ContextPlan} from './context-plan.ts';
import {FIND_DISK, newSerial} from './guest-disk.ts';

/** What it takes to send a context as a disk. */
export interface DiskWay {
  readonly imager: TreeImager;
  readonly devices: Devices;
  readonly emit: Emit;
}

/** From here on the disk is sooner; docs/architecture.md has the measurement. */
export const DISK_FROM_BYTES = 8_000_000;
export const DISK_FROM_FILES = 400;
/** mke2fs and the guest search directories from end to end: the time grows with the square of their length. */
export const DISK_MAX_IN_DIRECTORY = 20_000;

const MOUNT_TIMEOUT_MS = 60_000;
const MAX_SAID_CHARS = 300;

/** Whether a context is sooner in the machine as a disk than as a tar stream. */
export function diskIsSooner({files, directories, dataBytes, largestDirectory}: TreeSurvey): boolean {
  if (largestDirectory > DISK_MAX_IN_DIRECTORY) return false;
  return dataBytes >= DISK_FROM_BYTES || files + directories >= DISK_FROM_FILES;
}

/** The guest needs a kernel with virtio-blk and ext4, and nothing else. */
const MOUNT = `${FIND_DISK}
serial=$1 dir=$2
find_disk
exec mount -t ext4 -o ro,nodev,nosuid,noexec "$disk" "$dir"
`;

/**
 * Sends a context as a disk when that is sooner and can be done. The disk stays in the machine until its end.
 * @returns undefined, with a line that says why when it is worth one, for a context that is to go as a tar stream.
 */
export async function sendAsDisk(
  session: Session,
  {contextDir, filter}: ContextPlan,
  dir: string,
  {imager, devices, emit}: DiskWay,
  signal: AbortSignal,
): Promise<PackReport | undefined> {
  const survey = await imager.survey(contextDir, filter, signal);
  if (!diskIsSooner(survey)) return undefined;
  const size = `${survey.files} files, ${(survey.dataBytes / 1e6).toFixed(1)} MB`;
  emit({kind: 'progress', stage: 'context', text: `making a disk image of ${size}`});
  try {
    await using image = await imager.image(contextDir, filter, survey, {
      signal,
      onTemp: path => emit({kind: 'resource', resource: {kind: 'temp-dir', path}}),
    });
    const trouble = await plugIn(session, devices, image.path, dir, signal);
    if (trouble !== undefined) {
      emit({kind: 'warning', message: `the context goes as a tar stream, which is slower: ${trouble}`});
      return undefined;
    }
  } catch (error) {
    if (!(error instanceof NoImageError)) throw error;
    emit({kind: 'notice', message: `the context goes as a tar stream, which is slower: ${error.message}`});
    return undefined;
  }
  const {files, directories, dataBytes: bytes, leftOut, warnings} = survey;
  return {files, directories, bytes, leftOut, warnings};
}

/** @returns what went wrong; the disk is taken out again then. */
async function plugIn(
  session: Session,
  devices: Devices,
  path: string,
  dir: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  // Another one at each build, since the disk of the last one may still be there.
  const serial = newSerial('context');
  let disk: PluggedDisk;
  try {
    disk = await devices.attachDisk({path, serial, readOnly: true});
  } catch (error) {
    return `QEMU takes no further disk (${messageOf(error)})`;
  }
  const argv = ['sh', '-c', MOUNT, 'mount', serial, dir];
  const said = await session.output(argv, {signal, timeoutMs: MOUNT_TIMEOUT_MS}).then(
    ({code, stderr}) => (code === 0 ? undefined : stderr.trim().slice(0, MAX_SAID_CHARS)),
    error => {
      if (error instanceof CanceledError || error instanceof ConnectionLostError) throw error;
      return messageOf(error);
    },
  );
  if (said === undefined) return undefined;
  await disk.detach();
  return `the VM cannot mount a disk (${said})`;
}
