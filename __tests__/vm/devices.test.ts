import {createInterface} from 'node:readline';
import {duplexPair} from 'node:stream';
import {expect, test} from '@jest/globals';
import type {Clock} from '../../src/base/ports.ts';
import {systemClock} from '../../src/host/clock.ts';
import {devicesOf, qemuDevices} from '../../src/vm/devices.ts';
import {Qmp} from '../../src/vm/qmp.ts';

interface Command {
  readonly execute: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
  readonly id: number;
}

/** A control socket that says yes to everything but `refused`, and tells of each device that was deleted, when `guest` lets it go. */
async function fakeQemu({refused, guest = true}: {refused?: string; guest?: boolean} = {}) {
  const [ours, theirs] = duplexPair();
  const commands: Command[] = [];
  const send = (message: unknown): void => void theirs.write(`${JSON.stringify(message)}\r\n`);
  createInterface({input: theirs}).on('line', line => {
    const command = JSON.parse(line) as Command;
    commands.push(command);
    if (command.execute === refused) send({id: command.id, error: {class: 'GenericError', desc: 'no slot'}});
    else send({id: command.id, return: {}});
    if (command.execute !== 'device_del' || !guest) return;
    // A device without a name, and another one, come first.
    send({event: 'DEVICE_DELETED', data: {path: '/machine/x'}, timestamp: {}});
    send({event: 'DEVICE_DELETED', data: {device: 'another', path: '/machine/y'}, timestamp: {}});
    send({event: 'DEVICE_DELETED', data: {device: command.arguments?.id}, timestamp: {}});
  });
  send({QMP: {version: {}, capabilities: []}});
  const qmp = await Qmp.open(ours);
  return {qmp, commands, names: () => commands.slice(1).map(command => command.execute)};
}

const disk = {path: '/tmp/image, "odd"', serial: 'context-1', readOnly: true};
/** On which every sleep is over at once. */
const hasty: Clock = {nowMs: () => 0, sleep: async () => undefined};

test('a disk goes in as a block node and a device, and comes out when the guest has let it go', async () => {
  const {qmp, commands, names} = await fakeQemu();
  const attached = await qemuDevices(qmp, systemClock).attachDisk(disk);
  expect(commands.slice(1).map(command => command.arguments)).toEqual([
    {
      driver: 'raw',
      'node-name': 'plugged-context-1',
      'read-only': true,
      file: {driver: 'file', filename: disk.path, 'read-only': true},
    },
    {
      driver: 'virtio-blk-pci',
      id: 'plugged-context-1-device',
      drive: 'plugged-context-1',
      serial: 'context-1',
    },
  ]);
  expect(await attached.detach()).toBe(true);
  expect(names()).toEqual(['blockdev-add', 'device_add', 'device_del', 'blockdev-del']);
  qmp.close();
});

test('two disks have different names', async () => {
  const {qmp, commands} = await fakeQemu();
  const devices = qemuDevices(qmp, systemClock);
  await Promise.all([devices.attachDisk(disk), devices.attachDisk({...disk, serial: 'context-2'})]);
  expect(new Set(commands.flatMap(({arguments: args}) => args?.['node-name'] ?? [])).size).toBe(2);
  qmp.close();
});

test('a device that is refused leaves no node behind', async () => {
  const {qmp, names} = await fakeQemu({refused: 'device_add'});
  await expect(qemuDevices(qmp, systemClock).attachDisk(disk)).rejects.toThrow('no slot');
  expect(names()).toEqual(['blockdev-add', 'device_add', 'blockdev-del']);
  qmp.close();
});

test('a guest that keeps the device is not waited for without end', async () => {
  const {qmp, names} = await fakeQemu({guest: false});
  const attached = await qemuDevices(qmp, hasty).attachDisk(disk);
  expect(await attached.detach()).toBe(false);
  expect(names()).toEqual(['blockdev-add', 'device_add', 'device_del']);
  qmp.close();
});

test('a machine that is gone is no error', async () => {
  const {qmp} = await fakeQemu();
  const attached = await qemuDevices(qmp, systemClock).attachDisk(disk);
  qmp.close();
  expect(await attached.detach()).toBe(false);
});

test.each([
  ['our line', 'fast', true, true],
  ['the published line', 'published', true, false],
  ['no QEMU of ours', 'fast', false, false],
] as const)('%s', async (_, line, ours, plugs) => {
  const {qmp} = await fakeQemu();
  const machine = {accelerator: 'tcg', qemuVersion: '7.2.22', cpus: 2, memoryMib: 2048, line} as const;
  expect(devicesOf({machine, ...(ours && {qmp})}, systemClock) !== undefined).toBe(plugs);
  qmp.close();
});
