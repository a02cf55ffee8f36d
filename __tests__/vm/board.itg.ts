import {spawn} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, afterEach, beforeAll, expect, test} from '@jest/globals';
import type {JobEvent} from '../../src/base/events.ts';
import {localPorts} from '../../src/host/local.ts';
import {bootVm} from '../../src/vm/boot.ts';
import {findHostQemu, proveQemu} from '../../src/vm/find-qemu.ts';
import type {VmPlan} from '../../src/vm/machine.ts';
import {emptyQcow2} from '../../src/vm/overlay.ts';
import {type MachineDisk, machinePaths, type QemuProgram} from '../../src/vm/qemu-args.ts';
import {Qmp} from '../../src/vm/qmp.ts';
import {startQemu} from '../../src/vm/start.ts';
import {leftovers} from '../support/machine.ts';

// What a guest finds on the bus does not depend on what is on the disk: no archive is needed here.

let dir: string;
let disk: string;
let qemu: QemuProgram;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'itg-board-'));
  disk = join(dir, 'empty.qcow2');
  writeFileSync(disk, emptyQcow2(1n << 30n));
  const found = await findHostQemu(localPorts.processes);
  if (!found) throw new Error('these tests need a QEMU');
  qemu = await proveQemu(localPorts.processes, found, 'tcg');
});

afterEach(() => expect(leftovers()).toEqual([]));
afterAll(() => rmSync(dir, {recursive: true}));

/** What decides a network card's name in a guest: its slot on the bus, or its address. */
async function networkCard(qmp: Qmp): Promise<{place: string | undefined; address: string | undefined}> {
  const devices = (await qmp.human('info pci')).split(/(?=Bus +\d+, device)/);
  const card = devices.find(text => text.includes('Ethernet controller'));
  return {
    place: /Bus +\d+, device +\d+, function \d+/.exec(card ?? '')?.[0].replace(/ +/g, ' '),
    address: /macaddr=([\w:]+)/.exec(await qmp.human('info network'))?.[1],
  };
}

async function onPublishedCommand(): Promise<Awaited<ReturnType<typeof networkCard>>> {
  const socket = join(dir, 'published.sock');
  // As the published starter has it, stopped before the first instruction.
  const args = ['-hda', disk, '-smp', '2', '-m', '512M', '-nographic', '-nic', 'user,model=virtio'];
  const child = spawn(qemu.file, [...args, '-S', '-qmp', `unix:${socket},server=on,wait=on`], {
    stdio: 'ignore',
  });
  try {
    while (true) {
      const connection = await localPorts.sockets.connectUnix(socket).catch(() => undefined);
      if (connection) return await networkCard(await Qmp.open(connection));
      if (child.exitCode !== null) throw new Error(`QEMU ended with ${child.exitCode}`);
      await localPorts.clock.sleep(20);
    }
  } finally {
    child.kill('SIGKILL');
  }
}

test.each(['published', 'fast'])(
  'the network card of the %s line is where the published starter has it',
  async line => {
    const expected = await onPublishedCommand();
    expect(expected.place).toBe('Bus 0, device 3, function 0');
    const running = await startQemu(
      {...localPorts, emit: () => undefined},
      qemu,
      async runDir => {
        const {overlay} = machinePaths(runDir);
        writeFileSync(overlay, emptyQcow2(1n << 30n));
        const chain: MachineDisk = {kind: 'chain', readOnly: [disk], overlay};
        return {
          accelerator: 'tcg',
          cpus: 2,
          memoryMib: 512,
          runDir,
          disk: line === 'fast' ? chain : {kind: 'published', path: disk},
          ...(line === 'fast' && {ram: {kind: 'shared'}}),
        };
      },
      new AbortController().signal,
    );
    if ('kind' in running) throw new Error(JSON.stringify(running));
    await using machine = running;
    expect(await networkCard(machine.qmp)).toEqual(expected);
  },
);

test('a disk that does not boot is known by what the firmware says, on both lines', async () => {
  const warnings: string[] = [];
  const emit = (event: JobEvent) => event.kind === 'warning' && warnings.push(event.message);
  const plan: VmPlan = {
    accelerator: 'tcg',
    machine: 'auto',
    snapshot: 'off',
    cpus: 1,
    memoryMib: 256,
    bootTimeoutMs: 3_600_000,
    keepRunning: false,
    kvmPatienceMs: 1,
    username: 'root',
    password: 'root',
  };
  const boot = bootVm(
    {...localPorts, emit},
    plan,
    qemu,
    disk,
    {accelerator: 'tcg'},
    {kind: 'cold'},
    new AbortController().signal,
  );
  await expect(boot).rejects.toThrow(/^the VM cannot boot: No bootable device/);
  expect(warnings).toEqual([expect.stringMatching(/virtio disk \(No bootable device/)]);
});
