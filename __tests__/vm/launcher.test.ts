import {describe, expect, test} from '@jest/globals';
import type {LoadableImage} from '../../src/base/docker.ts';
import {CanceledError, type UserError} from '../../src/base/errors.ts';
import type {JobEvent} from '../../src/base/events.ts';
import {chooseLauncher, type Launcher, type LauncherChoice} from '../../src/vm/launcher.ts';
import {type Answer, fakeDocker, fakeProcesses, type Programs, qemuWithout} from './fake-host.ts';

const IMAGE: LoadableImage = {id: 'sha256:00', config: Buffer.from('{}'), layers: []};
const HOST: Programs = {'/bin/qemu-system-x86_64': qemuWithout()};
const OWN: Programs = {'/r/ld-linux-x86-64.so.2': qemuWithout()};

function engine(version: Answer, address = 'unix:///var/run/docker.sock'): Programs {
  return {
    '/bin/docker': args =>
      args.startsWith('version') ? version : args.startsWith('context') ? address : undefined,
  };
}
const NO_ENGINE = engine({
  code: 1,
  stdout: '\n',
  stderr:
    'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n',
});

interface Played {
  readonly launcher: Launcher;
  readonly notices: readonly string[];
}

async function choose(
  choice: LauncherChoice,
  programs: Programs,
  {bare = false, ownQemu = false, signal = new AbortController().signal} = {},
): Promise<Played> {
  const processes = fakeProcesses(programs);
  const notices: string[] = [];
  const emit = (event: JobEvent): void => {
    if (event.kind === 'notice') notices.push(event.message);
  };
  const found = ownQemu
    ? {file: '/r/ld-linux-x86-64.so.2', prefixArgs: ['--library-path', '/r/lib', '/r/qemu'], env: {}}
    : undefined;
  const launcher = await chooseLauncher(
    {processes, docker: fakeDocker(processes), emit},
    {launcher: choice, accelerator: 'tcg'},
    {
      reference: 'vm.qcow2',
      ownQemu: bare ? undefined : async () => found,
      image: bare ? undefined : async () => IMAGE,
    },
    signal,
  );
  return {launcher, notices};
}

describe('auto takes the first that works, and says why', () => {
  test("the host's QEMU", async () => {
    const {launcher, notices} = await choose('auto', {...HOST, ...engine('20.10.24')}, {ownQemu: true});
    expect(launcher).toMatchObject({kind: 'qemu', qemu: {origin: 'host', reason: "the host's QEMU"}});
    expect(notices).toEqual(["launched by the host's QEMU, 7.2.22"]);
  });

  test("the archive's, when the host has none", async () => {
    const {launcher, notices} = await choose('auto', {...OWN, ...engine('20.10.24')}, {ownQemu: true});
    expect(launcher).toMatchObject({
      kind: 'qemu',
      qemu: {
        origin: 'archive',
        prefixArgs: ['--library-path', '/r/lib', '/r/qemu'],
        reason: "the archive's QEMU (qemu-system-x86_64 is not on PATH)",
      },
    });
    expect(notices).toEqual(["launched by the archive's QEMU, 7.2.22 (qemu-system-x86_64 is not on PATH)"]);
  });

  test("docker, when the host's QEMU cannot do it and the archive's does not run", async () => {
    const broken = {
      '/bin/qemu-system-x86_64': qemuWithout(/^user$/),
      '/r/ld-linux-x86-64.so.2': () => ({code: 1, stderr: 'cannot execute binary file'}),
    };
    const {launcher} = await choose('auto', {...broken, ...engine('20.10.24\n')}, {ownQemu: true});
    expect(launcher).toMatchObject({
      kind: 'docker',
      reason:
        "docker (the host's QEMU 7.2.22 is built without netdev user; the archive's QEMU does not run: cannot execute binary file)",
    });
    expect(launcher.kind === 'docker' && (await launcher.image(new AbortController().signal))).toBe(IMAGE);
  });
});

describe('nothing works', () => {
  const failure = async (...args: Parameters<typeof choose>): Promise<UserError> =>
    choose(...args).then(
      () => {
        throw new Error('something works');
      },
      error => error,
    );

  test.each<[string, LauncherChoice, Programs, {bare?: boolean; ownQemu?: boolean}, RegExp]>([
    [
      'a docker client without an engine is not docker',
      'auto',
      NO_ENGINE,
      {},
      /nothing that could run the VM: qemu-system-x86_64 is not on PATH; there is no QEMU in the image that can be run; docker has no engine: Cannot connect to the Docker daemon/,
    ],
    [
      'a client that says nothing',
      'docker',
      engine('\n'),
      {},
      /docker was asked for, but docker has no engine: it does not answer/,
    ],
    ['no client', 'docker', {}, {}, /docker was asked for, but docker is not on PATH/],
    [
      'an engine elsewhere',
      'docker',
      engine('28.0.0', 'ssh://build@example.org'),
      {},
      /docker's engine \(ssh:\/\/build@example\.org\) is not on this machine/,
    ],
    [
      'a bare disk',
      'auto',
      engine('28.0.0'),
      {bare: true},
      /qemu-system-x86_64 is not on PATH; a bare disk brings no QEMU; a bare disk is no image for docker/,
    ],
    [
      'qemu alone',
      'qemu',
      engine('28.0.0'),
      {},
      /there is no QEMU: .*not on PATH; there is no QEMU in the image/,
    ],
  ])('%s', async (_name, choice, programs, options, message) => {
    const error = await failure(choice, programs, options);
    expect(error).toMatchObject({input: 'launcher', stage: 'vm', message: expect.stringMatching(message)});
    expect(error.hint).toMatch(/\w/);
  });

  test('docker and a bare disk is a mistake, whatever docker would say', async () => {
    const error = await failure('docker', {}, {bare: true});
    expect(error.message).toMatch(/launcher: docker starts images, and vm\.qcow2 is a bare disk/);
    expect(error.hint).toMatch(/launcher: qemu/);
  });

  test('a cancel is no reason to try the next', async () => {
    const controller = new AbortController();
    controller.abort(new CanceledError('canceled by SIGINT'));
    const error = await failure('auto', HOST, {signal: controller.signal} as never);
    expect(error).toBeInstanceOf(CanceledError);
  });
});

test('other engines of the same command line (podman) know no contexts, and are local', async () => {
  const podman: Programs = {
    '/bin/docker': args => (args.startsWith('version') ? '4.9.3\n' : {code: 125, stderr: 'unknown command'}),
  };
  expect((await choose('docker', podman)).launcher).toMatchObject({
    kind: 'docker',
    reason: 'docker (as asked)',
  });
});
