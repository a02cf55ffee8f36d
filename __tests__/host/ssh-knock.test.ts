import {once} from 'node:events';
import {type AddressInfo, createServer, type Socket} from 'node:net';
import {afterAll, expect, test} from '@jest/globals';
import ssh2 from 'ssh2';
import {CanceledError} from '../../src/base/errors.ts';
import {localSsh} from '../../src/host/ssh.ts';

const opened: {close?(): unknown; destroy?(): unknown}[] = [];
afterAll(() => {
  for (const one of opened) (one.destroy ?? one.close)?.call(one);
});

async function onConnection(greet: (socket: Socket) => void): Promise<number> {
  const server = createServer(socket => {
    opened.push(socket);
    greet(socket.on('error', () => undefined));
  });
  opened.push(server);
  await new Promise<void>(resolve => void server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

const knock = (port: number, timeoutMs = 30_000) => localSsh.knock('127.0.0.1', port, timeoutMs);

/** An SSH server that lets all in but the first ones, and counts who comes. */
async function sshServer(refusals = 0): Promise<{port: number; connections: () => number}> {
  let connections = 0;
  const hostKeys = [ssh2.utils.generateKeyPairSync('ed25519').private];
  const server = new ssh2.Server({hostKeys}, client => {
    const isRefused = connections <= refusals;
    client.on('error', () => undefined);
    client.on('authentication', attempt =>
      attempt.method === 'none' || isRefused ? attempt.reject(['password']) : attempt.accept(),
    );
  });
  const port = await onConnection(socket => {
    connections++;
    server.injectSocket(socket);
  });
  return {port, connections: () => connections};
}

const target = (port: number) => ({host: '127.0.0.1', port, username: 'root', password: 'root'});

test('the connection that answered is the one that is logged in over', async () => {
  const {port, connections} = await sshServer();
  const line = await knock(port);
  expect(line).toBeDefined();
  const session = await localSsh.connect(target(port), {timeoutMs: 30_000, line});
  await session.close();
  expect(connections()).toBe(1);
});

test('one that broke in the meantime is replaced', async () => {
  const {port, connections} = await sshServer();
  const line = await knock(port);
  line?.close();
  await (await localSsh.connect(target(port), {timeoutMs: 30_000, line})).close();
  expect(connections()).toBe(2);
});

test('a login that is refused closes it', async () => {
  const {port} = await sshServer(1);
  const line = await knock(port);
  await expect(localSsh.connect(target(port), {timeoutMs: 30_000, line})).rejects.toThrow();
  // A second use finds it closed, and opens one of its own.
  await (await localSsh.connect(target(port), {timeoutMs: 30_000, line})).close();
});

test('lines before the identification, in pieces (RFC 4253, 4.2)', async () => {
  const port = await onConnection(socket => {
    socket.write('hello\r\nSS');
    setImmediate(() => socket.write('H-2.0-x\r\n'));
  });
  const line = await knock(port);
  expect(line).toBeDefined();
  line?.close();
});

test.each<[string, (socket: Socket) => void]>([
  ['is refused by a closing server', socket => void socket.end()],
  ['is reset', socket => void socket.resetAndDestroy()],
  ['speaks another protocol without end', socket => void socket.write('x'.repeat(5_000))],
])('no answer when it %s', async (_what, greet) => {
  expect(await knock(await onConnection(greet))).toBeUndefined();
});

test('no answer where nobody listens', async () => {
  const server = createServer();
  await new Promise<void>(resolve => void server.listen(0, '127.0.0.1', resolve));
  const {port} = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  expect(await knock(port)).toBeUndefined();
});

test('no answer in time, and the connection is closed', async () => {
  let closed: Promise<unknown> = Promise.resolve();
  const port = await onConnection(socket => {
    closed = once(socket, 'close');
    socket.resume();
  });
  expect(await knock(port, 200)).toBeUndefined();
  await closed;
});

test('canceled while it waits', async () => {
  const port = await onConnection(() => undefined);
  const stop = new AbortController();
  const waiting = localSsh.knock('127.0.0.1', port, 30_000, stop.signal);
  setImmediate(() => stop.abort());
  await expect(waiting).rejects.toThrow(CanceledError);
});
