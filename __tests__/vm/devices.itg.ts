import {createHash} from 'node:crypto';
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, expect, test} from '@jest/globals';
import {sendAsDisk} from '../../src/build/context-disk.ts';
import {receiveOutput} from '../../src/build/outputs.ts';
import {localPorts} from '../../src/host/local.ts';
import {ANY_GUEST, withMachine} from '../../src/machine.ts';
import {devicesOf} from '../../src/vm/devices.ts';
import {leftovers, planFor} from '../support/machine.ts';

afterEach(() => expect(leftovers()).toEqual([]));

// One boot for all: nothing here changes the machine for what comes after it.
test('disks come and go in a real guest; one that cannot be mounted is taken out again', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'itg-devices-'));
  const context = join(dir, 'context');
  mkdirSync(context);
  writeFileSync(join(context, 'large'), Buffer.alloc(20_000_000, 1));
  const plan = {
    contextDir: context,
    dockerfileDir: context,
    dockerfileName: 'D',
    dockerfileNames: [],
    ignoreFiles: [],
  };
  const signal = new AbortController().signal;
  await withMachine(planFor({}), {...localPorts, emit: () => undefined}, ANY_GUEST, signal, async vm => {
    const devices = devicesOf(vm, localPorts.clock);
    if (!devices) throw new Error('this machine takes no disks');
    const output = async (script: string) => (await vm.session.output(['sh', '-c', script])).stdout;
    const serials = () => output('cat /sys/block/vd*/serial');
    const appears = async (serial: string): Promise<void> => {
      while (!(await serials()).includes(serial)) await localPorts.clock.sleep(100);
    };

    writeFileSync(join(dir, 'raw'), Buffer.alloc(1024 * 1024, 'x'));
    const disk = await devices.attachDisk({path: join(dir, 'raw'), serial: 'first', readOnly: true});
    rmSync(join(dir, 'raw'));
    await appears('first');
    expect(await output('head -c 5 /dev/vdb; cat /sys/block/vdb/ro')).toBe('xxxxx1\n');
    expect(await disk.detach()).toBe(true);
    expect(await serials()).toBe('');

    await vm.session.output(['mkdir', '-p', '/root/c']);
    const said: string[] = [];
    const send = (image: typeof localPorts.imager) =>
      sendAsDisk(
        vm.session,
        plan,
        '/root/c',
        {imager: image, devices, emit: event => event.kind === 'warning' && said.push(event.message)},
        signal,
      );
    const damaged = {
      ...localPorts.imager,
      image: async (...args: Parameters<typeof localPorts.imager.image>) => {
        const image = await localPorts.imager.image(...args);
        writeFileSync(image.path, Buffer.alloc(4096), {flag: 'r+'});
        return image;
      },
    };
    expect(await send(damaged)).toBeUndefined();
    expect(said).toEqual([
      expect.stringMatching(/^the context goes as a tar stream.*cannot mount a disk \(mount: /),
    ]);
    expect(await serials()).toBe('');
    expect(await output('ls /root/c')).toBe('');

    expect(await send(localPorts.imager)).toMatchObject({files: 1, bytes: 20_000_000});
    expect(
      await output('cmp -n 20000000 /root/c/large /dev/zero; ls /root/c; od -An -tx1 -N2 /root/c/large'),
    ).toMatch(/^large\n 01 01$/m);
    // A result: what the guest writes to a blank disk is the file here, to its last byte.
    await vm.session.output(['sh', '-c', 'head -c 40000001 /dev/urandom > /root/result']);
    const target = {
      spec: {type: 'oci' as const, attrs: []},
      dest: join(dir, 'out/result'),
      kind: 'file' as const,
    };
    const troubles: string[] = [];
    const received = await receiveOutput(vm.session, localPorts.results, target, '/root/result', {
      devices,
      onTrouble: message => void troubles.push(message),
    });
    expect([received.bytes, troubles]).toEqual([40_000_001, []]);
    const here = createHash('sha256').update(readFileSync(target.dest)).digest('hex');
    expect(await output('sha256sum < /root/result')).toBe(`${here}  -\n`);
    expect(readdirSync(join(dir, 'out'))).toEqual(['result']);
    expect(await serials()).toMatch(/^context-\S+$/);

    expect(readdirSync(tmpdir()).filter(name => name.startsWith('bka-')).length).toBe(1);
  });
  rmSync(dir, {recursive: true});
});
