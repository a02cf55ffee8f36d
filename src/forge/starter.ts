/** The published starter's QEMU, as far as no variable changes it; its order of arguments is kept. */
const QEMU = 'qemu-system-x86_64 -hda /vm.qcow2 -smp 2 -m 2048M -nographic';

/**
 * `/start.sh` of the image: POSIX sh, the published starter's variables and arguments.
 * - `QEMU_NET` network of the VM (`10.200.0.0/24`), `QEMU_DHCPSTART` its first address;
 * - `QEMU_HOSTFWD` more forwards after SSH's, as in `hostfwd=tcp::8080-:80,hostfwd=tcp::2345-:2345`;
 * - `-enable-kvm` when /dev/kvm exists; arguments of the script go to QEMU, last.
 */
export const START_SH = `#!/bin/sh
# Starts this archive's virtual machine: console on standard output, SSH (root/root) on port 22.
set -eu

nic=user
[ -z "\${QEMU_NET:-}" ] || nic="$nic,net=$QEMU_NET"
[ -z "\${QEMU_DHCPSTART:-}" ] || nic="$nic,dhcpstart=$QEMU_DHCPSTART"
nic="$nic,hostfwd=tcp::22-:22"
[ -z "\${QEMU_HOSTFWD:-}" ] || nic="$nic,$QEMU_HOSTFWD"

[ ! -e /dev/kvm ] || set -- -enable-kvm "$@"
exec ${QEMU} -nic "$nic,model=virtio" "$@"
`;
