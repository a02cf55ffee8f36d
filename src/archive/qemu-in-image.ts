import type {Files} from '../base/ports.ts';

/** A program inside an unpacked root file system, run through that system's own loader, so that neither root nor a container is needed. */
export interface ForeignProgram {
  readonly file: string;
  readonly prefixArgs: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

const QEMU_PATHS = [
  'usr/bin/qemu-system-x86_64',
  'usr/local/bin/qemu-system-x86_64',
  'bin/qemu-system-x86_64',
];
/** glibc's loader (x86-64 psABI) and musl's; `usr` first, where it is a real file in a merged-/usr system. */
const LOADERS = [
  'usr/lib64/ld-linux-x86-64.so.2',
  'lib64/ld-linux-x86-64.so.2',
  'usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2',
  'lib/x86_64-linux-gnu/ld-linux-x86-64.so.2',
  'lib/ld-musl-x86_64.so.1',
  'usr/lib/ld-musl-x86_64.so.1',
];
const LIBRARY_DIRS = [
  'lib/x86_64-linux-gnu',
  'usr/lib/x86_64-linux-gnu',
  'lib64',
  'usr/lib64',
  'lib',
  'usr/lib',
  'usr/local/lib',
  // Debian's QEMU links against private libraries of these packages.
  'usr/lib/x86_64-linux-gnu/pulseaudio',
  'usr/lib/x86_64-linux-gnu/blas',
  'usr/lib/x86_64-linux-gnu/lapack',
];
const FIRMWARE_DIRS = ['usr/share/qemu', 'usr/share/seabios', 'usr/share/ipxe', 'usr/lib/ipxe/qemu'];
const MODULE_DIRS = ['usr/lib/x86_64-linux-gnu/qemu', 'usr/lib/qemu'];

/** The QEMU of an unpacked root file system; undefined when it has none that can be run. */
export async function findQemuInRootfs(files: Files, rootfs: string): Promise<ForeignProgram | undefined> {
  const first = async (names: readonly string[]): Promise<string | undefined> => {
    for (const name of names) if (await files.exists(`${rootfs}/${name}`)) return `${rootfs}/${name}`;
    return undefined;
  };
  const there = async (names: readonly string[]): Promise<string[]> => {
    const found: string[] = [];
    for (const name of names) if (await files.exists(`${rootfs}/${name}`)) found.push(`${rootfs}/${name}`);
    return found;
  };
  const [qemu, loader] = [await first(QEMU_PATHS), await first(LOADERS)];
  if (qemu === undefined || loader === undefined) return undefined;
  const moduleDir = await first(MODULE_DIRS);
  return {
    file: loader,
    prefixArgs: [
      '--library-path',
      (await there(LIBRARY_DIRS)).join(':'),
      qemu,
      ...(await there(FIRMWARE_DIRS)).flatMap(dir => ['-L', dir]),
    ],
    env: moduleDir === undefined ? {} : {QEMU_MODULE_DIR: moduleDir},
  };
}
