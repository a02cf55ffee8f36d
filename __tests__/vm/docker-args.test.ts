import {describe, expect, test} from '@jest/globals';
import {
  chooseStart,
  dockerRunArgs,
  imageStart,
  isLocalEngine,
  publishedPort,
} from '../../src/vm/docker-args.ts';

const spec = {name: 'buildkit-archive-x', image: 'localhost/a:b', kvm: false, command: []};
const COMMON = [
  ...['run', '--rm', '--name', 'buildkit-archive-x', '--label', 'buildkit-archive', '--pull', 'never'],
  ...['--publish', '127.0.0.1::22'],
];

describe('docker run', () => {
  test.each([
    ['as published', {}, ['localhost/a:b']],
    ['with KVM', {kvm: true}, ['--device', '/dev/kvm', 'localhost/a:b']],
    ['with a command', {command: ['/start.sh', '-smp', '4']}, ['localhost/a:b', '/start.sh', '-smp', '4']],
    [
      'with a debugger',
      {debug: {hostPort: 0, guestPort: 2345}},
      [...['--publish', '127.0.0.1::2345', '--env', 'QEMU_HOSTFWD=hostfwd=tcp::2345-:2345'], 'localhost/a:b'],
    ],
    [
      'with a debugger at a port',
      {debug: {hostPort: 4000, guestPort: 2345}},
      [
        ...['--publish', '127.0.0.1:4000:2345', '--env', 'QEMU_HOSTFWD=hostfwd=tcp::2345-:2345'],
        'localhost/a:b',
      ],
    ],
  ])('%s', (_name, more, rest) => {
    expect(dockerRunArgs({...spec, ...more})).toEqual([...COMMON, ...rest]);
  });

  test('publishes on loopback only', () => {
    const args = dockerRunArgs({...spec, debug: {hostPort: 1, guestPort: 2}});
    const published = args.filter((_arg, i) => args[i - 1] === '--publish');
    expect(published).toHaveLength(2);
    for (const port of published) expect(port).toMatch(/^127\.0\.0\.1:/);
  });
});

describe("the machine's size", () => {
  const byCommand = {entrypoint: [], command: ['/start.sh']};
  const byEntrypoint = {entrypoint: ['/start.sh'], command: []};
  test.each([
    ['as published', byCommand, {cpus: 2, memoryMib: 2048}, {command: [], cpus: 2, memoryMib: 2048}],
    [
      'more CPUs, by the published CMD',
      byCommand,
      {cpus: 4, memoryMib: 2048},
      {command: ['/start.sh', '-smp', '4'], cpus: 4, memoryMib: 2048},
    ],
    [
      'all else, by an entrypoint',
      byEntrypoint,
      {cpus: 1, memoryMib: 512},
      {command: ['-smp', '1', '-m', '512M'], cpus: 1, memoryMib: 512},
    ],
    [
      'arguments of the image stay before ours',
      {entrypoint: ['/start.sh'], command: ['-cpu', 'max']},
      {cpus: 2, memoryMib: 512},
      {command: ['-cpu', 'max', '-m', '512M'], cpus: 2, memoryMib: 512},
    ],
  ])('%s', (_name, start, wish, expected) => {
    expect(chooseStart(start, wish)).toEqual(expected);
  });

  test.each([
    [{entrypoint: [], command: ['/bin/sh', '-c', '/start.sh']}],
    [{entrypoint: [], command: ['/start_vm.sh', '-enable-kvm']}],
    [{entrypoint: [], command: []}],
  ])('cannot be set for an image that starts otherwise: %j', start => {
    const {warning, ...rest} = chooseStart(start, {cpus: 4, memoryMib: 1024});
    expect(rest).toEqual({command: [], cpus: 2, memoryMib: 2048});
    expect(warning).toMatch(/cannot honour cpus: 4 and memory: 1024M: the image starts with/);
    expect(chooseStart(start, {cpus: 2, memoryMib: 2048})).not.toHaveProperty('warning');
  });
});

test.each([
  ['{"config":{"Cmd":["/start.sh"]}}', {entrypoint: [], command: ['/start.sh']}],
  ['{"config":{"Entrypoint":["/start.sh"],"Cmd":null}}', {entrypoint: ['/start.sh'], command: []}],
  ['{}', {entrypoint: [], command: []}],
])('an image starts by %s', (config, expected) => {
  expect(imageStart(config)).toEqual(expected);
});

test('what is no config', () => {
  expect(() => imageStart('<html>')).toThrow(/config cannot be read/);
});

test.each<[string, number, number | undefined]>([
  ['22/tcp -> 127.0.0.1:49153\n', 22, 49_153],
  ['22/tcp -> 127.0.0.1:49153\n2345/tcp -> 127.0.0.1:49154\n', 2345, 49_154],
  ['22/tcp -> 0.0.0.0:49153\n', 22, undefined],
  ['Error: No public port', 22, undefined],
  ['', 22, undefined],
])('%j publishes %d at %s', (text, guestPort, expected) => {
  expect(publishedPort(text, guestPort)).toBe(expected);
});

test.each([
  ['unix:///var/run/docker.sock', true],
  ['npipe:////./pipe/docker_engine', true],
  ['tcp://127.0.0.1:2375', true],
  ['tcp://localhost:2376', true],
  ['tcp://[::1]:2375', true],
  ['tcp://docker:2375', false],
  ['tcp://10.0.0.7:2376', false],
  ['tcp://127.0.0.1.example.org:2376', false],
  ['ssh://user@host', false],
])('%s is on this machine: %s', (address, expected) => {
  expect(isLocalEngine(address)).toBe(expected);
});
