import type {CommandLine} from '../base/ports.ts';

export type Accelerator = 'kvm' | 'tcg';

/** All that decides a machine's command line. */
export interface MachineSpec {
  readonly accelerator: Accelerator;
  readonly cpus: number;
  readonly memoryMib: number;
  /** The archive's disk; opened read-only under a throw-away overlay. */
  readonly diskPath: string;
  /** Folder for the machine's own files: sockets, console, overlay. */
  readonly runDir: string;
}

/** A QEMU that can be run: the program and what must stand before and around its arguments. */
export interface QemuProgram {
  readonly file: string;
  /** Arguments of a loader that go before QEMU's own. */
  readonly prefixArgs: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly version: string;
  /** `host` or `archive`: where it was found. */
  readonly origin: 'host' | 'archive';
}

/** Where a machine's files lie in its run folder. */
export function machinePaths(runDir: string): {readonly qmpSocket: string; readonly console: string} {
  return {qmpSocket: `${runDir}/qmp.sock`, console: `${runDir}/console.log`};
}

/**
 * QEMU's arguments: the published starter's `-hda vm.qcow2 -smp 2 -m 2048M -nographic -nic user,hostfwd=…,model=virtio`,
 * which decides what the guest sees (its default CPU model, too), with three things of our own around it. The disk is opened with `snapshot=on`: all writes go to
 * an unlinked temporary file, so the archive stays as it is and a killed QEMU leaves nothing. The console goes to a file. The
 * forwarded port is on loopback and chosen by the kernel (port 0), so two machines never race for one.
 */
export function qemuArgs(spec: MachineSpec): readonly string[] {
  const paths = machinePaths(spec.runDir);
  return [
    '-name',
    'buildkit-archive',
    '-nodefaults',
    '-no-user-config',
    '-machine',
    `pc,accel=${spec.accelerator}`,
    '-smp',
    String(spec.cpus),
    '-m',
    `${spec.memoryMib}M`,
    '-drive',
    `file=${escapeComma(spec.diskPath)},if=ide,index=0,media=disk,format=qcow2,snapshot=on`,
    '-display',
    'none',
    '-vga',
    'std',
    '-chardev',
    `file,id=console,path=${escapeComma(paths.console)}`,
    '-serial',
    'chardev:console',
    '-nic',
    'user,id=net0,model=virtio,hostfwd=tcp:127.0.0.1:0-:22',
    '-qmp',
    `unix:${escapeComma(paths.qmpSocket)},server=on,wait=off`,
  ];
}

/** The whole command: loader, QEMU, arguments, and `TMPDIR`, in which `snapshot=on` keeps its overlay. */
export function qemuCommand(qemu: QemuProgram, spec: MachineSpec): CommandLine {
  return {
    file: qemu.file,
    args: [...qemu.prefixArgs, ...qemuArgs(spec)],
    env: {...qemu.env, TMPDIR: spec.runDir},
  };
}

/** QEMU's option lists are separated by commas; a doubled comma is a literal one (qemu-system(1)). */
export function escapeComma(value: string): string {
  return value.replaceAll(',', ',,');
}

/**
 * The host port that `info usernet` shows for the forward to the guest's `guestPort`.
 * Lines look like `TCP[HOST_FORWARD]  12  127.0.0.1 41293  10.0.2.15  22  0  0` (libslirp, `slirp_connection_info`).
 */
export function forwardedPort(usernet: string, guestPort: number): number | undefined {
  for (const line of usernet.split(/\r?\n/)) {
    const fields = line.trim().split(/\s+/);
    if (fields[0] !== 'TCP[HOST_FORWARD]') continue;
    if (Number(fields[5]) === guestPort) return Number(fields[3]);
  }
  return undefined;
}

/** `7.2.22` from `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`. */
export function parseQemuVersion(text: string): string | undefined {
  return /QEMU emulator version (\d+(?:\.\d+)+)/.exec(text)?.[1];
}
