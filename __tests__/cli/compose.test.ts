import {describe, expect, test} from '@jest/globals';
import {parse} from 'yaml';
import {composeCommand} from '../../src/cli/compose-command.ts';
import {CATALOG} from '../../src/plan/catalog.ts';
import {run, usageErrorOf} from './fake-io.ts';

const compose = async (...argv: string[]) => {
  const {out, notes} = await run(composeCommand, argv);
  return {file: parse(out), notes};
};

describe("the publishers' own files", () => {
  // github.com/ctrsploit/dqd, buildkit/<name>/docker-compose.yml
  test.each([
    [
      'v0.20.2',
      {image: 'ghcr.io/ctrsploit/buildkit-v0.20.2:v0.2.0', ports: ['20201:22'], tty: true, stdin_open: true},
    ],
    [
      'oldest',
      {image: 'ghcr.io/ctrsploit/buildkit-v0.3.0:v0.1.0', ports: ['3001:22'], tty: true, stdin_open: true},
    ],
    [
      'v0.12.5-debug',
      {
        image: 'ghcr.io/ctrsploit/buildkit-v0.12.5-debug:v0.1.0',
        environment: ['QEMU_HOSTFWD=hostfwd=tcp::2345-:2345'],
        ports: ['12502:22', '12503:2345'],
        tty: true,
        stdin_open: true,
      },
    ],
  ])('%s', async (version, vm) => {
    expect((await compose(version)).file).toEqual({services: {vm}});
  });
});

test('a revision, another registry, KVM, and this machine alone', async () => {
  const {file, notes} = await compose(
    ...['0.20.2_v0.1.0', '--registry', 'docker.io/ssst0n3/docker_archive:', '--kvm', '--loopback'],
  );
  expect(file.services.vm).toMatchObject({
    image: 'docker.io/ssst0n3/docker_archive:buildkit-v0.20.2_v0.1.0',
    ports: ['127.0.0.1:20201:22'],
    devices: ['/dev/kvm:/dev/kvm'],
  });
  expect(notes).toBe('');
});

test('without --loopback a reader is told what the file opens, beside the file', async () => {
  expect((await compose('latest')).notes).toMatch(/root\/root.*--loopback/);
});

test('every archive has a file of its own, and no two share a port', async () => {
  const files = await Promise.all(CATALOG.map(async ({name}) => (await compose(name)).file.services.vm));
  const ports = files.flatMap(({ports}: {ports: string[]}) => ports.map(port => port.split(':')[0]));
  expect(new Set(ports).size).toBe(ports.length);
  expect(new Set(files.map(({image}) => image)).size).toBe(CATALOG.length);
});

test.each([
  [[], /takes one version/],
  [['v0.20.2', 'v0.3.0'], /takes one version/],
  [['v0.99.0'], /there is no published archive for "v0\.99\.0"/],
  [['v0.20.2', '--nope'], /--nope/],
  [['v0.20.2', '--registry', 'UPPER CASE'], /not the beginning of an image's name/],
])('%j is refused', async (argv, message) => {
  expect((await usageErrorOf(composeCommand, argv)).message).toMatch(message);
});
