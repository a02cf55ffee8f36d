import type {Unpack} from '../base/disk.ts';
import {messageOf} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import type {Files, Processes} from '../base/ports.ts';
import {type BootFiles, findBootFiles} from '../disk/boot-files.ts';
import {packingOf} from '../disk/kernel-image.ts';
import {pvhKernel} from '../disk/pvh.ts';
import {openQcow2} from '../disk/qcow2.ts';
import {type Accelerator, type MachineKernel, machinePaths} from './qemu-args.ts';

export interface KernelPorts {
  readonly files: Files;
  readonly processes: Pick<Processes, 'find' | 'output'>;
  readonly unpack: Unpack;
  readonly emit: Emit;
}

const MAX_UNPACKED_BYTES = 512 * 1024 ** 2;
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
 * Takes kernel and initrd out of a disk, for QEMU to load: reading them through the BIOS, as a boot loader must, is slow. Under TCG the kernel is unpacked here as well,
 * where it can be: that takes a guest seconds, and this machine a fraction of one. Under KVM it unpacks itself, at an address of its choice.
 */
export async function takeKernel(
  ports: KernelPorts,
  boot: BootFiles,
  {accelerator, memoryMib, runDir}: {accelerator: Accelerator; memoryMib: number; runDir: string},
): Promise<MachineKernel> {
  const {files} = ports;
  const paths = machinePaths(runDir);
  const unpacked =
    accelerator === 'tcg' && (await unpackKernel(ports, boot.kernel, memoryMib * MIB, paths.kernel));
  if (!unpacked) await files.writeChunks(paths.kernel, boot.kernel.chunks());
  if (boot.initrd) await files.writeChunks(paths.initrd, boot.initrd.chunks());
  return {
    path: paths.kernel,
    ...(boot.initrd && {initrdPath: paths.initrd}),
    commandLine: boot.commandLine,
  };
}

/** @returns false when the kernel has to unpack itself. */
async function unpackKernel(
  {files, processes}: KernelPorts,
  kernel: BootFiles['kernel'],
  memoryBytes: number,
  dest: string,
): Promise<boolean> {
  const {payload} = kernel;
  const packing = payload && packingOf(await kernel.read(payload.offsetBytes, 8));
  if (!packing || !(await processes.find(packing.program))) return false;
  const end = payload.offsetBytes + payload.lengthBytes;
  const sizeBytes = (await kernel.read(end - 4, 4)).readUInt32LE();
  if (sizeBytes > MAX_UNPACKED_BYTES) return false;
  const [packed, whole] = [`${dest}.packed`, `${dest}.whole`];
  try {
    const stream = {
      offsetBytes: payload.offsetBytes,
      lengthBytes: payload.lengthBytes - packing.trailerBytes,
    };
    await files.writeChunks(packed, slice(kernel, stream));
    // A stream may hold more than it says. ulimit counts blocks of 512 bytes in sh (POSIX).
    const script = 'ulimit -f "$1" && shift && exec "$@"';
    const limit = String(Math.ceil(sizeBytes / 512) + 1);
    const {code} = await processes.output(
      {
        file: 'sh',
        args: ['-c', script, 'sh', limit, packing.program, ...packing.args, packed],
        stdoutPath: whole,
      },
      {timeoutMs: UNPACK_TIMEOUT_MS},
    );
    if (code !== 0 || (await files.size(whole)) !== sizeBytes) return false;
    const read = (offset: number, length: number) => files.readRange(whole, offset, length);
    const chunks = await pvhKernel({sizeBytes, read}, memoryBytes);
    if (!chunks) return false;
    await files.writeChunks(dest, chunks);
    return true;
  } catch {
    // What is odd about it is its own to cope with.
    await files.remove(dest);
    return false;
  } finally {
    await Promise.all([files.remove(packed), files.remove(whole)]);
  }
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
