import {AGENT_PORT_NAME, type CommandLine} from '../base/ports.ts';

export type Accelerator = 'kvm' | 'tcg';

/** The disk as the published starter has it; or images over each other, the last of which is written to. */
export type MachineDisk =
  | {readonly kind: 'published'; readonly path: string}
  | {readonly kind: 'chain'; readonly readOnly: readonly string[]; readonly overlay: string};

/**
 * Memory that can be kept: `shared` can be read from outside while the machine stands still, and goes with it; `copy` is read from a file as it is touched, and what
 * changes stays in the process.
 */
export type MachineRam = {readonly kind: 'shared'} | {readonly kind: 'copy'; readonly path: string};

/** All that decides a machine's command line. */
export interface MachineSpec {
  readonly accelerator: Accelerator;
  readonly cpus: number;
  readonly memoryMib: number;
  readonly disk: MachineDisk;
  /** Folder for the machine's own files: the console, sockets */
  readonly runDir: string;
  /** Where the guest's memory comes from; absent for QEMU's own. */
  readonly ram?: MachineRam;
  /** What is started in place of the disk's boot loader. No part of what decides whether a saved state fits: it has started by then. */
  readonly kernel?: MachineKernel | undefined;
  /** Waits for a saved state instead of booting. */
  readonly incoming?: boolean;
  /** One more forward; it is added over QMP and is no part of the command line, which decides whether a saved state fits. */
  readonly debug?: DebugForward | undefined;
}

/** A kernel that QEMU loads itself. */
export interface MachineKernel {
  readonly path: string;
  readonly initrdPath?: string;
  readonly commandLine: string;
}

/** A port of this machine's loopback that leads to one of the guest's. */
export interface DebugForward {
  /** 0 for one that is free. */
  readonly hostPort: number;
  readonly guestPort: number;
}

/** A QEMU that can be run: the program and what must stand before and around its arguments. */
export interface QemuProgram {
  readonly file: string;
  /** Arguments of a loader that go before QEMU's own. */
  readonly prefixArgs: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly version: string;
  /** The whole first line of `--version`: distributions patch what they give the same number. */
  readonly build: string;
  /** `host` or `archive`: where it was found. */
  readonly origin: 'host' | 'archive';
  /** What it is built without and only our own line takes; absent when it has all. */
  readonly lacks?: readonly string[];
  /** Why this one was taken, for people. */
  readonly reason?: string;
}

/** Where a machine's files lie in its run folder. */
export function machinePaths(runDir: string) {
  return {
    qmpSocket: `${runDir}/qmp.sock`,
    agentSocket: `${runDir}/agent.sock`,
    console: `${runDir}/console.log`,
    overlay: `${runDir}/overlay.qcow2`,
    ram: `${runDir}/ram`,
    boot: `${runDir}/boot`,
  } as const;
}

/** QEMU's arguments for a machine: the published one, or ours that boots sooner and can be frozen. */
export function qemuArgs(spec: MachineSpec): readonly string[] {
  return spec.disk.kind === 'published' ? publishedArgs(spec, spec.disk.path) : fastArgs(spec, spec.disk);
}

/**
 * The published starter's `-hda vm.qcow2 -smp 2 -m 2048M -nographic -nic user,hostfwd=…,model=virtio`,
 * which decides what the guest sees (its default CPU model, too), with three things of our own around it. The disk is opened with `snapshot=on`: all writes go to
 * an unlinked temporary file, so the archive stays as it is and a killed QEMU leaves nothing. The console goes to a file. The
 * forwarded port is on loopback and chosen by the kernel (port 0), so two machines never race for one.
 */
function publishedArgs(spec: MachineSpec, diskPath: string): readonly string[] {
  return [
    ...commonArgs(spec, ''),
    '-drive',
    `file=${escapeComma(diskPath)},if=ide,index=0,media=disk,format=qcow2,snapshot=on`,
    '-vga',
    'std',
    '-nic',
    'user,id=net0,model=virtio,hostfwd=tcp:127.0.0.1:0-:22',
  ];
}

/**
 * The same board, CPUs, memory and network; the disk on virtio instead of emulated IDE, no graphics adapter, no option ROMs, writes to
 * the throw-away overlay without flushes, memory in a file so that it can be kept, and a port for the command agent.
 */
function fastArgs(spec: MachineSpec, disk: Extract<MachineDisk, {kind: 'chain'}>): readonly string[] {
  const paths = machinePaths(spec.runDir);
  return [
    ...(spec.ram ? ['-object', `${ramBackend(spec.ram)},id=pc.ram,size=${spec.memoryMib}M`] : []),
    ...commonArgs(spec, spec.ram ? ',memory-backend=pc.ram' : ''),
    ...chainArgs(disk),
    '-device',
    `virtio-blk-pci,drive=${nodeName(disk.readOnly.length)}`,
    '-vga',
    'none',
    // Under TCG a QEMU CPU of AMD make marks its TSC unstable, and the guest then reads the slow ACPI timer; an Atom has an invariant one, and needs no PTI.
    // With RDRAND its random pool is there from the start, for which a guest otherwise watches its own jitter; TCG's comes from this machine's.
    ...(spec.accelerator === 'tcg' ? ['-cpu', 'qemu64,vendor=GenuineIntel,family=6,model=28,rdrand=on'] : []),
    '-netdev',
    'user,id=net0,hostfwd=tcp:127.0.0.1:0-:22',
    '-device',
    `virtio-net-pci,netdev=net0,romfile=,addr=${PUBLISHED_NIC_SLOT}`,
    '-device',
    'virtio-serial-pci',
    '-chardev',
    `socket,id=agent,path=${escapeComma(paths.agentSocket)},server=on,wait=off`,
    '-device',
    `virtserialport,chardev=agent,name=${AGENT_PORT_NAME}`,
    ...(spec.kernel ? kernelArgs(spec.kernel) : []),
    ...(spec.incoming ? ['-incoming', 'defer'] : []),
  ];
}

function kernelArgs({path, initrdPath, commandLine}: MachineKernel): readonly string[] {
  const initrd = initrdPath === undefined ? [] : ['-initrd', initrdPath];
  return ['-kernel', path, ...initrd, '-append', commandLine];
}

/** A file on a disk that is shared with the guest is written back while the guest writes to it: a boot took 20 % longer under TCG than with memfd_create(2). */
function ramBackend(ram: MachineRam): string {
  return ram.kind === 'shared'
    ? 'memory-backend-memfd,share=on'
    : `memory-backend-file,mem-path=${escapeComma(ram.path)},share=off`;
}

/** The PCI slot of the network card on the published line, behind bridges and graphics. Guests name the card by it: a netplan that says `ens3` has no network otherwise. */
const PUBLISHED_NIC_SLOT = 3;

/** `graphics=off` is what `-nographic` tells the firmware: that SeaBIOS and boot loaders without a serial driver talk on the console, too. */
function commonArgs(spec: MachineSpec, machineOptions: string): readonly string[] {
  const paths = machinePaths(spec.runDir);
  return [
    '-name',
    'buildkit-archive',
    '-nodefaults',
    '-no-user-config',
    '-machine',
    `pc,accel=${spec.accelerator},graphics=off${machineOptions}`,
    '-smp',
    String(spec.cpus),
    '-m',
    `${spec.memoryMib}M`,
    '-display',
    'none',
    '-chardev',
    `file,id=console,path=${escapeComma(paths.console)}`,
    '-serial',
    'chardev:console',
    '-qmp',
    `unix:${escapeComma(paths.qmpSocket)},server=on,wait=off`,
  ];
}

function nodeName(index: number): string {
  return `disk${index}`;
}

/**
 * One block node an image, each over the one before (qemu-storage-daemon(1), "blockdev"). Flushes are left out: after a crash of the machine nobody wants what was
 * written to it. The overlay of a machine that is kept is read by others while its QEMU still holds it, hence no lock.
 */
function chainArgs({readOnly, overlay}: Extract<MachineDisk, {kind: 'chain'}>): readonly string[] {
  const node = (path: string, index: number, isReadOnly: boolean): readonly string[] => [
    '-blockdev',
    [
      `driver=qcow2,node-name=${nodeName(index)},read-only=${isReadOnly ? 'on' : 'off'},cache.direct=off,cache.no-flush=on`,
      isReadOnly ? undefined : 'discard=unmap',
      `file.driver=file,file.filename=${escapeComma(path)},file.locking=off,file.cache.no-flush=on`,
      index === 0 ? undefined : `backing=${nodeName(index - 1)}`,
    ]
      .filter(part => part !== undefined)
      .join(','),
  ];
  return [
    ...readOnly.flatMap((path, index) => node(path, index, true)),
    ...node(overlay, readOnly.length, false),
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
