import {spawn} from 'node:child_process';
import {createServer} from 'node:net';
import {expect, test} from '@jest/globals';
import {awaitBuildkit, inspect} from '../../src/build/inspect.ts';
import {localSsh} from '../../src/host/ssh.ts';
import {diskOf} from '../support/machine.ts';

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

/** The published starter's own command line; `-snapshot` alone is added, so that the archive is not written. In docker's containers the other archives come up on it. */
test.each(['v0.32.2'])('the archive of %s boots under the published line', async version => {
  const port = await freePort();
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...['-hda', diskOf(version), '-smp', '2', '-m', '2048M', '-nographic'],
      ...['-nic', `user,hostfwd=tcp:127.0.0.1:${port}-:22,model=virtio`, '-snapshot'],
    ],
    {stdio: ['ignore', 'pipe', 'ignore']},
  );
  let console = '';
  qemu.stdout.on('data', chunk => {
    console += chunk;
  });
  const ended = new Promise(resolve => qemu.once('close', resolve));
  try {
    const deadlineMs = Date.now() + 300_000;
    let line = await localSsh.knock('127.0.0.1', port, 2_000);
    while (!line) {
      if (Date.now() > deadlineMs || qemu.exitCode !== null)
        throw new Error(`it does not come up:\n${console.slice(-2_000)}`);
      await new Promise(resolve => setTimeout(resolve, 250));
      line = await localSsh.knock('127.0.0.1', port, 2_000);
    }
    const login = {host: '127.0.0.1', port, username: 'root', password: 'root'};
    const session = await localSsh.connect(login, {timeoutMs: 60_000, line});
    const {signal} = new AbortController();
    await awaitBuildkit(session, signal);
    expect(await inspect(session, signal)).toMatchObject({
      buildkit: {version},
      runc: {version: expect.stringMatching(/^1\./)},
      systemd: {state: 'running', failedUnits: []},
      workers: [expect.objectContaining({snapshotter: 'overlayfs'})],
    });
    await session.close();
    // The console's login may come after SSH's.
    while (!/login:/.test(console)) {
      expect(Date.now()).toBeLessThan(deadlineMs);
      await new Promise(resolve => setTimeout(resolve, 250));
    }
  } finally {
    qemu.kill('SIGKILL');
    await ended;
  }
});
