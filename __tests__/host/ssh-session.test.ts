import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import {fileURLToPath} from 'node:url';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import type {Session} from '../../src/base/ports.ts';
import {localSsh} from '../../src/host/ssh.ts';

// A server that says all there is to say about a command in one go, in a process of its own.
const SERVER = `
import ssh2 from 'ssh2';
const key = ssh2.utils.generateKeyPairSync('ed25519').private;
const server = new ssh2.Server({hostKeys: [key]}, client => {
  client.on('error', () => undefined);
  client.on('authentication', attempt => attempt.accept());
  client.on('session', accept => accept().on('exec', (accept, _reject, {command}) => {
    const channel = accept();
    channel.write('said');
    channel.stderr.write('complained');
    channel.exit(Number(command.split("'").join('').split(' ')[1]));
    channel.end();
  }));
});
server.listen(0, '127.0.0.1', () => process.send(server.address().port));
`;

let server: ChildProcess;
let session: Session;
beforeAll(async () => {
  server = spawn(process.execPath, ['--input-type=module', '-e', SERVER], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const [port] = await once(server, 'message');
  session = await localSsh.connect(
    {host: '127.0.0.1', port: Number(port), username: 'root', password: 'root'},
    {timeoutMs: 30_000},
  );
});
afterAll(async () => {
  await session.close();
  server.kill();
});

const standStill = (ms: number): void =>
  void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

test.each([0, 7])('exit status %i of a command that was over before this process looked', async code => {
  const running = session.output(['exit', String(code)]);
  // The request goes out in the next turn; then this process is busy until all answers are there.
  setImmediate(() => setImmediate(() => standStill(500)));
  expect(await running).toEqual({code, signal: undefined, stdout: 'said', stderr: 'complained'});
});
