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
function identify(socket: Socket, token: string): Promise<boolean> {
  return new Promise(resolve => {
    let seen = Buffer.alloc(0);
    const finish = (same: boolean): void => {
      clearTimeout(timer);
      socket.off('data', onData);
      if (same) socket.pause();
      else socket.destroy();
      resolve(same);
    };
    const onData = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      const end = seen.indexOf('\n');
      if (end < 0) {
        if (seen.length > token.length) finish(false);
        return;
      }
      const said = seen.subarray(0, end);
      const expected = Buffer.from(token);
      finish(said.length === expected.length && timingSafeEqual(said, expected));
      // Bytes of the payload may have come in the same segment.
      if (end + 1 < seen.length && !socket.destroyed) socket.unshift(seen.subarray(end + 1));
    };
    const timer = setTimeout(() => finish(false), IDENTIFY_TIMEOUT_MS);
    socket.on('error', () => finish(false));
    socket.on('data', onData);
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
