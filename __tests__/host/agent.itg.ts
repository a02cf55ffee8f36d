import {createHash} from 'node:crypto';
import {connect} from 'node:net';
import {dirname} from 'node:path';
import {Readable} from 'node:stream';
import {afterAll, afterEach, beforeAll, describe, expect, test} from '@jest/globals';
import {ConnectionLostError} from '../../src/base/errors.ts';
import {AGENT_PORT_NAME, type AgentSession, type Session} from '../../src/base/ports.ts';
import {encodeCommand, encodeFrame, greeting, TO_AGENT} from '../../src/host/agent-frames.ts';
import {agentsAt} from '../../src/host/agents.ts';
import {localSsh} from '../../src/host/ssh.ts';
import {machinePaths} from '../../src/vm/qemu-args.ts';
import {COMMANDS, sh} from '../support/agent-commands.ts';
import {leftovers} from '../support/machine.ts';
import {SharedMachine} from '../support/shared-machine.ts';

// The agent in a real machine, on a real virtio-serial port.
const agents = agentsAt(AGENT_PORT_NAME);
const signal = new AbortController().signal;

let machine: SharedMachine;
let ssh: Session;
let session: AgentSession;
let installed: string | undefined;
beforeAll(async () => {
  machine = await SharedMachine.boot();
  ssh = machine.vm.session;
  // Installed over a connection that is gone when it is used.
  const other = await login();
  installed = await agents.install(other, signal);
  await other.close();
  session = await open();
});
afterAll(async () => {
  await session.close();
  await machine.stop();
  expect(leftovers()).toEqual([]);
});

// No half frame is ever run.
afterEach(async () => expect((await ssh.output(['ls', '/root/half'])).code).not.toBe(0));

const login = (): Promise<Session> =>
  localSsh.connect(
    {host: '127.0.0.1', port: machine.vm.sshPort, username: 'root', password: 'root'},
    {timeoutMs: 60_000},
  );
const socketPath = (): string => machinePaths(dirname(machine.vm.consolePath)).agentSocket;
const open = (): Promise<AgentSession> => agents.connect(socketPath(), {timeoutMs: 30_000, signal});
const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

/** Sums what goes through it. */
function digest() {
  const hash = createHash('sha256');
  let bytes = 0;
  return {
    add: (chunk: Buffer): void => {
      hash.update(chunk);
      bytes += chunk.length;
    },
    get: (): {bytes: number; sha256: string} => ({bytes, sha256: hash.digest('hex')}),
  };
}
const BLOCK = Buffer.from(Uint8Array.from({length: 65_536}, (_, i) => (i * 31 + (i >> 8)) & 255));
function* blocks(times: number): Generator<Buffer> {
  for (let i = 0; i < times; i++) yield BLOCK;
}
function digestOf(times: number): {bytes: number; sha256: string} {
  const expected = digest();
  for (const block of blocks(times)) expected.add(block);
  return expected.get();
}

test('it is there, in a unit beside the logins', async () => {
  expect(installed).toBeUndefined();
  const {stdout} = await session.output(['cat', '/proc/self/cgroup']);
  expect(stdout).toContain('/user.slice/buildkit-archive-agent.service');
});

describe('commands', () => {
  test.each(COMMANDS)('%s', async (_name, argv, expected) => {
    expect(await session.output(argv)).toMatchObject(expected);
    expect(await ssh.output(argv)).toMatchObject(expected);
  });

  test.each([
    ['the variables', sh("env | grep -v -e '^SSH_' -e '^MAIL=' -e '^SHLVL=' -e '^_=' | sort")],
    ['umask and folder', sh('umask; pwd')],
    ['the limits', sh('ulimit -a; cat /proc/self/oom_score_adj; nice')],
    ['signals and rights', ['grep', '-E', '^(Sig(Blk|Ign|Cgt)|Cap|NoNewPrivs|Seccomp)', '/proc/self/status']],
    ['open files', sh('ls /proc/$$/fd')],
  ])('%s are as over SSH', async (_name, argv) => {
    expect(await session.output(argv)).toEqual(await ssh.output(argv));
  });

  test.each(['stdin', 'stdout', undefined] as const)('every byte, both ways, with bulk %s', async bulk => {
    const echoed = digest();
    const exit = await session.run(['cat'], {
      stdin: Readable.from(blocks(160)),
      onStdout: echoed.add,
      ...(bulk && {bulk}),
    });
    expect(exit).toEqual({code: 0, signal: undefined});
    // With its output on the side channel a command has no input.
    expect(echoed.get()).toEqual(bulk === 'stdout' ? digestOf(0) : digestOf(160));
  });

  test('many at once', async () => {
    const outputs = await Promise.all(
      Array.from({length: 20}, (_, i) =>
        session.output(sh('cat; echo $1; exit $1', String(i)), {stdin: `in ${i} `}),
      ),
    );
    expect(outputs.map(({code, stdout}) => [code, stdout])).toEqual(
      Array.from({length: 20}, (_, i) => [i, `in ${i} ${i}\n`]),
    );
  });

  test('a cancel ends a whole group', async () => {
    const controller = new AbortController();
    let pid = '';
    const running = session.run(sh('trap "" TERM; sleep 600 & echo $!; wait'), {
      signal: controller.signal,
      onStdout: chunk => {
        pid = chunk.toString().trim();
        controller.abort();
      },
    });
    await expect(running).rejects.toThrow();
    while ((await ssh.output(['kill', '-0', pid])).code === 0) await pause(100);
  });
});

describe('hosts that come and go', () => {
  test('each is served, and its commands end with it', async () => {
    for (let i = 0; i < 5; i++) {
      let pid = '';
      const running = session
        .run(sh('sleep 600 & echo $!; wait'), {
          onStdout: chunk => {
            pid = chunk.toString().trim();
          },
        })
        .catch(() => undefined);
      while (pid === '') await pause(10);
      await session.close();
      await running;
      session = await open();
      expect((await session.output(['echo', String(i)])).stdout).toBe(`${i}\n`);
      while ((await session.output(['kill', '-0', pid])).code === 0) await pause(100);
    }
  });

  test.each([
    ['half a greeting', greeting(Buffer.alloc(16)).subarray(0, 12)],
    ['half a frame', Buffer.concat([greeting(Buffer.alloc(16)), halfFrame()])],
    ['a great deal', Buffer.alloc(3_000_000, 'BKAGENT1')],
  ])('one that leaves %s is passed over', async (_name, bytes) => {
    await session.close();
    await new Promise<void>((resolve, reject) => {
      const socket = connect(socketPath(), () =>
        socket.write(bytes.subarray(0, 60_000), () => socket.destroy()),
      );
      socket.on('error', reject);
      socket.on('close', () => resolve());
    });
    session = await open();
    expect((await session.output(['echo', 'next'])).stdout).toBe('next\n');
  });

  test('nobody in the machine works while no host is there', async () => {
    const unit = ['systemctl', 'show', '-p', 'MainPID', '--value', 'buildkit-archive-agent.service'];
    const pid = (await session.output(unit)).stdout.trim();
    const ticks = async (): Promise<number> => {
      const fields = (await ssh.output(['cat', `/proc/${pid}/stat`])).stdout.split(') ')[1]?.split(' ') ?? [];
      return Number(fields[11]) + Number(fields[12]);
    };
    await session.close();
    await pause(1_000);
    const before = await ticks();
    await pause(5_000);
    expect((await ticks()) - before).toBeLessThan(50);
    session = await open();
  });
});

function halfFrame(): Buffer {
  const payload = encodeCommand(['touch', '/root/half'])[0] ?? '';
  return encodeFrame(Buffer.alloc(16), {type: TO_AGENT.exec, channel: 1, payload}).subarray(0, -6);
}

test('a machine that is stopped and goes on', async () => {
  const running = session.output(sh('for i in 1 2 3 4 5; do echo $i; sleep 0.2; done'));
  await machine.vm.qmp?.execute('stop');
  const asked = session.output(['echo', 'asked while it stood still']);
  await pause(3_000);
  await machine.vm.qmp?.execute('cont');
  expect((await asked).stdout).toBe('asked while it stood still\n');
  expect((await running).stdout).toBe('1\n2\n3\n4\n5\n');
});

test('wake sets the clock and asks for new random numbers', async () => {
  await session.output(['date', '-s', '2020-01-01']);
  await session.wake();
  const {stdout} = await session.output(['date', '+%s.%N']);
  expect(Math.abs(Number(stdout) - Date.now() / 1000)).toBeLessThan(5);
});

describe('where it cannot be', () => {
  test('no such port', async () => {
    expect(await agentsAt('no.such.port').install(ssh, signal)).toBe('it has no virtio-serial port');
  });

  test('no perl', async () => {
    const poor = {
      output: (argv: readonly string[], options: object) =>
        ssh.output(['env', 'PATH=/no/such', '/bin/sh', ...argv.slice(1)], options),
    } as Session;
    expect(await agents.install(poor, signal)).toBe('it has no perl');
  });

  test('the port is taken', async () => {
    expect(await agents.install(ssh, signal)).toMatch(/^its agent does not start: cannot open .*busy/);
    expect((await session.output(['echo', 'the first one lives'])).code).toBe(0);
  });
});

test('an agent that hangs is noticed', async () => {
  const running = session.run(['sleep', '600']);
  await ssh.output(['pkill', '-STOP', '-f', 'agent.pl']);
  await expect(running).rejects.toThrow(ConnectionLostError);
  await ssh.output(['pkill', '-CONT', '-f', 'agent.pl']);
  session = await open();
});
