import {ROOT_LABEL} from './disk-layout.ts';
import type {TarEntry} from './tar.ts';
import {textEntry} from './tar.ts';

/** The Debian release both root file systems are made of. */
export const SUITE = 'bookworm';

/**
 * What is in the VM. `linux-image-amd64` is what a Debian machine runs; the smaller cloud kernel has IDE
 * (`-hda`) too, but no AHCI, and would be one more difference between an archive and a real machine.
 */
export const SYSTEM_PACKAGES: readonly string[] = [
  ...['linux-image-amd64', 'initramfs-tools', 'kmod', 'udev', 'e2fsprogs'],
  ...['systemd-sysv', 'systemd-resolved', 'dbus', 'procps', 'less'],
  ...['openssh-server', 'iproute2', 'netbase', 'iptables', 'ca-certificates'],
  ...['runc', 'git', 'tar', 'zstd', 'xz-utils'],
];

// `root`, as the published archives have it. SHA-512 with few rounds: this password is no secret, and the
// default yescrypt is made to be slow, which TCG multiplies.
const ROOT_PASSWORD_HASH =
  '$6$rounds=1000$buildkitarchive$5aYEdDbBrVNZgAIB8b0U5Hp5HGej0KZCtYGHaB4aDvblZ49Mj1mbRrKcQ1M6HDcDodEKxc7zgQJWxg08YYggu/';

/** Nothing in a throw-away VM is to be updated, indexed, trimmed or waited for. */
const MASKED_UNITS: readonly string[] = [
  ...['apt-daily.timer', 'apt-daily-upgrade.timer', 'dpkg-db-backup.timer', 'man-db.timer'],
  ...['e2scrub_all.timer', 'e2scrub_reap.service', 'fstrim.timer', 'getty@tty1.service'],
  ...['systemd-networkd-wait-online.service', 'systemd-rfkill.socket', 'systemd-rfkill.service'],
];

/** The initial RAM disk holds what finds the disk, and no more: GRUB reads it slowly through emulated IDE. */
const INITRD_MODULES: readonly string[] = [
  ...[
    'ata_piix',
    'ahci',
    'sd_mod',
    'virtio_pci',
    'virtio_blk',
    'virtio_scsi',
    'nvme',
    'ext4',
    'crc32c_generic',
  ],
];

const NETWORK = `# Each real network card asks by DHCP; cards without an answer hold nothing up.
[Match]
Name=en* eth*
Kind=!*

[Link]
RequiredForOnline=no

[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no

[DHCPv4]
ClientIdentifier=mac
UseHostname=no
`;

const SSHD = `PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
`;

const GRUB = `serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
linux /vmlinuz root=LABEL=${ROOT_LABEL} ro console=ttyS0,115200 loglevel=5 systemd.show_status=true
initrd /initrd.img
boot
`;

/** Files that must be there before the kernel's package makes the initial RAM disk. */
export function earlyFiles(): TarEntry[] {
  return [
    textEntry('etc/initramfs-tools/conf.d/archive.conf', 'MODULES=list\nCOMPRESS=zstd\nRESUME=none\n'),
    textEntry('usr/share/initramfs-tools/modules.d/archive', `${INITRD_MODULES.join('\n')}\n`),
  ];
}

/** The VM's configuration. An empty machine-id gives each boot its own without being a "first boot". */
export function systemFiles(): TarEntry[] {
  return [
    textEntry('etc/systemd/network/80-dhcp.network', NETWORK),
    textEntry('etc/ssh/sshd_config.d/archive.conf', SSHD),
    textEntry('etc/fstab', `LABEL=${ROOT_LABEL} / ext4 rw,relatime,errors=remount-ro 0 0\n`),
    textEntry('etc/machine-id', '', 0o444),
    textEntry('etc/hostname', 'buildkit\n'),
    textEntry('etc/hosts', '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n'),
    textEntry('boot/grub/grub.cfg', GRUB),
  ];
}

/**
 * Commands run while the system is made; mmdebstrap hooks are shell lines by its own definition, and all of
 * these are constant. `$1` is the system's root.
 */
export function systemHooks(): string[] {
  return [
    `echo 'root:${ROOT_PASSWORD_HASH}' | chroot "$1" chpasswd -e`,
    'chroot "$1" groupadd --system buildkit',
    'chroot "$1" systemctl enable systemd-networkd.service systemd-resolved.service ssh.service',
    'chroot "$1" systemctl disable systemd-networkd-wait-online.service',
    `chroot "$1" systemctl mask ${MASKED_UNITS.join(' ')}`,
    'mkdir -p "$1/usr/local/lib/systemd/system" "$1/etc/systemd/system/sockets.target.wants"',
    // The servers that DHCP named, without the stub on 127.0.0.53 which a build's containers could not reach.
    'ln -sf ../run/systemd/resolve/resolv.conf "$1/etc/resolv.conf"',
    // The host's proxy settings are not the VM's.
    'rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"',
    // Says "everything is up to date", else each boot rebuilds caches (systemd-update-done.service(8)).
    'touch -d 2020-01-01 "$1/usr" && touch "$1/etc/.updated" "$1/var/.updated"',
  ];
}

/** Manuals and translations nobody reads in a VM. */
export const UNREAD_PATHS: readonly string[] = [
  '/usr/share/man/*',
  '/usr/share/doc/*',
  '/usr/share/info/*',
  '/usr/share/locale/*',
];

export interface MmdebstrapRequest {
  readonly variant: 'minbase' | 'extract';
  readonly packages: readonly string[];
  readonly output: string;
  readonly excludedPaths: readonly string[];
  readonly essentialHooks: readonly string[];
  readonly customizeHooks: readonly string[];
  /** Options for apt, as `apt.conf(5)` lines. */
  readonly aptOptions: readonly string[];
  /** Undefined: mmdebstrap's own default. */
  readonly mirror: string | undefined;
}

export function mmdebstrapArgs(request: MmdebstrapRequest): string[] {
  const aptOptions = ['APT::Install-Recommends "false"', ...request.aptOptions];
  return [
    'mmdebstrap',
    '--mode=auto',
    '--architectures=amd64',
    `--variant=${request.variant}`,
    `--include=${request.packages.join(',')}`,
    ...aptOptions.map(line => `--aptopt=${line}`),
    ...request.excludedPaths.map(path => `--dpkgopt=path-exclude=${path}`),
    ...request.essentialHooks.map(hook => `--essential-hook=${hook}`),
    ...request.customizeHooks.map(hook => `--customize-hook=${hook}`),
    SUITE,
    request.output,
    ...(request.mirror ? [request.mirror] : []),
  ];
}

/** The host's settings that apt needs to reach its servers, from `apt-config dump`. */
export function aptTransportOptions(dump: string): string[] {
  return dump
    .split('\n')
    .filter(line => /^Acquire::((http|https)::|Retries |Check-(Date|Valid-Until) )/.test(line))
    .map(line => line.replace(/;$/, ''));
}
