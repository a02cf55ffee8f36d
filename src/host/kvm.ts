import {constants} from 'node:fs';
import {access, open} from 'node:fs/promises';
import {userInfo} from 'node:os';
import {getExecOutput} from '@actions/exec';
import {messageOf} from '../base/errors.ts';
import type {Kvm, KvmState} from '../base/kvm.ts';
import {localProcesses} from './processes.ts';

const DEFAULT_DEVICE = '/dev/kvm';

/**
 * What GitHub documents for its hosted runners: a rule that survives udev's next look at the device, then the same at once.
 * `chmod` alone would do until udev sets the mode anew.
 */
const REPAIR_COMMANDS: readonly (readonly string[])[] = [
  [
    'sh',
    '-c',
    `echo 'KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"' > /etc/udev/rules.d/99-kvm4all.rules`,
  ],
  ['udevadm', 'control', '--reload-rules'],
  ['udevadm', 'trigger', '--name-match=kvm'],
  ['udevadm', 'settle', '--timeout=5'],
  ['chmod', '0666', DEFAULT_DEVICE],
];

export const localKvm: Kvm = kvmAt(DEFAULT_DEVICE);

/** @param device another path than `/dev/kvm` is for tests; it is never repaired. */
export function kvmAt(device: string): Kvm {
  return {
    probe: () => probe(device),
    async repair() {
      if (device === DEFAULT_DEVICE && (await localProcesses.find('sudo')) !== undefined) {
        for (const command of REPAIR_COMMANDS) {
          const options = {silent: true, ignoreReturnCode: true};
          await getExecOutput('sudo', ['-n', ...command], options).catch(() => undefined);
        }
      }
      return probe(device);
    },
  };
}

/** Opens the device for reading and writing, which is what QEMU does; permissions alone do not tell. */
async function probe(device: string): Promise<KvmState> {
  try {
    await access(device, constants.F_OK);
  } catch {
    return {kind: 'absent'};
  }
  try {
    await (await open(device, 'r+')).close();
    return {kind: 'usable'};
  } catch (error) {
    return {kind: 'denied', reason: `user ${userInfo().username}: ${messageOf(error)}`};
  }
}
