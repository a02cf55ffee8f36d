import {describe, expect, test} from '@jest/globals';
import {
  escapeComma,
  forwardedPort,
  type MachineSpec,
  parseQemuVersion,
  qemuArgs,
  qemuCommand,
} from '../../src/vm/qemu-args.ts';

const spec: MachineSpec = {
  accelerator: 'tcg',
  cpus: 2,
  memoryMib: 2048,
  disk: {kind: 'published', path: '/a/vm.qcow2'},
  runDir: '/tmp/bka-1',
};

/** The value behind an option. */
function argument(args: readonly string[], option: string): string | undefined {
  return args[args.indexOf(option) + 1];
}

describe('qemuArgs', () => {
  test.each([
    ['-machine', {}, 'pc,accel=tcg,graphics=off'],
    ['-machine', {accelerator: 'kvm'}, 'pc,accel=kvm,graphics=off'],
    ['-smp', {cpus: 4}, '4'],
    ['-m', {memoryMib: 512}, '512M'],
    ['-drive', {}, 'file=/a/vm.qcow2,if=ide,index=0,media=disk,format=qcow2,snapshot=on'],
    [
      '-drive',
      {disk: {kind: 'published', path: '/a,b/x'}},
      'file=/a,,b/x,if=ide,index=0,media=disk,format=qcow2,snapshot=on',
    ],
    ['-nic', {}, 'user,id=net0,model=virtio,hostfwd=tcp:127.0.0.1:0-:22'],
    ['-qmp', {}, 'unix:/tmp/bka-1/qmp.sock,server=on,wait=off'],
    ['-serial', {}, 'chardev:console'],
  ])('%s %j', (option, change, value) => {
    expect(argument(qemuArgs({...spec, ...(change as Partial<MachineSpec>)}), option)).toBe(value);
  });

  test('the CPU stays the one of the published line', () => expect(qemuArgs(spec)).not.toContain('-cpu'));

  test("the overlay of snapshot=on lies in the machine's own folder, and a loader stands in front", () => {
    const qemu = {
      file: '/r/ld.so',
      prefixArgs: ['--library-path', '/r/lib', '/r/qemu'],
      env: {A: 'b'},
      version: '9',
      build: 'QEMU emulator version 9',
      origin: 'archive',
    } as const;
    const command = qemuCommand(qemu, spec);
    expect(command.file).toBe('/r/ld.so');
    expect(command.args.slice(0, 3)).toEqual(['--library-path', '/r/lib', '/r/qemu']);
    expect(command.env).toEqual({A: 'b', TMPDIR: '/tmp/bka-1'});
  });
});

describe('the fast line', () => {
  const fast: MachineSpec = {
    ...spec,
    disk: {kind: 'chain', readOnly: ['/a/vm.qcow2', '/s/frozen'], overlay: '/tmp/bka-1/o,1'},
    ram: {kind: 'shared'},
  };

  test('images lie over each other, and only the last is written to', () => {
    const blockdevs = qemuArgs(fast).filter((_, index, all) => all[index - 1] === '-blockdev');
    expect(blockdevs.map(text => /node-name=(\w+),read-only=(\w+)/.exec(text)?.slice(1))).toEqual([
      ['disk0', 'on'],
      ['disk1', 'on'],
      ['disk2', 'off'],
    ]);
    expect(blockdevs.map(text => /backing=(\w+)/.exec(text)?.[1])).toEqual([undefined, 'disk0', 'disk1']);
    expect(blockdevs[2]).toContain('file.filename=/tmp/bka-1/o,,1,');
    expect(qemuArgs(fast)).toContain('virtio-blk-pci,drive=disk2');
  });

  test('a kernel that QEMU starts, whatever is in its command line', () => {
    const kernel = {path: '/tmp/k', initrdPath: '/tmp/i', commandLine: 'BOOT_IMAGE=/k a,b -S "c d"'};
    const args = qemuArgs({...fast, kernel});
    expect(args.join('|')).toContain('|-kernel|/tmp/k|-initrd|/tmp/i|-append|BOOT_IMAGE=/k a,b -S "c d"');
    expect(qemuArgs({...fast, kernel: {path: '/tmp/k', commandLine: 'x'}})).not.toContain('-initrd');
    expect(qemuArgs(fast)).not.toContain('-kernel');
    expect(qemuArgs({...spec, kernel})).not.toContain('-kernel');
  });

  test('memory can be read from outside while it is made, and is a private copy of a file afterwards', () => {
    expect(argument(qemuArgs(fast), '-object')).toBe('memory-backend-memfd,share=on,id=pc.ram,size=2048M');
    expect(argument(qemuArgs({...fast, ram: {kind: 'copy', path: '/s/r,m'}}), '-object')).toBe(
      'memory-backend-file,mem-path=/s/r,,m,share=off,id=pc.ram,size=2048M',
    );
    expect(argument(qemuArgs(fast), '-machine')).toBe('pc,accel=tcg,graphics=off,memory-backend=pc.ram');
    const {ram: _, ...plain} = fast;
    expect(qemuArgs(plain)).not.toContain('-object');
    expect(argument(qemuArgs(plain), '-machine')).toBe('pc,accel=tcg,graphics=off');
  });

  test('the CPU is told only under TCG; a restored machine waits', () => {
    expect(argument(qemuArgs(fast), '-cpu')).toMatch(/^qemu64,.*,rdrand=on$/);
    expect(qemuArgs({...fast, accelerator: 'kvm'})).not.toContain('-cpu');
    expect(qemuArgs(fast)).not.toContain('-incoming');
    expect(argument(qemuArgs({...fast, incoming: true}), '-incoming')).toBe('defer');
  });
});

test('escapeComma', () => expect(escapeComma('a,b,,c')).toBe('a,,b,,,,c'));

describe('forwardedPort', () => {
  const usernet = [
    'Hub -1 (net0):',
    '  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ',
    '  TCP[ESTABLISHED]   11       10.0.2.15 22222        10.0.2.2 44444     0     0',
    '  TCP[HOST_FORWARD]   9       127.0.0.1  5000       10.0.2.15  2345     0     0',
    '  TCP[HOST_FORWARD]   8       127.0.0.1 44131       10.0.2.15    22     0     0',
    '',
  ].join('\r\n');
  test.each([
    [22, 44131],
    [2345, 5000],
    [80, undefined],
  ])('guest port %i: %s', (guest, host) => expect(forwardedPort(usernet, guest)).toBe(host));
});

test.each([
  ['QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright', '7.2.22'],
  ['QEMU emulator version 10.1.0', '10.1.0'],
  ['qemu: not found', undefined],
])('parseQemuVersion %j', (text, version) => expect(parseQemuVersion(text)).toBe(version));
