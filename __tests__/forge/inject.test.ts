import {describe, expect, test} from '@jest/globals';
import {unitsFor} from '../../src/base/units.ts';
import {type ArchiveDisk, injectionsFor} from '../../src/forge/disk.ts';
import {debugfsComplaints, debugfsScript} from '../../src/forge/inject.ts';

describe('debugfsScript', () => {
  test('writes with an explicit mode, makes missing folders once, replaces what is there', () => {
    const script = debugfsScript(
      [
        {kind: 'file', source: 's0', target: '/etc/hostname', mode: 0o644},
        {kind: 'file', source: 's1', target: '/opt/a/x', mode: 0o755},
        {kind: 'file', source: 's2', target: '/opt/a/y', mode: 0o755},
        {kind: 'link', target: '/etc/systemd/system/sockets.target.wants/a', to: '/opt/a/x'},
      ],
      new Set(['/etc/hostname']),
    );
    expect(script.trim().split('\n')).toEqual([
      'rm /etc/hostname',
      'write s0 /etc/hostname',
      'set_inode_field /etc/hostname mode 0100644',
      'mkdir /opt',
      'mkdir /opt/a',
      'write s1 /opt/a/x',
      'set_inode_field /opt/a/x mode 0100755',
      'write s2 /opt/a/y',
      'set_inode_field /opt/a/y mode 0100755',
      'symlink /etc/systemd/system/sockets.target.wants/a /opt/a/x',
    ]);
  });

  test.each(['/a b', '/a\nrm /etc', '/a"b', "/a'b"])('refuses %j', target => {
    expect(() => debugfsScript([{kind: 'file', source: 's', target, mode: 0o644}], new Set())).toThrow(
      'debugfs',
    );
  });
});

test('debugfs exits with 0 whatever happens: its complaints are read', () => {
  expect(debugfsComplaints('debugfs 1.47.0 (5-Feb-2023)\n')).toEqual([]);
  const failed = 'debugfs 1.47.0 (5-Feb-2023)\nwrite: Could not allocate block in ext2 filesystem\n';
  expect(debugfsComplaints(failed)).toHaveLength(1);
});

describe('what goes into a disk', () => {
  const names = ['buildctl', 'buildkit-runc', 'buildkitd'];
  const wanted = (runc: string | undefined): ArchiveDisk => ({
    buildkit: {
      version: 'v0.20.2',
      commit: undefined,
      source: 'a test',
      binaries: names.map(name => ({name, path: `/src/${name}`})),
      units: unitsFor('v0.20.2'),
    },
    hostname: 'h',
    runc,
    compression: 'zstd',
    output: '/o',
  });
  const targets = (runc: string | undefined): string[] =>
    injectionsFor(wanted(runc)).map(item => item.target);

  test("the release's own runc comes along unless another is asked for", () => {
    expect(targets(undefined)).toContain('/usr/local/bin/buildkit-runc');
    expect(targets('debian')).not.toContain('/usr/local/bin/buildkit-runc');
    expect(targets('/my/runc')).not.toContain('/usr/local/bin/buildkit-runc');
    expect(targets('/my/runc')).toContain('/usr/local/bin/runc');
  });

  test('both units are there and wanted by their targets', () => {
    expect(targets(undefined)).toEqual(
      expect.arrayContaining([
        '/usr/local/lib/systemd/system/buildkit.service',
        '/etc/systemd/system/multi-user.target.wants/buildkit.service',
        '/usr/local/lib/systemd/system/buildkit.socket',
        '/etc/systemd/system/sockets.target.wants/buildkit.socket',
      ]),
    );
  });
});
