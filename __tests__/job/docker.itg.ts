import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, afterEach, beforeAll, describe, expect, test} from '@jest/globals';
import {CanceledError} from '../../src/base/errors.ts';
import type {JobEvent} from '../../src/base/events.ts';
import {localPorts} from '../../src/host/local.ts';
import {imageIdOf, layoutOf, pushArchive, writeArchiveWith} from '../support/archive-images.ts';
import {type Engine, startEngine} from '../support/dockerd.ts';
import {BUSYBOX, contextDir, diskOf, leftovers, play} from '../support/machine.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {Runner} from '../support/runner.ts';

let engine: Engine;
let registry: Registry;
let imagesBefore: readonly string[];
let storeDir: string;
beforeAll(async () => {
  engine = await startEngine();
  imagesBefore = engine.images();
  registry = await startRegistry();
  pushArchive('v0.20.2', registry.port, 'ctrsploit/buildkit-v0.20.2:latest');
  pushArchive('v0.12.5', registry.port, 'ssst0n3/docker_archive:buildkit-v0.12.5');
  storeDir = mkdtempSync(join(tmpdir(), 'itg-store-'));
});
afterEach(() => {
  expect(engine.containers()).toEqual([]);
  expect(engine.images()).toEqual(imagesBefore);
  expect(leftovers()).toEqual([]);
});
afterAll(async () => {
  rmSync(storeDir, {recursive: true, force: true});
  await registry?.stop();
  await engine?.stop();
});

const docker = {archive: layoutOf('v0.20.2'), launcher: 'docker', 'boot-timeout': '10m'};
const LONG = `${BUSYBOX}RUN echo begun; sleep 600\n`;
const containerIn = (events: readonly JobEvent[]): string =>
  events
    .flatMap(event =>
      event.kind === 'resource' && event.resource.kind === 'container' ? [event.resource.name] : [],
    )
    .at(-1) ?? '';

/** Calls `act` once, when the build's log shows that the long step runs. */
function onceBegun(act: (events: readonly JobEvent[]) => void): (event: JobEvent) => void {
  const events: JobEvent[] = [];
  let log = '';
  let done = false;
  return event => {
    events.push(event);
    if (event.kind === 'build-log') log += event.text;
    if (done || !/^#\d+ \S+ begun$/m.test(log)) return;
    done = true;
    act(events);
  };
}

test('a version is pulled once, given to docker, started without the KVM that is none, and built in', async () => {
  const usable = {
    probe: async () => ({kind: 'usable'}) as const,
    repair: async () => ({kind: 'usable'}) as const,
  };
  const {result} = await play(
    {
      ...docker,
      archive: '',
      'buildkit-version': 'v0.12.5',
      registries: `127.0.0.1:${registry.port}/ssst0n3/docker_archive:`,
      accelerator: 'auto',
      context: contextDir({Dockerfile: `${BUSYBOX}RUN echo 1\n`}),
    },
    // This machine may have no /dev/kvm to hand in: docker then refuses to start the container.
    {storeDir, ports: {kvm: usable}},
  );
  expect(result.outcome).toEqual({kind: 'built'});
  expect(result.versions?.buildkit.version).toBe('v0.12.5');
  expect(result.machine).toMatchObject({
    launcher: 'docker',
    launcherReason: 'docker (as asked)',
    line: 'published',
    start: {kind: 'cold'},
    cpus: 2,
    memoryMib: 2048,
  });
  if (result.machine?.accelerator === 'tcg') {
    expect(result.machine.acceleratorReason).toMatch(/KVM/);
    expect(result.warnings.join('\n')).toMatch(/Starting again under TCG/);
  }
  const blobs = (await registry.requests()).filter(request => /^GET .*\/blobs\//.test(request));
  // Config and three layers.
  expect(blobs).toHaveLength(4);
  expect(new Set(blobs).size).toBe(4);
});

test('an image that docker has is used as it is and stays; a container that dies in mid-build is explained', async () => {
  const name = `127.0.0.1:${registry.port}/ctrsploit/buildkit-v0.20.2:latest`;
  engine.docker('pull', '--quiet', name);
  try {
    expect(engine.docker('image', 'inspect', '--format', '{{.Id}}', name).trim()).toBe(imageIdOf('v0.20.2'));
    const {result, events} = await play(
      {...docker, context: contextDir({Dockerfile: LONG})},
      {onEvent: onceBegun(soFar => void engine.docker('kill', containerIn(soFar)))},
    );
    expect(result.outcome).toMatchObject({
      kind: 'infra-failed',
      stage: 'vm',
      message: expect.stringMatching(/the VM ended while it was in use \(exit status 137\)/),
      internal: false,
    });
    expect(result.trace?.steps.at(-1)?.name).toContain('sleep 600');
    expect(events.some(event => event.kind === 'progress' && event.text.includes('loading the image'))).toBe(
      false,
    );
    expect(engine.images()).toContain(name);
  } finally {
    engine.docker('image', 'rm', name);
  }
});

test("a disk that does not boot: the console's tail is shown", async () => {
  const dir = mkdtempSync(join(tmpdir(), 'itg-image-'));
  const disk = join(dir, 'empty.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', disk, '16M']);
  await writeArchiveWith(dir, 'v0.20.2', [{name: 'vm.qcow2', content: readFileSync(disk)}]);
  const {result} = await play({...docker, archive: dir, context: contextDir({Dockerfile: 'FROM scratch\n'})});
  expect(result.outcome).toMatchObject({
    kind: 'infra-failed',
    stage: 'vm',
    message: expect.stringMatching(
      /cannot boot: No bootable device.*The serial console's last lines:.*Booting from ROM/s,
    ),
  });
  rmSync(dir, {recursive: true});
});

test('a cancel while the VM boots', async () => {
  const controller = new AbortController();
  const {result} = await play(
    {...docker, context: contextDir({Dockerfile: 'FROM scratch\n'})},
    {
      signal: controller.signal,
      onEvent: event => {
        if (event.kind === 'progress' && event.text.startsWith('booting')) {
          controller.abort(new CanceledError('canceled by SIGINT'));
        }
      },
    },
  );
  expect(result.outcome).toEqual({kind: 'canceled', stage: 'vm', message: 'canceled by SIGINT'});
});

test('kill -9 of main: the container and its image stay, and post removes them', async () => {
  const runner = new Runner();
  try {
    runner.start('main', {...docker, accelerator: 'tcg', context: contextDir({Dockerfile: LONG})});
    // What runs in it makes no difference to who removes it.
    while (engine.containers().length === 0) await localPorts.clock.sleep(100);
    runner.kill('SIGKILL');
    expect(await runner.end()).toEqual({code: null, signal: 'SIGKILL'});
    const [name = ''] = engine.containers();
    expect(name).toMatch(/^buildkit-archive-/);
    runner.log = '';
    runner.start('post');
    expect(await runner.end()).toEqual({code: 0, signal: null});
    expect(runner.log).toContain(`removed the container ${name}`);
    expect(runner.log).toMatch(/removed the image localhost\/buildkit-archive:[0-9a-f]{64} from docker/);
  } finally {
    runner.remove();
  }
});

describe('what cannot be launched is said before anything starts', () => {
  const context = contextDir({Dockerfile: 'FROM scratch\n'});

  test('a bare disk by docker', async () => {
    const {result, events} = await play({launcher: 'docker', archive: diskOf('v0.20.2'), context});
    expect(result.outcome).toMatchObject({
      kind: 'infra-failed',
      message: expect.stringMatching(/launcher: docker starts images, and .*vm\.qcow2 is a bare disk/),
      internal: false,
    });
    expect(events.some(event => event.kind === 'resource')).toBe(false);
  });

  test('docker without an engine', async () => {
    const before = process.env.DOCKER_HOST;
    process.env.DOCKER_HOST = `unix://${tmpdir()}/no-such.sock`;
    try {
      const {result} = await play({...docker, context});
      expect(result.outcome).toMatchObject({
        kind: 'infra-failed',
        stage: 'vm',
        message: expect.stringMatching(/docker was asked for, but docker has no engine: .*no-such\.sock/),
        hint: expect.stringContaining('launcher: auto'),
      });
    } finally {
      if (before === undefined) delete process.env.DOCKER_HOST;
      else process.env.DOCKER_HOST = before;
    }
  });

  test('a debug port that is taken, by either launcher', async () => {
    for (const launcher of ['qemu', 'docker']) {
      const {result} = await play({
        ...docker,
        launcher,
        'debug-port': String(registry.port),
        context,
      });
      expect(result.outcome).toMatchObject({
        kind: 'infra-failed',
        stage: 'vm',
        message: expect.stringMatching(
          new RegExp(`debug-port: port ${registry.port} of 127\\.0\\.0\\.1 cannot be used`),
        ),
        internal: false,
      });
    }
  });
});

test('auto takes docker when neither the host nor the image has a QEMU that works', async () => {
  const processes = {
    ...localPorts.processes,
    find: async (program: string) =>
      program === 'qemu-system-x86_64' ? undefined : localPorts.processes.find(program),
  };
  const files = {
    ...localPorts.files,
    // The image's program is there and its loader is not.
    exists: async (path: string) => !path.includes('ld-linux') && localPorts.files.exists(path),
  };
  const controller = new AbortController();
  const {result, events} = await play(
    {...docker, launcher: 'auto', context: contextDir({Dockerfile: 'FROM scratch\n'})},
    {
      storeDir,
      ports: {processes, files},
      signal: controller.signal,
      onEvent: event => {
        if (event.kind === 'progress' && event.text.startsWith('booting'))
          controller.abort(new CanceledError());
      },
    },
  );
  expect(result.outcome.kind).toBe('canceled');
  expect(events).toContainEqual({
    kind: 'notice',
    message: expect.stringMatching(
      /^launched by docker, engine \S+ \(qemu-system-x86_64 is not on PATH; there is no QEMU in the image that can be run\)$/,
    ),
  });
});
