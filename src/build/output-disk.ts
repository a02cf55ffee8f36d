import type {Devices, PluggedDisk} from '../base/devices.ts';
import {CanceledError, ConnectionLostError, messageOf} from '../base/errors.ts';
import type {Session} from '../base/ports.ts';
import type {ReceiveOptions, ReceiveReport, ResultStore} from '../base/tree.ts';
import {FIND_DISK, newSerial} from './guest-disk.ts';

/** From here on a disk is sooner than the stream; docs/architecture.md has the measurement. */
export const DISK_FROM_BYTES = 32_000_000;

const MAX_SAID_CHARS = 300;

/** A file could not come back on a disk; the stream still can. */
class NoDiskError extends Error {}

/** Direct writes spare the guest's cache; dd does without for the last part of a block. A dd without them is not GNU's. */
const COPY = `${FIND_DISK}
serial=$1 from=$2
find_disk
dd if="$from" of="$disk" bs=4M iflag=fullblock oflag=direct conv=fsync,notrunc 2> /dev/null && exit
dd if="$from" of="$disk" bs=1048576 && sync
`;

/**
 * Brings one large file back on a blank disk that the machine writes.
 * @returns undefined, or a line that says why there was none, when the file is to come as a stream.
 * @throws what `store` throws; CanceledError; ConnectionLostError.
 */
export async function receiveOnDisk(
  session: Session,
  store: ResultStore,
  devices: Devices,
  {dest, guestPath}: {readonly dest: string; readonly guestPath: string},
  options: ReceiveOptions & {readonly signal?: AbortSignal},
): Promise<ReceiveReport | {readonly trouble: string} | undefined> {
  const {signal, limitBytes = Number.POSITIVE_INFINITY} = options;
  const stop = signal ? {signal} : {};
  const {code, stdout} = await session.output(['stat', '-L', '-c', '%F %s', '--', guestPath], stop);
  const sizeBytes = Number(/^regular file (\d{1,15})$/.exec(stdout.trim())?.[1] ?? Number.NaN);
  // What the stream refuses is its to refuse.
  if (code !== 0 || !(sizeBytes >= DISK_FROM_BYTES) || sizeBytes > limitBytes) return undefined;
  try {
    const fill = (path: string): Promise<void> => copyOut(session, devices, path, guestPath, signal);
    return await store.receiveBlank(dest, sizeBytes, fill, options);
  } catch (error) {
    if (error instanceof NoDiskError) return {trouble: error.message};
    throw error;
  }
}

/** @throws NoDiskError unless the whole file is on the disk and the machine has let go of it: whoever still holds it can change it. */
async function copyOut(
  session: Session,
  devices: Devices,
  path: string,
  guestPath: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const serial = newSerial('result');
  let disk: PluggedDisk;
  try {
    disk = await devices.attachDisk({path, serial, readOnly: false});
  } catch (error) {
    throw new NoDiskError(`QEMU takes no further disk (${messageOf(error)})`);
  }
  let isFree = false;
  let trouble: string | undefined;
  try {
    const argv = ['sh', '-c', COPY, 'copy', serial, guestPath];
    const {code, stderr} = await session.output(argv, signal ? {signal} : {});
    if (code !== 0) trouble = stderr.trim().slice(0, MAX_SAID_CHARS) || `dd ended with status ${code}`;
  } catch (error) {
    if (error instanceof CanceledError || error instanceof ConnectionLostError) throw error;
    trouble = messageOf(error);
  } finally {
    isFree = await disk.detach();
  }
  if (trouble !== undefined) throw new NoDiskError(`the VM cannot write it to a disk (${trouble})`);
  if (!isFree) throw new NoDiskError('the VM does not let go of the disk');
}
