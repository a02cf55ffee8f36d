import type {Devices} from '../base/devices.ts';
import type {Clock} from '../base/ports.ts';
import type {Vm} from './machine.ts';
import type {Qmp} from './qmp.ts';

/** A guest that has not let go of a device after this time keeps it: the machine's end takes it away. */
const UNPLUG_TIMEOUT_MS = 5_000;

/**
 * The devices of a machine; undefined where there are none to plug: no QEMU of ours, or the published starter's devices and no others, which is
 * what such a machine promises.
 */
export function devicesOf(vm: Pick<Vm, 'qmp' | 'machine'>, clock: Clock): Devices | undefined {
  return vm.qmp && vm.machine.line === 'fast' ? qemuDevices(vm.qmp, clock) : undefined;
}

/** Disks by QMP: a block node over the file, and a virtio-blk device before it (QEMU QMP reference, `blockdev-add`, `device_add`). */
export function qemuDevices(qmp: Qmp, clock: Clock): Devices {
  return {
    async attachDisk({path, serial, readOnly}) {
      const node = `plugged-${serial}`;
      const device = `${node}-device`;
      await qmp.execute('blockdev-add', {
        driver: 'raw',
        'node-name': node,
        'read-only': readOnly,
        file: {driver: 'file', filename: path, 'read-only': readOnly},
      });
      const forget = (): Promise<unknown> => qmp.execute('blockdev-del', {'node-name': node});
      try {
        await qmp.execute('device_add', {driver: 'virtio-blk-pci', id: device, drive: node, serial});
      } catch (error) {
        await forget().catch(() => undefined);
        throw error;
      }
      return {
        detach: () =>
          unplug(qmp, clock, device)
            .then(forget)
            .then(
              () => true,
              // What cannot be taken out ends with its machine.
              () => false,
            ),
      };
    },
  };
}

/** Asks the guest to give the device up, and waits until it has. */
async function unplug(qmp: Qmp, clock: Clock, device: string): Promise<void> {
  const waiting = new AbortController();
  let off: () => void = () => undefined;
  const deleted = new Promise<void>(resolve => {
    off = qmp.onEvent(({event, data}) => {
      if (event === 'DEVICE_DELETED' && data?.device === device) resolve();
    });
  });
  try {
    await qmp.execute('device_del', {id: device});
    const late = clock.sleep(UNPLUG_TIMEOUT_MS, waiting.signal).then(() => {
      throw new Error(`the guest does not give ${device} up`);
    });
    await Promise.race([deleted, late]);
  } finally {
    off();
    waiting.abort();
  }
}
