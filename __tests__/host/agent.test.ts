import {type ChildProcess, spawn} from 'node:child_process';
import {createHash, randomBytes} from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import {connect, createServer, type Socket} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {PassThrough, Readable, Writable} from 'node:stream';
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import {CanceledError, ConnectionLostError} from '../../src/base/errors.ts';
import {
  encodeCommand,
  encodeFrame,
  FROM_AGENT,
  FrameReader,
  greeting,
  NONCE_BYTES,
  TAG_BYTES,
  TO_AGENT,
  WINDOW_BYTES,
} from '../../src/host/agent-frames.ts';
import {AGENT_PROGRAM} from '../../src/host/agent-guest.ts';
import {LocalAgentSession} from '../../src/host/agent-session.ts';
import {COMMANDS, sh} from '../support/agent-commands.ts';

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

  test.each(COMMANDS)('%s', async (_name, argv, expected) => {
    expect(await session.output(argv)).toMatchObject(expected);
  });

  test('variables are set for one command alone', async () => {
    const argv = sh('printf %s "$A-$PATH"');
    expect((await session.output(argv, {env: {A: 'x=y'}})).stdout).toBe(`x=y-${process.env.PATH}`);
    expect((await session.output(argv)).stdout).toBe(`-${process.env.PATH}`);
  });

  test('all exit codes', async () => {
    const codes = Array.from({length: 256}, (_, code) => code);
    const found: (number | undefined)[] = [];
    // As many at once as a busy machine can start before the agent is taken for dead.
    for (let from = 0; from < codes.length; from += 32) {
      const some = codes.slice(from, from + 32);
      const exits = await Promise.all(some.map(code => session.run(sh('exit $1', String(code)))));
      found.push(...exits.map(({code}) => code));
    }
    expect(found).toEqual(codes);
  });

  test('words of many frames', async () => {
    const words = Array.from({length: 300}, (_, i) => `${i}`.repeat(300));
    const {stdout} = await session.output(['printf', '%s\n', ...words], {env: {LONG: 'x'.repeat(100_000)}});
    expect(stdout).toBe(`${words.join('\n')}\n`);
  });

  test('every byte, both ways, many times the window, in little memory', async () => {
    const block = Buffer.concat([
      Buffer.from(Uint8Array.from({length: 256}, (_, i) => i)),
      randomBytes(65_000),
    ]);
    const times = 770;
    const before = peakKib(agent.pid);
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
    expect(peakKib(agent.pid) - before).toBeLessThan((16 * WINDOW_BYTES) / 1024);
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

  test('nor is it while others talk', async () => {
    const stop = new AbortController();
    const talking = session.run(sh('while :; do echo talk; sleep 0.01; done'), {signal: stop.signal});
    const {code, stdout} = await session.output(sh('sleep 60 & echo $!'));
    expect(code).toBe(0);
    process.kill(Number(stdout), 'SIGKILL');
    stop.abort();
    await expect(talking).rejects.toThrow(CanceledError);
  });

  test('what is printed shortly after the end is part of the output', async () => {
    expect((await session.output(sh('(sleep 0.2; echo late) & echo early'))).stdout).toBe('early\nlate\n');
  });

  test.each([
    ['that obeys', ''],
    ['in which all ignore TERM', 'trap "" TERM;'],
    ['whose leader obeys alone', 'sh -c \'trap "" TERM; echo $$; sleep 60; sleep 60\' & wait;'],
    ['that is full of output', 'trap "" TERM; (while :; do echo $$; done) &'],
  ])('a cancel ends a whole group %s', async (_name, prefix) => {
    const controller = new AbortController();
    let pid = 0;
    const running = session.run(sh(`${prefix} sleep 60 & echo $!; wait`), {
      signal: controller.signal,
      onStdout: chunk => {
        pid = Number(/^\d+/.exec(chunk.toString())?.[0]);
        controller.abort(new CanceledError('enough'));
        return new Promise(() => undefined);
      },
    });
    await expect(running).rejects.toThrow('enough');
    while (isRunning(pid)) await pause(20);
    expect((await session.output(['echo', 'on'])).stdout).toBe('on\n');
  });

  test('a signal that was aborted before starts nothing', async () => {
    const path = join(dir, 'never');
    await expect(session.run(['touch', path], {signal: AbortSignal.abort()})).rejects.toThrow(CanceledError);
    await session.output(['true']);
    expect(existsSync(path)).toBe(false);
  });

  test('an input that fails ends its command', async () => {
    let pid = 0;
    const source = new Readable({read: () => undefined});
    const running = session.run(sh('echo $$; cat'), {
      stdin: source,
      onStdout: chunk => {
        pid = Number(chunk.toString());
        source.destroy(new Error('the disk is gone'));
      },
    });
    await expect(running).rejects.toThrow('the disk is gone');
    while (isRunning(pid)) await pause(20);
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
    const got: Buffer[] = [];
    await session.get(path, new Writable({write: (chunk, _encoding, done) => done(void got.push(chunk))}));
    expect(Buffer.concat(got)).toEqual(Buffer.from([0, 1, 255]));
    await expect(session.get('/no/such', new PassThrough())).rejects.toThrow(/^cannot read \/no\/such in/);
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

/** Most memory that a process has had (proc(5), VmHWM). */
function peakKib(pid: number | undefined): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

describe('the line', () => {
  afterEach(() => void agent.kill('SIGKILL'));
  const old = Buffer.alloc(16, 7);
  const script = 'sleep 60 & echo $!; wait';

  /** What a host does that uses the line and goes, perhaps in the middle of a frame. */
  async function earlierHost(socket: Socket, rest: Buffer): Promise<number> {
    socket.write(Buffer.concat([Buffer.from('rubbish'), greeting(old)]));
    for (const payload of encodeCommand(['sh', '-c', script]))
      socket.write(encodeFrame(old, {type: TO_AGENT.exec, channel: 9, payload}));
    const pid = await new Promise<number>(resolve => {
      const reader = new FrameReader(old);
      const listen = (chunk: Buffer): void => {
        for (const {type, payload} of reader.read(chunk)) {
          if (type !== FROM_AGENT.stdout) continue;
          socket.off('data', listen);
          resolve(Number(payload.toString()));
        }
      };
      socket.on('data', listen);
    });
    socket.write(rest);
    return pid;
  }

  const touch = (path: string): Buffer =>
    Buffer.concat(
      encodeCommand(['touch', path]).map(payload =>
        encodeFrame(old, {type: TO_AGENT.exec, channel: 10, payload}),
      ),
    );

  test.each<[string, (path: string) => Buffer]>([
    ['nothing', () => Buffer.alloc(0)],
    ['noise', () => randomBytes(100_000)],
    ['half a header', path => touch(path).subarray(0, 3)],
    ['half a frame', path => touch(path).subarray(0, -TAG_BYTES - 4)],
    ['a frame without its tag', path => touch(path).subarray(0, -TAG_BYTES)],
    [
      'half of much input',
      () => encodeFrame(old, {type: 2, channel: 9, payload: Buffer.alloc(30_000)}).subarray(0, 99),
    ],
  ])('an earlier host that leaves %s is passed over, and its commands are ended', async (_name, rest) => {
    const socket = startAgent();
    const started = mkdtempSync(join(dir, 'started-'));
    const pid = await earlierHost(socket, rest(join(started, 'here')));
    const again = await LocalAgentSession.open(socket, forever);
    expect((await again.output(['echo', 'new'])).stdout).toBe('new\n');
    while (isRunning(pid)) await pause(20);
    expect(readdirSync(started)).toEqual([]);
    await again.close();
  });

  test('when the host goes, its commands end, and the agent waits without working', async () => {
    const socket = startAgent();
    const pid = await earlierHost(socket, Buffer.alloc(0));
    socket.destroy();
    while (isRunning(pid)) await pause(20);
    const before = cpuTicks(agent.pid);
    await pause(1_000);
    expect(cpuTicks(agent.pid) - before).toBeLessThan(20);
  });

  test('an agent that does not answer is given up', async () => {
    const socket = startAgent();
    agent.kill('SIGSTOP');
    await expect(
      LocalAgentSession.open(socket, {timeoutMs: 100, signal: new AbortController().signal}),
    ).rejects.toThrow('the greeting of the command agent did not end within 0.1 s');
  });

  test('one that is slow to answer is waited for', async () => {
    const socket = startAgent();
    agent.kill('SIGSTOP');
    const opening = LocalAgentSession.open(socket, forever);
    await pause(1_300);
    agent.kill('SIGCONT');
    const slow = await opening;
    expect((await slow.output(['echo', 'here'])).stdout).toBe('here\n');
    await slow.close();
  });

  test('an agent that falls silent is noticed; one that has nothing to say is not', async () => {
    const heartbeat = {pingIntervalMs: 100, silenceLimitMs: 2_500};
    const quiet = await LocalAgentSession.open(startAgent(), forever, heartbeat);
    expect((await quiet.run(['sleep', '3'])).code).toBe(0);
    const running = quiet.run(['sleep', '60']);
    agent.kill('SIGSTOP');
    await expect(running).rejects.toThrow(/command agent is lost: .* has said nothing for 2.5 s/);
    await expect(running).rejects.toThrow(ConnectionLostError);
  });
});

/** User and system time of a process (proc(5), stat, fields 14 and 15). */
function cpuTicks(pid: number | undefined): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

// The machine is hostile: who has become root there can speak in the agent's place.
describe('an agent that lies', () => {
  const frame = (type: number, payload: Buffer): Buffer => {
    const header = Buffer.alloc(9);
    header.writeUInt32BE(5 + payload.length, 0);
    header.writeUInt8(type, 4);
    header.writeUInt32BE(1, 5);
    return Buffer.concat([header, payload]);
  };

  test.each<[string, Buffer, RegExp]>([
    [
      'says more than it was asked for',
      Buffer.concat(Array(20).fill(frame(FROM_AGENT.stdout, Buffer.alloc(32_768)))),
      /sent more/,
    ],
    ['asks for more than its window holds', frame(FROM_AGENT.credit, Buffer.alloc(4, 255)), /asked for more/],
    ['sends a frame that is too large', Buffer.alloc(64, 255), /a frame of 4294967295 bytes/],
    ['sends an end without a status', frame(FROM_AGENT.exit, Buffer.alloc(1)), /out of range|outside/i],
  ])('%s', async (_name, bytes, expected) => {
    const server = createServer(socket => {
      socket.on('error', () => undefined);
      socket.once('data', said => {
        socket.write(said);
        socket.once('data', () => socket.write(bytes));
      });
    });
    const path = join(dir, 'liar.sock');
    await new Promise<void>(resolve => server.listen(path, resolve));
    try {
      const lied = await LocalAgentSession.open(connect(path), forever);
      const running = lied.run(['cat'], {onStdout: () => new Promise(() => undefined)});
      await expect(running).rejects.toThrow(expected);
      await expect(running).rejects.toThrow(ConnectionLostError);
    } finally {
      await new Promise(resolve => server.close(resolve));
    }
  });
});

describe('FrameReader', () => {
  const nonce = Buffer.alloc(16, 1);
  const frames = [
    encodeFrame(nonce, {type: 130, channel: 1, payload: 'a'}),
    encodeFrame(nonce, {type: 131, channel: 2}),
    encodeFrame(nonce, {type: 129, channel: 70_000, payload: Buffer.alloc(5000, 9)}),
  ];

  test.each([1, 2, 3, 7, 1000])('chunks of %i bytes', size => {
    const bytes = Buffer.concat([Buffer.from('left over BKAGENT1'), greeting(nonce), ...frames]);
    const reader = new FrameReader(nonce);
    const read = [];
    for (let i = 0; i < bytes.length; i += size) read.push(...reader.read(bytes.subarray(i, i + size)));
    expect(read.map(({type, channel, payload}) => [type, channel, payload.length - TAG_BYTES])).toEqual([
      [130, 1, 1],
      [131, 2, 0],
      [129, 70_000, 5000],
    ]);
  });

  test('no frame has that size', () => {
    const reader = new FrameReader(nonce);
    expect(() => [...reader.read(Buffer.concat([greeting(nonce), Buffer.alloc(9, 255)]))]).toThrow(
      /a frame of 4294967295 bytes/,
    );
  });

  test('the greeting of another host is none', () => {
    const reader = new FrameReader(nonce);
    expect([...reader.read(Buffer.concat([greeting(Buffer.alloc(16, 2)), ...frames]))]).toEqual([]);
    expect(reader.greeted).toBe(false);
  });
});

test('encodeCommand refuses what no argv can carry', () => {
  expect(() => encodeCommand(['a\0b'])).toThrow(RangeError);
  expect(() => encodeCommand([])).toThrow(RangeError);
});

test('a greeting that is there before the word that there is a host is answered', async () => {
  // A file reads as the port does then: bytes, end-of-file, and more bytes.
  const port = join(dir, 'port');
  const said = greeting(Buffer.alloc(NONCE_BYTES, 7));
  writeFileSync(port, said);
  const early = spawn('perl', [join(dir, 'agent.pl'), port], {stdio: 'ignore'});
  const isAnswered = (): boolean => readFileSync(port).lastIndexOf(said) > 0;
  try {
    for (let tries = 0; tries < 200 && !isAnswered(); tries++) {
      await new Promise(resolve => setTimeout(resolve, 20));
      appendFileSync(port, '.');
    }
    expect(isAnswered()).toBe(true);
  } finally {
    early.kill('SIGKILL');
  }
});
