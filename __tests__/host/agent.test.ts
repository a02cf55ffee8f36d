import {type ChildProcess, spawn} from 'node:child_process';
import {createHash, randomBytes} from 'node:crypto';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import type {Socket} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import {CanceledError, ConnectionLostError} from '../../src/base/errors.ts';
import {encodeCommand, encodeFrame, FrameReader, GREETING_MAGIC} from '../../src/host/agent-frames.ts';
import {AGENT_PROGRAM} from '../../src/host/agent-guest.ts';
import {LocalAgentSession} from '../../src/host/agent-session.ts';

// The real program under the real perl; a socket pair stands in for the virtio-serial port.
let dir: string;
let agent: ChildProcess;
let session: LocalAgentSession;
const forever = {timeoutMs: 30_000, signal: new AbortController().signal};

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'agent-'));
  writeFileSync(join(dir, 'agent.pl'), AGENT_PROGRAM);
});
afterAll(() => rmSync(dir, {recursive: true}));

function startAgent(): Socket {
  agent = spawn('perl', [join(dir, 'agent.pl'), 'fd:3'], {
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
    env: {PATH: process.env.PATH, HOME: '/'},
  });
  return agent.stdio[3] as unknown as Socket;
}

describe('commands', () => {
  beforeEach(async () => {
    session = await LocalAgentSession.open(startAgent(), forever);
  });
  afterEach(async () => {
    await session.close();
    agent.kill('SIGKILL');
  });

  const sh = (script: string, ...args: string[]) => ['sh', '-c', script, 'sh', ...args];

  test.each<[string, readonly string[], object]>([
    [
      'both outputs and the status',
      sh('echo out; echo err >&2; exit 3'),
      {code: 3, stdout: 'out\n', stderr: 'err\n'},
    ],
    ['status 0', ['true'], {code: 0, signal: undefined}],
    ['status 255', sh('exit 255'), {code: 255}],
    ['a signal', sh('kill -SEGV $$'), {code: undefined, signal: 'SIGSEGV'}],
    ['no such command', ['/no/such'], {code: 127, stderr: expect.stringMatching(/^\/no\/such: /)}],
    ['not a program', ['/etc/passwd'], {code: 126}],
    [
      'words as they are',
      ['printf', '%s|', '', ' a  b', '$(id)', '\'"', 'ü\n-'],
      {stdout: '| a  b|$(id)|\'"|ü\n-|'},
    ],
    ['no standard input', ['cat'], {code: 0, stdout: ''}],
  ])('%s', async (_name, argv, expected) => {
    expect(await session.output(argv)).toMatchObject(expected);
  });

  test('variables are set for one command alone', async () => {
    const argv = sh('printf %s "$A-$PATH"');
    expect((await session.output(argv, {env: {A: 'x=y'}})).stdout).toBe(`x=y-${process.env.PATH}`);
    expect((await session.output(argv)).stdout).toBe(`-${process.env.PATH}`);
  });

  test('every byte, both ways, many times the window', async () => {
    const block = Buffer.concat([
      Buffer.from(Uint8Array.from({length: 256}, (_, i) => i)),
      randomBytes(65_000),
    ]);
    const times = 160;
    const hash = createHash('sha256');
    const expected = createHash('sha256');
    for (let i = 0; i < times; i++) expected.update(block);
    const exit = await session.run(['cat'], {
      stdin: Readable.from(
        (function* () {
          for (let i = 0; i < times; i++) yield block;
        })(),
      ),
      onStdout: chunk => void hash.update(chunk),
    });
    expect(exit.code).toBe(0);
    expect(hash.digest('hex')).toBe(expected.digest('hex'));
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

  test('a reader that does not read holds up nobody but its own command', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>(resolve => {
      release = resolve;
    });
    let bytes = 0;
    const slow = session.run(sh('head -c 20000000 /dev/zero'), {
      onStdout: chunk => {
        bytes += chunk.length;
        return held;
      },
    });
    expect((await session.output(['echo', 'quick'])).stdout).toBe('quick\n');
    expect(bytes).toBeLessThan(2_000_000);
    release();
    expect((await slow).code).toBe(0);
    expect(bytes).toBe(20_000_000);
  });

  test('a command that does not read its input ends all the same', async () => {
    const exit = await session.run(sh('exec <&-; exit 4'), {
      stdin: Readable.from(Array.from({length: 100}, () => Buffer.alloc(100_000))),
    });
    expect(exit.code).toBe(4);
  });

  test('what holds the outputs open behind the command is not waited for', async () => {
    const {code, stdout} = await session.output(sh('sleep 60 & echo $!'));
    expect(code).toBe(0);
    process.kill(Number(stdout), 'SIGKILL');
  });

  test('a cancel ends the whole group', async () => {
    const controller = new AbortController();
    let pid = 0;
    const running = session.run(sh('sleep 60 & echo $!; wait'), {
      signal: controller.signal,
      onStdout: chunk => {
        pid = Number(chunk.toString());
        controller.abort(new CanceledError('enough'));
      },
    });
    await expect(running).rejects.toThrow('enough');
    while (isRunning(pid)) await new Promise(resolve => setTimeout(resolve, 20));
  });

  test('a time limit says so', async () => {
    await expect(session.run(['sleep', '60'], {timeoutMs: 50})).rejects.toThrow(
      'sleep did not end within 0.05 s',
    );
  });

  test('files are put and got', async () => {
    const path = join(dir, 'put here');
    await session.put(Buffer.from([0, 1, 255]), path, {mode: 0o600});
    expect(readFileSync(path)).toEqual(Buffer.from([0, 1, 255]));
    await expect(session.put('x', '/no/such/dir/x')).rejects.toThrow(
      /^cannot write \/no\/such\/dir\/x in the VM/,
    );
  });

  test('an agent that dies is noticed by those who wait for it', async () => {
    const running = session.run(['sleep', '60']);
    agent.kill('SIGKILL');
    await expect(running).rejects.toThrow(ConnectionLostError);
    await expect(session.run(['true'])).rejects.toThrow(ConnectionLostError);
  });
});

function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

describe('the line', () => {
  afterEach(() => void agent.kill('SIGKILL'));

  test('what another host has left on it is passed over, and its commands are ended', async () => {
    const socket = startAgent();
    const old = Buffer.alloc(16, 7);
    socket.write(Buffer.concat([Buffer.from('rubbish'), GREETING_MAGIC, old]));
    socket.write(encodeFrame(1, 9, encodeCommand(['sh', '-c', 'sleep 60 & echo $!; wait'])));
    const pid = await new Promise<number>(resolve => {
      const reader = new FrameReader(old);
      const listen = (chunk: Buffer): void => {
        for (const {type, payload} of reader.read(chunk)) {
          if (type !== 130) continue;
          socket.off('data', listen);
          resolve(Number(payload.toString()));
        }
      };
      socket.on('data', listen);
    });
    const again = await LocalAgentSession.open(socket, forever);
    expect((await again.output(['echo', 'new'])).stdout).toBe('new\n');
    while (isRunning(pid)) await new Promise(resolve => setTimeout(resolve, 20));
    await again.close();
  });

  test('an agent that does not answer is given up', async () => {
    const socket = startAgent();
    agent.kill('SIGSTOP');
    await expect(
      LocalAgentSession.open(socket, {timeoutMs: 100, signal: new AbortController().signal}),
    ).rejects.toThrow('the greeting of the command agent did not end within 0.1 s');
  });
});

describe('FrameReader', () => {
  const nonce = Buffer.alloc(16, 1);
  const greeting = Buffer.concat([GREETING_MAGIC, nonce]);
  const frames = [
    encodeFrame(130, 1, 'a'),
    encodeFrame(131, 2),
    encodeFrame(129, 70_000, Buffer.alloc(5000, 9)),
  ];

  test.each([1, 2, 3, 7, 1000])('chunks of %i bytes', size => {
    const bytes = Buffer.concat([Buffer.from('left over BKAGENT1'), greeting, ...frames]);
    const reader = new FrameReader(nonce);
    const read = [];
    for (let i = 0; i < bytes.length; i += size) read.push(...reader.read(bytes.subarray(i, i + size)));
    expect(read.map(({type, channel, payload}) => [type, channel, payload.length])).toEqual([
      [130, 1, 1],
      [131, 2, 0],
      [129, 70_000, 5000],
    ]);
  });

  test('no frame has that size', () => {
    const reader = new FrameReader(nonce);
    expect(() => [...reader.read(Buffer.concat([greeting, Buffer.alloc(9, 255)]))]).toThrow(
      /a frame of 4294967295 bytes/,
    );
  });

  test('the greeting of another host is none', () => {
    const reader = new FrameReader(nonce);
    expect([...reader.read(Buffer.concat([GREETING_MAGIC, Buffer.alloc(16, 2), ...frames]))]).toEqual([]);
    expect(reader.greeted).toBe(false);
  });
});

test('encodeCommand refuses what no argv can carry', () => {
  expect(() => encodeCommand(['a\0b'])).toThrow(RangeError);
  expect(() => encodeCommand([])).toThrow(RangeError);
});
