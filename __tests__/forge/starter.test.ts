import {spawnSync} from 'node:child_process';
import {chmod, mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {START_SH} from '../../src/forge/starter.ts';

let dir: string;
let script: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'forge-starter-'));
  script = join(dir, 'start.sh');
  // The test decides whether there is KVM, not the machine it runs on.
  await writeFile(script, START_SH.replaceAll('/dev/kvm', join(dir, 'kvm')));
  await writeFile(join(dir, 'qemu-system-x86_64'), '#!/bin/sh\nprintf "%s\\n" "$@"\n');
  await chmod(join(dir, 'qemu-system-x86_64'), 0o755);
});
afterAll(async () => {
  await rm(dir, {recursive: true});
});

/** QEMU's arguments as the script makes them, with a stand-in for QEMU. */
function start(env: Record<string, string>, args: string[] = []): string[] {
  const done = spawnSync('/bin/sh', [script, ...args], {
    env: {PATH: `${dir}:/usr/bin:/bin`, ...env},
    encoding: 'utf8',
  });
  expect(done.stderr).toBe('');
  return done.stdout.trimEnd().split('\n');
}

const BASE = ['-hda', '/vm.qcow2', '-smp', '2', '-m', '2048M', '-nographic', '-nic'];

describe('start.sh', () => {
  test.each([
    [{}, 'user,hostfwd=tcp::22-:22,model=virtio'],
    [{QEMU_NET: '10.200.0.0/24'}, 'user,net=10.200.0.0/24,hostfwd=tcp::22-:22,model=virtio'],
    [
      {QEMU_NET: '10.200.0.0/24', QEMU_DHCPSTART: '10.200.0.16'},
      'user,net=10.200.0.0/24,dhcpstart=10.200.0.16,hostfwd=tcp::22-:22,model=virtio',
    ],
    [{QEMU_HOSTFWD: 'hostfwd=tcp::8080-:80'}, 'user,hostfwd=tcp::22-:22,hostfwd=tcp::8080-:80,model=virtio'],
  ])('%j', (env, nic) => {
    expect(start(env as Record<string, string>)).toEqual([...BASE, nic]);
  });

  test('hands its own arguments to QEMU, last and whole', () => {
    expect(start({}, ['-append', 'a  b']).slice(-2)).toEqual(['-append', 'a  b']);
  });

  test('asks for KVM when there is KVM', async () => {
    await writeFile(join(dir, 'kvm'), '');
    expect(start({}, ['-snapshot']).slice(-2)).toEqual(['-enable-kvm', '-snapshot']);
    await rm(join(dir, 'kvm'));
  });
});
