import {chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, describe, expect, test} from '@jest/globals';
import {CanceledError} from '../../src/base/errors.ts';
import type {JobEvent} from '../../src/base/events.ts';
import {kvmAt} from '../../src/host/kvm.ts';
import {localPorts} from '../../src/host/local.ts';
import {localProcesses} from '../../src/host/processes.ts';
import {BUSYBOX, contextDir, leftovers, play} from '../support/machine.ts';

afterEach(() => expect(leftovers()).toEqual([]));

const LONG = `${BUSYBOX}RUN echo begun; sleep 600\n`;

const TRACE_LAG_MS = 3_000;

/** Calls `act` once, soon after the build's log shows that the long step runs. */
function onceBegun(act: (events: readonly JobEvent[]) => void): (event: JobEvent) => void {
  const events: JobEvent[] = [];
  let log = '';
  let done = false;
  return event => {
    events.push(event);
    if (event.kind === 'build-log') log += event.text;
    if (!done && /^#\d+ \S+ begun$/m.test(log)) {
      done = true;
      // The log and the trace are two streams: what the one has shown, the other may still have on its way.
      setTimeout(() => act(events), TRACE_LAG_MS);
    }
  };
}

test('a cancel in mid-build ends the machine and says so', async () => {
  const controller = new AbortController();
  const {result} = await play(
    {context: contextDir({Dockerfile: LONG})},
    {
      signal: controller.signal,
      onEvent: onceBegun(() => controller.abort(new CanceledError('canceled by SIGINT'))),
    },
  );
  expect(result.outcome).toEqual({kind: 'canceled', stage: 'build', message: 'canceled by SIGINT'});
  expect(result.trace?.steps.at(-1)).toMatchObject({
    state: 'running',
    name: expect.stringContaining('sleep 600'),
  });
});

test('a VM that is killed in mid-build: what happened, and what is known of the build', async () => {
  const {result} = await play(
    {context: contextDir({Dockerfile: LONG})},
    {
      onEvent: onceBegun(events => {
        const qemu = events
          .flatMap(event =>
            event.kind === 'resource' && event.resource.kind === 'process' ? [event.resource.pid] : [],
          )
          .at(-1);
        process.kill(qemu ?? 0, 'SIGKILL');
      }),
    },
  );
  expect(result.outcome).toMatchObject({
    kind: 'infra-failed',
    stage: 'vm',
    message: expect.stringMatching(/the VM ended while it was in use \(SIGKILL\)/),
    internal: false,
  });
  expect(result.versions?.buildkit.version).toBe('v0.20.2');
  expect(result.trace?.steps.at(-1)).toMatchObject({
    state: 'running',
    logs: {head: [expect.objectContaining({text: 'begun'})]},
  });
});

/** Puts a QEMU on PATH that runs `script` on its arguments before it becomes the real one. */
function standIn(script: string): {path: string; remove: () => void} {
  const dir = mkdtempSync(join(tmpdir(), 'itg-qemu-'));
  const file = join(dir, 'qemu-system-x86_64');
  writeFileSync(
    file,
    `#!/bin/bash\nset -u\nreal=$(PATH=/usr/local/bin:/usr/bin:/bin command -v qemu-system-x86_64)\n${script}\nexec "$real" "$@"\n`,
  );
  chmodSync(file, 0o755);
  const before = process.env.PATH;
  process.env.PATH = `${dir}:${before}`;
  return {
    path: file,
    remove: () => {
      process.env.PATH = before;
      rmSync(dir, {recursive: true});
    },
  };
}

describe('KVM that opens and does not work', () => {
  const usable = {
    probe: async () => ({kind: 'usable'}) as const,
    repair: async () => ({kind: 'usable'}) as const,
  };

  test('a silent guest is started again under TCG, with a warning; the next run does not wait for it again', async () => {
    // What is learnt here is not for the tests that share a store.
    const storeDir = mkdtempSync(join(tmpdir(), 'itg-store-'));
    // Stopped (-S), it shows no sign of life.
    const qemu = standIn('case " $* " in *accel=kvm*) set -- "${@//accel=kvm/accel=tcg}" -S ;; esac');
    try {
      expect(await localProcesses.find('qemu-system-x86_64')).toBe(qemu.path);
      const inputs = {
        accelerator: 'auto',
        'kvm-patience': '5s',
        context: contextDir({Dockerfile: 'FROM scratch\nCOPY busybox /\n'}),
      };
      const {result} = await play(inputs, {ports: {kvm: usable}, storeDir});
      expect(result.outcome).toEqual({kind: 'built'});
      expect(result.machine).toMatchObject({
        accelerator: 'tcg',
        acceleratorReason: expect.stringMatching(/no sign of life/),
      });
      expect(result.warnings.join('\n')).toMatch(
        /KVM opens, but the guest showed no sign of life.*under TCG/,
      );
      const next = await play(inputs, {ports: {kvm: usable}, storeDir});
      expect(next.result.machine).toMatchObject({accelerator: 'tcg', start: {kind: 'restored'}});
      expect(next.result.warnings).toEqual([]);
    } finally {
      qemu.remove();
      rmSync(storeDir, {recursive: true});
    }
  });

  test('a QEMU that refuses KVM is started again under TCG; when KVM was demanded, it is an error', async () => {
    const qemu = standIn(
      'case " $* " in *accel=kvm*) echo "qemu-system-x86_64: failed to initialize kvm: Permission denied" >&2; exit 1 ;; esac',
    );
    try {
      const demanded = await play(
        {accelerator: 'kvm', context: contextDir({Dockerfile: 'FROM scratch\n'})},
        {ports: {kvm: usable}},
      );
      expect(demanded.result.outcome).toMatchObject({
        kind: 'infra-failed',
        stage: 'vm',
        message: expect.stringMatching(/QEMU ended before the VM was up: .*failed to initialize kvm/),
      });
      const {result} = await play(
        {accelerator: 'auto', context: contextDir({Dockerfile: 'FROM scratch\nCOPY busybox /\n'})},
        {ports: {kvm: usable}},
      );
      expect(result.outcome).toEqual({kind: 'built'});
      expect(result.warnings.join('\n')).toMatch(/QEMU could not use KVM \(.*Permission denied\)/);
    } finally {
      qemu.remove();
    }
  });

  test('no /dev/kvm at all: a warning that says what to do, and TCG', async () => {
    const context = contextDir({Dockerfile: 'FROM scratch\nCOPY busybox /\n'});
    const {result} = await play({accelerator: 'auto', context}, {ports: {kvm: kvmAt('/no/such/kvm')}});
    expect(result.outcome).toEqual({kind: 'built'});
    expect(result.warnings.join('\n')).toMatch(
      /no KVM: this machine has no \/dev\/kvm.*use a runner with KVM/s,
    );
  });
});

test('a kernel that only its boot loader can start: the job goes on, and the next boot begins there', async () => {
  const storeDir = mkdtempSync(join(tmpdir(), 'itg-store-'));
  // Without its root file system it panics; a boot through the loader has a command line of its own.
  const qemu = standIn(
    'args=(); last=; for arg; do [ "$last" != -append ] || arg="console=ttyS0 rdinit=/none root=/dev/none"; args+=("$arg"); last=$arg; done; set -- "${args[@]}"',
  );
  try {
    const context = contextDir({Dockerfile: 'FROM scratch\nCOPY busybox /\n'});
    const inputs = {context, snapshot: 'off'};
    const {result} = await play(inputs, {storeDir});
    expect(result.outcome).toEqual({kind: 'built'});
    expect(result.machine).toMatchObject({line: 'fast', start: {kind: 'cold'}});
    expect(result.warnings).toEqual([
      expect.stringMatching(/^the guest does not come up when its kernel is started directly \(.*panic/i),
    ]);
    const controller = new AbortController();
    const notices: string[] = [];
    await play(inputs, {
      storeDir,
      signal: controller.signal,
      onEvent: event => {
        if (event.kind !== 'notice' || !event.message.startsWith('the VM starts')) return;
        notices.push(event.message);
        controller.abort(new CanceledError('seen'));
      },
    });
    expect(notices).toEqual([
      expect.stringMatching(
        /^the VM starts through its disk's boot loader, as it came up here before \(.*panic/i,
      ),
    ]);
  } finally {
    qemu.remove();
    rmSync(storeDir, {recursive: true});
  }
});

describe('before anything is booted', () => {
  const dir = mkdtempSync(join(tmpdir(), 'itg-bad-'));
  const contextOnly = contextDir({Dockerfile: 'FROM scratch\n'}, {busybox: false});
  const file = (name: string, bytes: Buffer | string): string => {
    writeFileSync(join(dir, name), bytes);
    return join(dir, name);
  };
  test.each([
    ['an archive that does not exist', {archive: '/no/such.qcow2'}, /no file or folder \/no\/such\.qcow2/],
    ['a file that is no archive', {archive: file('text', 'hello')}, /neither a qcow2 disk nor a tar/],
    ['an empty file', {archive: file('empty', '')}, /an empty file/],
    ['a folder that is no layout', {archive: dir}, /a folder without the file oci-layout/],
    ['a context that does not exist', {context: '/no/such'}, /context \/no\/such does not exist/],
    ['a Dockerfile that does not exist', {context: dir}, /no Dockerfile .*\/Dockerfile/],
    [
      'a secret file that does not exist',
      {'secret-files': 'a=/no/such'},
      /no file \/no\/such for the secret "a"/,
    ],
  ])('%s', async (_name, raw, message) => {
    const events: JobEvent[] = [];
    const {result} = await play(
      {
        context: contextDir({Dockerfile: 'FROM scratch\n'}, {busybox: false}),
        ...(raw as Record<string, string>),
      },
      {onEvent: event => events.push(event)},
    );
    expect(result.outcome).toMatchObject({
      kind: 'infra-failed',
      internal: false,
      message: expect.stringMatching(message),
    });
    expect(events.some(event => event.kind === 'resource')).toBe(false);
  });

  test('a KVM that is demanded and not there, before its archive is looked for', async () => {
    const events: JobEvent[] = [];
    const {result} = await play(
      {context: contextOnly, archive: 'http://127.0.0.1:1/a/b:c', accelerator: 'kvm'},
      {ports: {kvm: kvmAt('/no/such/kvm')}, onEvent: event => events.push(event)},
    );
    expect(result.outcome).toMatchObject({
      kind: 'infra-failed',
      stage: 'vm',
      message: 'accelerator: kvm was asked for, but this machine has no /dev/kvm',
      hint: expect.stringMatching(/or set accelerator: auto/),
    });
    expect(events.some(event => event.kind === 'stage-started' && event.stage === 'archive')).toBe(false);
  });

  test('no QEMU: a bare disk brings none', async () => {
    const before = process.env.PATH;
    process.env.PATH = dir;
    try {
      const {result} = await play({context: contextOnly});
      expect(result.outcome).toMatchObject({
        kind: 'infra-failed',
        stage: 'vm',
        message: expect.stringMatching(
          /nothing that could run the VM: qemu-system-x86_64 is not on PATH; a bare disk/,
        ),
        hint: expect.stringContaining('apt-get install qemu-system-x86'),
      });
    } finally {
      process.env.PATH = before;
    }
  });

  test('no space for the VM', async () => {
    const files = {...localPorts.files, freeBytes: async () => 1024 ** 2};
    const {result} = await play({context: contextOnly}, {ports: {files}});
    expect(result.outcome).toMatchObject({
      kind: 'infra-failed',
      stage: 'vm',
      message: expect.stringMatching(/no space for the VM: 1 MiB free/),
    });
  });

  test('the test made its files', () => expect(existsSync(join(dir, 'text'))).toBe(true));
});
