import {createServer, type Socket} from 'node:net';
import type {Duplex} from 'node:stream';
import {asCanceled, messageOf} from '../base/errors.ts';
import type {Forward, ForwardOptions, Forwards, Session} from '../base/ports.ts';
import {RELAY_PROGRAM, RelayHub} from './relay.ts';

export const localForwards: Forwards = {
  async open(session, options) {
    if (options.signal.aborted) throw asCanceled(options.signal);
    return (await openRelay(session, options)) ?? (await openSsh(session, options));
  },
};

/** Undefined where the machine has no perl or cannot reach this one. */
async function openRelay(session: Session, options: ForwardOptions): Promise<Forward | undefined> {
  const hub = await RelayHub.open();
  const stop = new AbortController();
  const argv = ['perl', '-e', RELAY_PROGRAM, String(hub.port), options.guestPath];
  const ended = session
    .run(argv, {stdin: `${hub.token}\n`, signal: AbortSignal.any([stop.signal, options.signal])})
    .then(
      () => undefined,
      (error: unknown) => error,
    );
  const close = async (): Promise<void> => {
    hub.close();
    stop.abort();
    await ended;
  };
  const first = await Promise.race([hub.connected.then(() => 'connected' as const), ended]);
  if (first !== 'connected') {
    await close();
    if (options.signal.aborted) throw asCanceled(options.signal);
    if (first !== undefined) throw first;
    return undefined;
  }
  const listener = await listen(options.socketPath, () => hub.dial());
  return {
    socketPath: options.socketPath,
    way: 'relay',
    lost: hub.lost,
    async [Symbol.asyncDispose]() {
      await listener.close();
      await close();
    },
  };
}

async function openSsh(session: Session, options: ForwardOptions): Promise<Forward> {
  const ssh = await options.login(options.signal);
  const close = async (): Promise<void> => {
    if (ssh !== session) await ssh.close();
  };
  try {
    // Said now, since a client of the socket would only see its end.
    (await ssh.connectUnix(options.guestPath)).destroy();
  } catch (error) {
    await close();
    throw new Error(`${options.guestPath} of the VM cannot be reached: ${messageOf(error)}`);
  }
  const listener = await listen(options.socketPath, () => ssh.connectUnix(options.guestPath));
  return {
    socketPath: options.socketPath,
    way: 'ssh',
    lost: new AbortController().signal,
    async [Symbol.asyncDispose]() {
      await listener.close();
      await close();
    },
  };
}

/** A unix socket, each connection of which leads on to one that `dial` makes. */
export async function listen(path: string, dial: () => Promise<Duplex>): Promise<{close(): Promise<void>}> {
  const clients = new Set<Duplex>();
  const server = createServer({allowHalfOpen: true, pauseOnConnect: true}, client => {
    clients.add(client);
    client.once('close', () => clients.delete(client));
    client.on('error', () => undefined);
    dial().then(
      there => join(client, there),
      () => client.destroy(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return {
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve());
        for (const client of clients) client.destroy();
      }),
  };
}

/** Both directions, each of which may end before the other; a break of one end breaks the other. */
function join(client: Socket, there: Duplex): void {
  if (client.destroyed) return void there.destroy();
  for (const [from, to] of [
    [client, there],
    [there, client],
  ] as const) {
    from.on('error', () => to.destroy());
    from.once('close', () => {
      if (!from.readableEnded) to.destroy();
    });
    from.pipe(to);
  }
}
