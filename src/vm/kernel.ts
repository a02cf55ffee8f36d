import type {Unpack} from '../base/disk.ts';
import {messageOf, throwIfCanceled} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import type {Files, Processes} from '../base/ports.ts';
import {type BootFiles, findBootFiles} from '../disk/boot-files.ts';
import type {FileInside} from '../disk/ext4.ts';
import {type Packing, packingOf} from '../disk/kernel-image.ts';
import {pvhKernel} from '../disk/pvh.ts';
import {openQcow2} from '../disk/qcow2.ts';
import {type Accelerator, type MachineKernel, machinePaths} from './qemu-args.ts';

export interface KernelPorts {
  readonly files: Files;
  readonly processes: Pick<Processes, 'find' | 'output'>;
  readonly unpack: Unpack;
  readonly emit: Emit;
}

/** While it is unpacked in the guest, an initrd takes its room twice. */
const MAX_INITRD_SHARE = 0.25;
const MAGIC_BYTES = 8;
const UNPACK_TIMEOUT_MS = 30_000;
const MIB = 1024 ** 2;

/**
 * What the disk's boot loader would start, when that can be told for sure; says which it is, or why the boot loader is left to it.
 * @returns undefined for the boot loader.
 */
export async function bootFilesOf(
  ports: Pick<KernelPorts, 'files' | 'unpack' | 'emit'>,
  diskPath: string,
): Promise<BootFiles | undefined> {
  try {
    const boot = await findBootFiles(await openQcow2(ports.files, ports.unpack, diskPath));
    ports.emit({
      kind: 'notice',
      message: `the VM starts the disk's ${boot.kernel.path} directly, with the initrd and command line of its ${boot.config}`,
    });
    return boot;
  } catch (error) {
    ports.emit({
      kind: 'notice',
      message: `the VM starts through its disk's boot loader (${messageOf(error)})`,
    });
    return undefined;
  }
}

/**
 * Takes kernel and initrd out of a disk, for QEMU to load: reading them through the BIOS, as a boot loader must, is slow. Under TCG they are unpacked here as well, where
 * that can be done: it takes a guest seconds, and this machine a fraction of one. Under KVM the kernel unpacks itself, at an address of its choice.
 * @throws CanceledError.
 */
export async function takeKernel(
  ports: KernelPorts,
  {kernel, initrd, commandLine}: BootFiles,
  {accelerator, memoryMib, runDir}: {accelerator: Accelerator; memoryMib: number; runDir: string},
  signal: AbortSignal,
): Promise<MachineKernel> {
  const dir = machinePaths(runDir).boot;
  await ports.files.makeDir(dir);
  const memoryBytes = accelerator === 'tcg' ? memoryMib * MIB : 0;
  const [path, initrdPath] = await Promise.all([
    takeKernelImage(ports, kernel, memoryBytes, `${dir}/kernel`, signal),
    initrd && takeInitrd(ports, initrd, memoryBytes, `${dir}/initrd`, signal),
  ]);
  return {path, ...(initrdPath !== undefined && {initrdPath}), commandLine};
}

/** @param memoryBytes 0 for a kernel that is to unpack itself. @returns where it lies. */
async function takeKernelImage(
  ports: KernelPorts,
  kernel: BootFiles['kernel'],
  memoryBytes: number,
  dest: string,
  signal: AbortSignal,
): Promise<string> {
  const {files} = ports;
  try {
    if (await unpackKernel(ports, kernel, memoryBytes, dest, signal)) return dest;
  } catch {
    // What is odd about it is its own to cope with.
    throwIfCanceled(signal);
  }
  await files.remove(dest);
  await files.writeChunks(dest, kernel.chunks());
  return dest;
}

/** @returns false when the kernel has to unpack itself. */
async function unpackKernel(
  ports: KernelPorts,
  kernel: BootFiles['kernel'],
  memoryBytes: number,
  dest: string,
  signal: AbortSignal,
): Promise<boolean> {
  const {files} = ports;
  const {payload} = kernel;
  const packing = payload && packingOf(await kernel.read(payload.offsetBytes, MAGIC_BYTES));
  if (!packing) return false;
  const end = payload.offsetBytes + payload.lengthBytes;
  const sizeBytes = (await kernel.read(end - 4, 4)).readUInt32LE();
  if (sizeBytes > memoryBytes) return false;
  const [packed, whole] = [`${dest}.packed`, `${dest}.whole`];
  try {
    const stream = {
      offsetBytes: payload.offsetBytes,
      lengthBytes: payload.lengthBytes - packing.trailerBytes,
    };
    await files.writeChunks(packed, slice(kernel, stream));
    if (!(await unpackFile(ports, packing, packed, whole, sizeBytes, signal))) return false;
    if ((await files.size(whole)) !== sizeBytes) return false;
    const read = (offset: number, length: number) => files.readRange(whole, offset, length);
    const chunks = await pvhKernel({sizeBytes, read}, memoryBytes);
    if (!chunks) return false;
    await files.writeChunks(dest, chunks);
    return true;
  } finally {
    await Promise.all([files.remove(packed), files.remove(whole)]);
  }
}

/** One stream is unpacked; what begins with an archive that is not packed (early microcode) is left to the kernel. @returns where it lies. */
async function takeInitrd(
  ports: KernelPorts,
  initrd: FileInside,
  memoryBytes: number,
  dest: string,
  signal: AbortSignal,
): Promise<string> {
  const {files} = ports;
  await files.writeChunks(dest, initrd.chunks());
  const packing = packingOf(await initrd.read(0, MAGIC_BYTES));
  const whole = `${dest}.whole`;
  const maxBytes = memoryBytes * MAX_INITRD_SHARE;
  try {
    if (packing && (await unpackFile(ports, packing, dest, whole, maxBytes, signal))) return whole;
  } catch {
    // The guest has its own way to unpack it.
    throwIfCanceled(signal);
  }
  await files.remove(whole);
  return dest;
}

/** A stream may hold more than it says, hence the limit. @returns whether it was unpacked to its end. */
async function unpackFile(
  {processes}: KernelPorts,
  {program, args}: Packing,
  path: string,
  dest: string,
  maxBytes: number,
  signal: AbortSignal,
): Promise<boolean> {
  if (maxBytes <= 0 || !(await processes.find(program))) return false;
  // Blocks of 512 bytes in sh (POSIX, "ulimit").
  const blocks = Math.ceil(maxBytes / 512) + 1;
  const script = 'ulimit -f "$1" && shift && exec "$@"';
  const {code} = await processes.output(
    {
      file: 'sh',
      args: ['-c', script, 'sh', String(blocks), program, ...args, path],
      stdoutPath: dest,
    },
    {timeoutMs: UNPACK_TIMEOUT_MS, signal},
  );
  return code === 0;
}

const CHUNK_BYTES = MIB;

async function* slice(
  file: BootFiles['kernel'],
  {offsetBytes, lengthBytes}: {offsetBytes: number; lengthBytes: number},
): AsyncGenerator<Buffer> {
  const end = offsetBytes + lengthBytes;
  for (let at = offsetBytes; at < end; at += CHUNK_BYTES) {
    yield await file.read(at, Math.min(CHUNK_BYTES, end - at));
  }
}
