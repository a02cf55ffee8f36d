import {randomBytes, timingSafeEqual} from 'node:crypto';
import {createServer, type Server, type Socket} from 'node:net';
import {asCanceled} from '../base/errors.ts';

/**
 * A plain TCP connection from the guest to this process, for bulk data. On an emulated CPU SSH's encryption moves some
 * 10 MB/s where TCP through QEMU's user network moves 150, and both ends are this machine's loopback. The guest proves itself by a
 * token that it got over SSH, so no other user of the machine can take its place.
 */
export class SideChannel {
  readonly port: number;
  readonly token: string;
  /** The guest's connection, once its token was right. */
  readonly connected: Promise<Socket>;
  readonly #server: Server;

  private constructor(server: Server, port: number, token: string, connected: Promise<Socket>) {
    this.#server = server;
    this.port = port;
    this.token = token;
    this.connected = connected;
    connected.catch(() => undefined);
  }

  static async open(signal?: AbortSignal): Promise<SideChannel> {
    const server = createServer();
    const token = randomBytes(24).toString('hex');
    const connected = new Promise<Socket>((resolve, reject) => {
      server.on('connection', socket => void identify(socket, token).then(same => same && resolve(socket)));
      server.once('close', () => reject(new Error('the side channel was closed')));
      signal?.addEventListener('abort', () => reject(asCanceled(signal)), {once: true});
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    return new SideChannel(
      server,
      typeof address === 'object' && address ? address.port : 0,
      token,
      connected,
    );
  }

  close(): void {
    this.#server.close();
    void this.connected.then(
      socket => socket.destroy(),
      () => undefined,
    );
  }
}

const IDENTIFY_TIMEOUT_MS = 10_000;

/** Reads one line from a fresh connection; anything but the token is cut off. */
export async function identify(socket: Socket, token: string): Promise<boolean> {
  const said = await firstLine(socket, token.length);
  const expected = Buffer.from(token);
  if (said?.length === expected.length && timingSafeEqual(said, expected)) return true;
  socket.destroy();
  return false;
}

/**
 * The next line of a connection, without its end; what comes behind it stays to be read, and the connection is paused. Undefined, and the connection cut off,
 * when it is longer than `maxBytes` or does not come soon.
 */
export function firstLine(socket: Socket, maxBytes: number): Promise<Buffer | undefined> {
  return new Promise(resolve => {
    let seen = Buffer.alloc(0);
    const finish = (line: Buffer | undefined): void => {
      clearTimeout(timer);
      socket.off('data', onData);
      socket.off('close', onClose);
      if (line) socket.pause();
      else socket.destroy();
      resolve(line);
    };
    const onClose = (): void => finish(undefined);
    const onData = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      const end = seen.indexOf('\n');
      if (end < 0 || end > maxBytes) {
        if (seen.length > maxBytes) finish(undefined);
        return;
      }
      const rest = seen.subarray(end + 1);
      finish(seen.subarray(0, end));
      // Bytes of the payload may have come in the same segment.
      if (rest.length > 0 && !socket.destroyed) socket.unshift(rest);
    };
    const timer = setTimeout(() => finish(undefined), IDENTIFY_TIMEOUT_MS);
    socket.on('error', () => finish(undefined));
    socket.on('close', onClose);
    socket.on('data', onData);
    // It was paused behind an earlier line.
    socket.resume();
  });
}

/** Exit status of `SIDE_CHANNEL_SCRIPT` when the guest cannot reach the host; no command of ours has it. */
export const NO_SIDE_CHANNEL_STATUS = 121;

/**
 * Runs in the guest under bash, whose `/dev/tcp` needs no further program: `bash -c SCRIPT bash stdin|stdout PORT ARGV…`. The token comes on standard
 * input. 10.0.2.2 is the host in QEMU's user network (qemu-system(1), `-netdev user`).
 */
export const SIDE_CHANNEL_SCRIPT = `
IFS= read -r token
direction=$1 port=$2
shift 2
{ exec 3<>"/dev/tcp/10.0.2.2/$port" && printf '%s\\n' "$token" >&3; } 2>/dev/null || exit ${NO_SIDE_CHANNEL_STATUS}
if [ "$direction" = stdin ]; then exec "$@" <&3 3>&-; else exec "$@" >&3 3>&-; fi
`;
