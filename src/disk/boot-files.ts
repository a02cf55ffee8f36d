import type {BlockRange} from '../base/disk.ts';
import {messageOf} from '../base/errors.ts';
import {type BootEntry, parseGrub, parseSyslinux} from './boot-config.ts';
import {Ext4, type FileInside} from './ext4.ts';
import {KERNEL_HEADER_BYTES, type Payload, readKernelHeader} from './kernel-image.ts';
import {partitions} from './partitions.ts';

const MAX_CONFIG_BYTES = 64 * 1024;
const MAX_KERNEL_BYTES = 128 * 1024 ** 2;
const MAX_INITRD_BYTES = 512 * 1024 ** 2;

/** Where boot loaders look for their configuration, from the root of the file system that they were installed on. */
const CONFIGS: readonly {readonly path: string; readonly parse: (text: string) => BootEntry}[] = [
  ...['/boot', ''].flatMap(boot => [
    ...[`${boot}/grub/grub.cfg`, `${boot}/grub2/grub.cfg`].map(path => ({path, parse: parseGrub})),
    ...[`${boot}/extlinux`, `${boot}/syslinux`, boot].flatMap(dir =>
      [`${dir}/extlinux.conf`, `${dir}/syslinux.cfg`].map(path => ({path, parse: parseSyslinux})),
    ),
  ]),
];

/** What a disk's boot loader would start. */
export interface BootFiles {
  readonly commandLine: string;
  /** Path of the boot loader's configuration that says so. */
  readonly config: string;
  readonly kernel: FileInside & {readonly path: string; readonly payload: Payload | undefined};
  readonly initrd?: FileInside;
}

/**
 * Finds the kernel, initrd and command line that a disk boots with, as its boot loader's configuration has them.
 * @throws with the reason when that cannot be told for sure, or not be read.
 */
export async function findBootFiles(disk: BlockRange): Promise<BootFiles> {
  const found: {readonly fs: Ext4; readonly path: string; readonly parse: () => Promise<BootEntry>}[] = [];
  for (const range of await partitions(disk)) {
    const fs = await Ext4.open(range);
    if (!fs) continue;
    for (const {path, parse} of CONFIGS) {
      const config = await fs.find(path);
      if (config) found.push({fs, path, parse: async () => parse(await wholeText(config, path))});
    }
  }
  const [first, second] = found;
  if (!first) throw new Error('it has no boot loader configuration on an ext4 file system');
  if (second) throw new Error(`it has two boot loader configurations, ${first.path} and ${second.path}`);
  const {fs, path, parse} = first;
  try {
    return await readEntry(fs, path, await parse());
  } catch (error) {
    throw new Error(`${path} of the disk: ${messageOf(error)}`);
  }
}

async function readEntry(fs: Ext4, config: string, entry: BootEntry): Promise<BootFiles> {
  const find = async (path: string, maxBytes: number): Promise<FileInside> => {
    const file = await fs.find(path);
    if (!file) throw new Error(`it names ${path}, which is not there`);
    if (file.sizeBytes === 0 || file.sizeBytes > maxBytes)
      throw new Error(`${path} has ${file.sizeBytes} bytes`);
    return file;
  };
  const kernel = await find(entry.kernel, MAX_KERNEL_BYTES);
  const payload = readKernelHeader(await kernel.read(0, KERNEL_HEADER_BYTES), kernel.sizeBytes);
  return {
    commandLine: entry.commandLine,
    config,
    kernel: {...kernel, path: entry.kernel, payload},
    ...(entry.initrd !== undefined && {initrd: await find(entry.initrd, MAX_INITRD_BYTES)}),
  };
}

async function wholeText(file: FileInside, path: string): Promise<string> {
  if (file.sizeBytes > MAX_CONFIG_BYTES) throw new Error(`${path} has ${file.sizeBytes} bytes`);
  return (await file.read(0, file.sizeBytes)).toString('utf8');
}
