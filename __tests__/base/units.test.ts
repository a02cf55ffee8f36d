import {describe, expect, test} from '@jest/globals';
import {unitsFor, unknownSocketGroup, wantedBy} from '../../src/base/units.ts';

describe('the units of a release', () => {
  test.each([
    ['v0.3.0', 'ExecStart=/usr/local/bin/buildkitd', false, false],
    ['v0.8.3', 'ExecStart=/usr/local/bin/buildkitd', false, false],
    ['v0.9.0-rc1', 'ExecStart=/usr/local/bin/buildkitd --addr fd://', false, false],
    ['v0.9.0', 'ExecStart=/usr/local/bin/buildkitd --addr fd://', false, false],
    ['v0.10.0', 'ExecStart=/usr/local/bin/buildkitd --addr fd://', true, true],
    ['v0.20.2', 'ExecStart=/usr/local/bin/buildkitd --addr fd://', true, true],
    ['my-fork', 'ExecStart=/usr/local/bin/buildkitd --addr fd://', true, true],
  ])('%s', (release, exec, notifies, closedSocket) => {
    const {service, socket} = unitsFor(release);
    expect(service.split('\n')).toContain(exec);
    expect(service.includes('Type=notify')).toBe(notifies);
    expect(socket?.includes('SocketMode=0660') ?? false).toBe(closedSocket);
  });

  test('before v0.9 the daemon makes its own socket, so systemd must not', () => {
    expect(unitsFor('v0.8.3').socket).toBeUndefined();
    expect(unitsFor('v0.8.3').service).not.toContain('buildkit.socket');
    expect(wantedBy(unitsFor('v0.9.0').socket ?? '')).toEqual(['sockets.target']);
  });
});

test('a socket that wants a group the VM does not have is noticed', () => {
  expect(unknownSocketGroup('[Socket]\nSocketGroup=buildkit\n')).toBeUndefined();
  expect(unknownSocketGroup('[Socket]\nSocketGroup=docker\n')).toBe('docker');
  expect(unknownSocketGroup('[Socket]\n')).toBeUndefined();
});
