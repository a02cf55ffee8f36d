/**
 * A shell function that waits for the disk with the serial number `$serial` and gives its name in `$disk`; `$attribute`, `$found` and `$tries` are its own. The guest needs a kernel with virtio-blk, and nothing
 * else: udev's links are not waited for. A kernel that was not told of the new device is asked to look. Waits at most some 15 s on a fast machine.
 */
export const FIND_DISK = `
appeared() {
  for attribute in /sys/block/*/serial; do
    [ -r "$attribute" ] || continue
    found=
    read -r found < "$attribute"
    [ "$found" = "$serial" ] || continue
    disk=\${attribute#/sys/block/}
    disk=/dev/\${disk%/serial}
    [ -b "$disk" ] && return 0
  done
  return 1
}
find_disk() {
  tries=0
  until appeared; do
    tries=$((tries + 1))
    [ $tries -le 300 ] || { echo "the disk does not appear" >&2; exit 3; }
    [ $tries = 20 ] && { modprobe virtio_blk; echo 1 > /sys/bus/pci/rescan; } 2> /dev/null
    sleep 0.05 2> /dev/null || sleep 1
  done
}
`;

/** A serial number that no other disk of the machine has, of the 20 bytes that virtio-blk has room for. */
export function newSerial(kind: 'context' | 'result'): string {
  return `${kind}-${Math.random().toString(36).slice(2, 12)}`;
}
