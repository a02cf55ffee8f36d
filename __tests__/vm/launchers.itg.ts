import {createHash} from 'node:crypto';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import type {RunOptions} from '../../src/base/ports.ts';
import {localPorts} from '../../src/host/local.ts';
import {layoutOf} from '../support/archive-images.ts';
import {type Engine, startEngine} from '../support/dockerd.ts';
import {BUSYBOX, contextDir, leftovers} from '../support/machine.ts';
import {failureOf, SharedMachine} from '../support/shared-machine.ts';

let engine: Engine;
let imagesBefore: readonly string[];
beforeAll(async () => {
  engine = await startEngine();
  imagesBefore = engine.images();
});
afterAll(async () => {
  try {
    expect(engine.containers()).toEqual([]);
    expect(engine.images()).toEqual(imagesBefore);
    expect(leftovers()).toEqual([]);
  } finally {
    await engine?.stop();
  }
});

/** What builds came to, by launcher: to be the same. */
const results = new Map<string, unknown[]>();
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

describe.each(['qemu', 'docker'] as const)('launcher: %s', launcher => {
  let machine: SharedMachine;
  const found: unknown[] = [];
  results.set(launcher, found);

  beforeAll(async () => {
    machine = await SharedMachine.boot({
      archive: layoutOf('v0.20.2'),
      launcher,
      'debug-port': 'auto',
      cpus: '3',
      memory: '1536M',
      'boot-timeout': '10m',
    });
  });
  afterAll(() => machine?.stop());

  test('says who launched it, and why', () => {
    expect(machine.vm.machine).toMatchObject({
      launcher,
      launcherReason: launcher === 'docker' ? 'docker (as asked)' : "the host's QEMU (as asked)",
      accelerator: 'tcg',
      line: launcher === 'docker' ? 'published' : 'fast',
      qemuVersion: expect.stringMatching(/^\d+\.\d+/),
      cpus: 3,
      memoryMib: 1536,
    });
  });

  test('has the CPUs and the memory that were asked for', async () => {
    const {stdout} = await machine.vm.session.output(['sh', '-c', 'nproc; grep MemTotal /proc/meminfo']);
    const [cpus, memory] = stdout.split('\n');
    expect(cpus).toBe('3');
    const mib = Number(/\d+/.exec(memory ?? '')?.[0]) / 1024;
    expect(mib).toBeGreaterThan(1200);
    expect(mib).toBeLessThan(1536);
  });

  test('listens on loopback only, and its ports lead into the guest', async () => {
    // Any server will do for a debugger; sshd is there.
    await machine.vm.session.output(['/usr/sbin/sshd', '-p', '2345']);
    const {debugPort = 0} = machine.vm.machine;
    const {signal} = new AbortController();
    // It listens a moment after its first process has ended.
    const knock = () => localPorts.ssh.knock('127.0.0.1', debugPort, 5_000, signal);
    let line = await knock();
    for (; !line; line = await knock()) await localPorts.clock.sleep(200);
    line.close();
    expect(debugPort).not.toBe(machine.vm.sshPort);
    for (const port of [machine.vm.sshPort, debugPort]) expect(listeners(port)).toEqual(['127.0.0.1']);
  });

  test('a build gives its result, and secrets reach it', async () => {
    const out = mkdtempSync(join(tmpdir(), 'itg-out-'));
    const built = await machine.build({
      context: contextDir({
        Dockerfile: `${BUSYBOX}ARG WHO\nCOPY data /data\nRUN --mount=type=secret,id=key echo "hello $WHO" > /hello; wc -c < /run/secrets/key >> /hello\n`,
        data: 'd'.repeat(3_000_000),
      }),
      'build-args': 'WHO=world',
      secrets: 'key=12345',
      outputs: `type=local,dest=${out}`,
    });
    expect(built.outcome).toEqual({kind: 'built'});
    expect(built.warnings).toEqual([]);
    const files = ['hello', 'data'].map(name => sha256(readFileSync(join(out, name))));
    expect(readFileSync(join(out, 'hello'), 'utf8')).toBe('hello world\n5\n');
    found.push(
      built.outcome,
      files,
      built.trace?.steps.map(({name, state}) => [name, state]),
    );
    rmSync(out, {recursive: true});
  });

  test('a build that fails says where', async () => {
    const built = await machine.build({
      context: contextDir({Dockerfile: `${BUSYBOX}RUN echo no >&2; exit 7\n`}),
    });
    const {failureKind, step, exitCode, location} = failureOf(built);
    expect({failureKind, exitCode}).toEqual({failureKind: 'run-failed', exitCode: 7});
    found.push(failureKind, step, exitCode, location?.startLine);
  });

  test('bulk data goes both ways, on a side channel or without one', async () => {
    const sent = Buffer.alloc(2_000_000, 'x');
    const received = async (argv: readonly string[], options: RunOptions): Promise<string> => {
      const chunks: Buffer[] = [];
      await machine.vm.session.run(argv, {...options, onStdout: chunk => void chunks.push(chunk)});
      return sha256(Buffer.concat(chunks));
    };
    const stdin = Readable.from([sent]);
    expect(await received(['cat'], {bulk: 'stdin', stdin})).toBe(sha256(sent));
    const made = ['sh', '-c', "head -c 2000000 /dev/zero | tr '\\0' x"];
    expect(await received(made, {bulk: 'stdout'})).toBe(sha256(sent));
  });
});

test('both give the same', () => {
  expect(results.get('docker')).toEqual(results.get('qemu'));
  expect(results.get('qemu')).toHaveLength(7);
});

/** Local addresses that listen at a port (proc(5), /proc/net/tcp: hexadecimal, little-endian, state 0A). */
function listeners(port: number): readonly string[] {
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0');
  return ['/proc/net/tcp', '/proc/net/tcp6'].flatMap(path =>
    readFileSync(path, 'utf8')
      .split('\n')
      .flatMap(line => {
        const [, local = '', , state] = line.trim().split(/\s+/);
        const [address = '', at] = local.split(':');
        if (state !== '0A' || at !== hexPort) return [];
        return [Buffer.from(address, 'hex').reverse().join('.')];
      }),
  );
}
