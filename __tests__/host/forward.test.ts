import {randomBytes} from 'node:crypto';
import {mkdtempSync, rmSync, statSync} from 'node:fs';
import {connect, createServer, type Server, type Socket} from 'node:net';
import {join} from 'node:path';
import {buffer} from 'node:stream/consumers';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import type {Forward, ForwardOptions, InteractiveSession, Session} from '../../src/base/ports.ts';
import {localForwards} from '../../src/host/forward.ts';
import {lendUntil} from '../../src/host/lend.ts';
import {openLocalSession} from '../../src/host/local-session.ts';
import {RelayHub} from '../../src/host/relay.ts';

let dir: string;
let guest: Session;
let daemon: Server;
const taken: Socket[] = [];
let forward: Forward | undefined;

beforeEach(async () => {
  dir = mkdtempSync('/tmp/bka-forward-');
  const session = openLocalSession(dir);
  // This machine plays the guest: its way to the host is the loopback.
  guest = {
    ...session,
    run: (argv, options) => session.run(argv[0] === 'perl' ? [...argv, '127.0.0.1'] : argv, options),
    close: () => session.close(),
  } as Session;
  // A daemon that gives back what it is told, with its own last words after the client's.
  daemon = createServer({allowHalfOpen: true}, socket => {
    taken.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', chunk => socket.write(chunk));
    socket.on('end', () => socket.end('bye'));
  });
  await new Promise<void>(resolve => daemon.listen(join(dir, 'daemon.sock'), resolve));
});

afterEach(async () => {
  await forward?.[Symbol.asyncDispose]();
  forward = undefined;
  for (const socket of taken.splice(0)) socket.destroy();
  await new Promise(resolve => daemon.close(resolve));
  rmSync(dir, {recursive: true, force: true});
});

const noLogin = async (): Promise<InteractiveSession> => {
  throw new Error('no login wanted');
};
const options = (more: Partial<ForwardOptions> = {}): ForwardOptions => ({
  socketPath: join(dir, 'here.sock'),
  guestPath: join(dir, 'daemon.sock'),
  login: noLogin,
  signal: new AbortController().signal,
  ...more,
});

async function exchange(bytes: Buffer): Promise<Buffer> {
  const client = connect({path: join(dir, 'here.sock'), allowHalfOpen: true});
  client.end(bytes);
  // A connection that breaks may show as a reset.
  return buffer(client).catch(() => Buffer.alloc(0));
}

test('bytes of several clients at once, both ways, each to its end', async () => {
  forward = await localForwards.open(guest, options());
  expect(forward.way).toBe('relay');
  const sent = Array.from({length: 5}, (_, i) => randomBytes(i * 700_001));
  const got = await Promise.all(sent.map(exchange));
  expect(got.map((bytes, i) => bytes.equals(Buffer.concat([sent[i] ?? bytes, Buffer.from('bye')])))).toEqual(
    sent.map(() => true),
  );
});

test('a client that breaks off is seen at the other end', async () => {
  forward = await localForwards.open(guest, options());
  const client = connect({path: join(dir, 'here.sock')});
  client.on('error', () => undefined);
  client.write('hello');
  await new Promise(resolve => client.once('data', resolve));
  client.destroy();
  const [other] = taken;
  await new Promise(resolve => other?.once('close', resolve).resume());
  expect(other?.destroyed).toBe(true);
});

test('nobody listens there: the client sees the end', async () => {
  forward = await localForwards.open(guest, options({guestPath: join(dir, 'none.sock')}));
  expect(await exchange(Buffer.from('hello'))).toEqual(Buffer.alloc(0));
});

test('closing ends clients, the relay and the socket', async () => {
  const opened = await localForwards.open(guest, options());
  const client = connect({path: join(dir, 'here.sock')});
  client.write('hello');
  await new Promise(resolve => client.once('data', resolve));
  await opened[Symbol.asyncDispose]();
  await new Promise(resolve => (client.closed ? resolve(undefined) : client.once('close', resolve)));
  expect(() => statSync(join(dir, 'here.sock'))).toThrow('ENOENT');
});

test('a relay that is gone is told', async () => {
  const stop = new AbortController();
  const relay: Session = {...guest, run: (argv, more) => guest.run(argv, {...more, signal: stop.signal})};
  const opened = await localForwards.open(relay, options());
  const lost = new Promise(resolve => opened.lost.addEventListener('abort', resolve, {once: true}));
  stop.abort();
  await lost;
  expect(await exchange(Buffer.from('hello'))).toEqual(Buffer.alloc(0));
  await opened[Symbol.asyncDispose]();
});

test('without perl it goes over SSH', async () => {
  const bare: Session = {...guest, run: async () => ({code: 127, signal: undefined})};
  const dialled: string[] = [];
  const ssh = {
    connectUnix: async (path: string) => {
      dialled.push(path);
      return connect({path, allowHalfOpen: true});
    },
    close: async () => undefined,
  } as unknown as InteractiveSession;
  forward = await localForwards.open(bare, options({login: async () => ssh}));
  expect(forward.way).toBe('ssh');
  expect((await exchange(Buffer.from('hello'))).toString()).toBe('hellobye');
  expect(dialled.at(-1)).toBe(join(dir, 'daemon.sock'));
});

test('no perl and no SSH: an error that names the socket', async () => {
  const bare: Session = {...guest, run: async () => ({code: 127, signal: undefined})};
  const ssh = {
    connectUnix: async () => {
      throw new Error('(SSH) Channel open failure: open failed');
    },
    close: async () => undefined,
  } as unknown as InteractiveSession;
  await expect(localForwards.open(bare, options({login: async () => ssh}))).rejects.toThrow(
    /daemon\.sock of the VM cannot be reached: .*open failed/,
  );
});

test.each([
  ['no token', 'hello\ncontrol\n'],
  ['a prefix of the token', (token: string) => `${token.slice(0, -1)}\ncontrol\n`],
  ['a connection that nobody asked for', (token: string) => `${token}\n1\n`],
  ['a very long line', 'x'.repeat(1000)],
])('the loopback takes nobody with %s', async (_name, said) => {
  const hub = await RelayHub.open();
  const socket = connect({port: hub.port, host: '127.0.0.1'});
  socket.on('error', () => undefined);
  socket.write(typeof said === 'string' ? said : said(hub.token));
  await new Promise(resolve => socket.once('close', resolve).resume());
  await expect(hub.dial()).rejects.toThrow('the relay in the VM is gone');
  hub.close();
});

test('it is lent until this process is asked to end, and then closed', async () => {
  const done = new AbortController();
  const lender = lendUntil(done.signal, () => void used.then(() => done.abort()));
  let opened: () => void = () => undefined;
  const isOpen = new Promise<void>(resolve => {
    opened = resolve;
  });
  const used = isOpen.then(() => exchange(Buffer.from('hello')));
  await lender.lend(guest, {...options(), onOpen: () => opened(), onProcess: () => undefined});
  expect((await used).toString()).toBe('hellobye');
  expect(lender.outlives).toBe(false);
  expect(() => statSync(join(dir, 'here.sock'))).toThrow('ENOENT');
});

test('a VM that dies while it is lent ends the lending with an error', async () => {
  const died = new AbortController();
  const lender = lendUntil(new AbortController().signal, () => died.abort(new Error('the VM ended')));
  const lent = lender.lend(guest, {
    ...options({signal: died.signal}),
    onOpen: () => undefined,
    onProcess: () => undefined,
  });
  await expect(lent).rejects.toThrow('the VM ended');
});
