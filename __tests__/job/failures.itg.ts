import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import type {Vm} from '../../src/vm/machine.ts';
import {BUSYBOX, contextDir, leftovers} from '../support/machine.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {type Built, failureOf, SharedMachine} from '../support/shared-machine.ts';

/** One machine for all builds of this file: what is tested is the build, not the boot. */
let machine: SharedMachine;
let vm: Vm;
let registry: Registry;

beforeAll(async () => {
  registry = await startRegistry();
  registry.pushBusybox('base/busybox:1');
  machine = await SharedMachine.boot({}, async booted => {
    const config = `[registry."10.0.2.2:${registry.port}"]\n  http = true\n`;
    await booted.session.output(['mkdir', '-p', '/etc/buildkit']);
    await booted.session.put(config, '/etc/buildkit/buildkitd.toml');
    await booted.session.output(['systemctl', 'restart', 'buildkit.service']);
  });
  vm = machine.vm;
});

afterAll(async () => {
  await machine?.stop();
  await registry?.stop();
  expect(leftovers()).toEqual([]);
});

const build = (raw: Readonly<Record<string, string>>): Promise<Built> => machine.build(raw);

test('FROM an image of a registry, and RUN echo 1', async () => {
  const record = await build({
    context: contextDir(
      {Dockerfile: `FROM 10.0.2.2:${registry.port}/base/busybox:1\nRUN echo 1\n`},
      {busybox: false},
    ),
  });
  expect(record.outcome).toEqual({kind: 'built'});
  expect(record.log).toMatch(/^#\d+ \d+\.\d+ 1$/m);
  expect(record.trace?.steps.map(step => step.name)).toContain(
    `[internal] load metadata for 10.0.2.2:${registry.port}/base/busybox:1`,
  );
});

test('a failing RUN: step, exit code, lines, log', async () => {
  const record = await build({
    context: contextDir({
      Dockerfile: `${BUSYBOX}RUN echo fine\nRUN echo out; \\\n    echo err >&2; \\\n    exit 7\n`,
    }),
  });
  expect(failureOf(record)).toMatchObject({
    failureKind: 'run-failed',
    exitCode: 7,
    location: {startLine: 5, endLine: 7},
  });
  const step = record.trace?.steps.find(({id}) => id === failureOf(record).stepId);
  expect(step?.state).toBe('failed');
  expect(step?.logs.head.map(line => [line.stream, line.text]).sort()).toEqual([
    ['stderr', 'err'],
    ['stdout', 'out'],
  ]);
  expect(record.trace?.excerpt?.line).toBe(5);
});

test('a missing file', async () => {
  const record = await build({
    context: contextDir({Dockerfile: 'FROM scratch\nCOPY nope /\n', 'nope.txt': ''}, {busybox: false}),
  });
  expect(failureOf(record)).toMatchObject({
    failureKind: 'missing-file',
    location: {startLine: 2, endLine: 2},
  });
});

test('a Dockerfile that cannot be parsed', async () => {
  const record = await build({context: contextDir({Dockerfile: 'FROM scratch\nRUNN x\n'}, {busybox: false})});
  expect(failureOf(record)).toMatchObject({failureKind: 'dockerfile', location: {startLine: 2}});
});

test('a base image that is not there', async () => {
  const record = await build({
    context: contextDir({Dockerfile: `FROM 10.0.2.2:${registry.port}/no/such:1\n`}, {busybox: false}),
  });
  expect(failureOf(record)).toMatchObject({failureKind: 'registry', location: {startLine: 1}});
});

test('a build that takes too long', async () => {
  const record = await build({
    context: contextDir({Dockerfile: `${BUSYBOX}RUN echo begun; sleep 600\n`}),
    'build-timeout': '8s',
  });
  expect(failureOf(record)).toMatchObject({failureKind: 'timeout'});
  expect(record.trace?.steps.at(-1)).toMatchObject({state: 'canceled'});
  expect(record.log).toContain('begun');
});

test('a build after all that still passes, with the Dockerfile outside the context', async () => {
  const elsewhere = contextDir({'my.Dockerfile': `${BUSYBOX}COPY a /a\nRUN cat /a\n`}, {busybox: false});
  const record = await build({context: contextDir({a: 'from a\n'}), file: `${elsewhere}/my.Dockerfile`});
  expect(record.outcome).toEqual({kind: 'built'});
  expect(record.log).toContain('from a');
});

describe('the session', () => {
  test('bytes go both ways unchanged, by SSH and by the side channel', async () => {
    const bytes = Buffer.from(Array.from({length: 300_000}, (_, i) => (i * 7919) % 256));
    for (const bulk of [undefined, 'stdin', 'stdout'] as const) {
      const got: Buffer[] = [];
      const exit = await vm.session.run(['cat'], {
        stdin: bytes,
        onStdout: chunk => void got.push(chunk),
        ...(bulk === undefined ? {} : {bulk}),
        ...(bulk === 'stdout' ? {stdin: undefined} : {}),
      } as Parameters<Vm['session']['run']>[1]);
      expect(exit.code).toBe(0);
      expect(Buffer.concat(got).equals(bulk === 'stdout' ? Buffer.alloc(0) : bytes)).toBe(true);
    }
    await vm.session.put(bytes, '/tmp/bytes');
    const got: Buffer[] = [];
    await vm.session.run(['cat', '/tmp/bytes'], {bulk: 'stdout', onStdout: chunk => void got.push(chunk)});
    expect(Buffer.concat(got).equals(bytes)).toBe(true);
  });

  test('a command that stops reading early is no error of the sender', async () => {
    for (const bulk of [undefined, 'stdin'] as const) {
      const exit = await vm.session.run(['head', '-c', '10'], {
        stdin: Buffer.alloc(4_000_000),
        ...(bulk && {bulk}),
      });
      expect(exit.code).toBe(0);
    }
  });

  test('exit codes, signals, both outputs, odd arguments', async () => {
    expect(await vm.session.output(['sh', '-c', 'echo a; echo b >&2; exit 3'])).toEqual({
      code: 3,
      signal: undefined,
      stdout: 'a\n',
      stderr: 'b\n',
    });
    expect(await vm.session.output(['sh', '-c', 'kill -9 $$'])).toMatchObject({
      code: undefined,
      signal: 'SIGKILL',
    });
    const odd = ["it's", '$HOME', 'a b', 'new\nline', '', '漢'];
    expect((await vm.session.output(['printf', '%s\\0', ...odd])).stdout.split('\0').slice(0, -1)).toEqual(
      odd,
    );
    expect(await vm.session.output(['env'], {env: {GREETING: "h'i $x"}})).toMatchObject({
      stdout: expect.stringContaining("GREETING=h'i $x\n"),
    });
  });

  test('a time limit and an abort end the wait', async () => {
    await expect(vm.session.run(['sleep', '100'], {timeoutMs: 300})).rejects.toThrow(
      /sleep did not end within 0\.3 s/,
    );
    await expect(vm.session.run(['sleep', '100'], {signal: AbortSignal.timeout(300)})).rejects.toThrow();
  });

  test('a file that cannot be written or read says why', async () => {
    await expect(vm.session.put('x', '/proc/nope/x')).rejects.toThrow(
      /cannot write \/proc\/nope\/x in the VM/,
    );
    const {Writable} = await import('node:stream');
    const sink = new Writable({write: (_chunk, _encoding, done) => done()});
    await expect(vm.session.get('/no/such', sink)).rejects.toThrow(/cannot read \/no\/such in the VM/);
  });
});

test('a machine that stops answering is noticed, and what waits for it fails', async () => {
  const command = vm.session.run(['sleep', '1000']);
  process.kill(machine.qemuPid, 'SIGSTOP');
  try {
    await expect(command).rejects.toThrow(/the SSH connection to the VM is lost/);
    await expect(vm.session.run(['true'])).rejects.toThrow(/the SSH connection to the VM is lost/);
  } finally {
    process.kill(machine.qemuPid, 'SIGCONT');
  }
});
