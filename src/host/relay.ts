import {randomBytes} from 'node:crypto';
import {createServer, type Server, type Socket} from 'node:net';
import {firstLine, identify} from './side-channel.ts';

/**
 * Runs in the guest: `perl -e PROGRAM PORT SOCKET [ADDRESS]`, with the token on standard input. It holds a control connection to the host's loopback (10.0.2.2 in QEMU's user
 * network) and answers each line on it, an id, with a connection of its own that leads to the socket. So nothing in the guest listens, and nobody without the
 * token gets through on the host. Two processes a connection, one a direction, so that neither waits for the other. Needs perl-base, which every Debian has.
 */
export const RELAY_PROGRAM = String.raw`
use strict; use warnings; use Socket; use Errno;
my ($port, $path, $address) = (@ARGV, "10.0.2.2");
my $token = <STDIN>;
$SIG{PIPE} = "IGNORE";
$SIG{CHLD} = "IGNORE";
sub host {
  my ($what) = @_;
  socket(my $s, PF_INET, SOCK_STREAM, 0) or return;
  connect($s, pack_sockaddr_in($port, inet_aton($address))) or return;
  setsockopt($s, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1);
  syswrite($s, "$token$what\n") or return;
  return $s;
}
sub copy {
  my ($from, $to) = @_;
  my $data;
  while (1) {
    my $n = sysread $from, $data, 262144;
    next if !defined $n && $!{EINTR};
    last unless $n;
    for (my $done = 0; $done < $n;) {
      my $sent = syswrite $to, $data, $n - $done, $done;
      next if !defined $sent && $!{EINTR};
      return unless defined $sent;
      $done += $sent;
    }
  }
  shutdown $to, 1;
}
my $control = host("control") or exit 121;
while (defined(my $id = <$control>)) {
  chomp $id;
  next if fork;
  close $control;
  my $there = host($id) or exit 1;
  my $here;
  socket($here, PF_UNIX, SOCK_STREAM, 0) && connect($here, pack_sockaddr_un($path)) or exit 1;
  my $other = fork;
  exit 1 unless defined $other;
  if ($other) { copy($there, $here) } else { copy($here, $there) }
  exit 0;
}
`;

const DIAL_TIMEOUT_MS = 30_000;
const LONGEST_ID_BYTES = 16;

/** The host's end of the relay: asks it for connections. */
export class RelayHub {
  readonly token: string;
  readonly port: number;
  readonly #server: Server;
  readonly #waiting = new Map<string, {resolve: (socket: Socket) => void; reject: (error: Error) => void}>();
  readonly #lost = new AbortController();
  readonly #connected: Promise<void>;
  #onControl: () => void = () => undefined;
  #control: Socket | undefined;
  #nextId = 1;

  private constructor(server: Server, port: number, token: string) {
    this.#server = server;
    this.port = port;
    this.token = token;
    this.#connected = new Promise(resolve => {
      this.#onControl = resolve;
    });
    server.on('connection', socket => void this.#take(socket));
  }

  /** Listens on the loopback. @param token what the guest has to say first; a new one by default. */
  static async open(token = randomBytes(24).toString('hex')): Promise<RelayHub> {
    const server = createServer({allowHalfOpen: true, noDelay: true});
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    return new RelayHub(server, typeof address === 'object' && address ? address.port : 0, token);
  }

  /** Resolves when the guest is there. */
  get connected(): Promise<void> {
    return this.#connected;
  }

  /** Aborted when the guest is there no more. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** A new connection to the guest's socket. @throws when the guest does not answer. */
  dial(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      if (!this.#control || this.lost.aborted) return reject(new Error('the relay in the VM is gone'));
      const id = String(this.#nextId++);
      const settle = (action: () => void): void => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        action();
      };
      const waiting = {
        resolve: (socket: Socket) => settle(() => resolve(socket)),
        reject: (error: Error) => settle(() => reject(error)),
      };
      const timer = setTimeout(
        () => waiting.reject(new Error('the relay in the VM does not answer')),
        DIAL_TIMEOUT_MS,
      );
      this.#waiting.set(id, waiting);
      this.#control.write(`${id}\n`);
    });
  }

  close(): void {
    this.#server.close();
    this.#control?.destroy();
  }

  async #take(socket: Socket): Promise<void> {
    if (!(await identify(socket, this.token))) return;
    const id = (await firstLine(socket, LONGEST_ID_BYTES))?.toString('latin1') ?? '';
    const waiting = this.#waiting.get(id);
    if (waiting) waiting.resolve(socket);
    else if (id === 'control' && !this.#control) {
      this.#control = socket;
      socket.once('close', () => {
        const error = new Error('the relay in the VM has ended');
        this.#lost.abort(error);
        for (const one of [...this.#waiting.values()]) one.reject(error);
      });
      // It says nothing more; its end shows only to a reader.
      socket.once('end', () => socket.destroy());
      socket.resume();
      this.#onControl();
    } else socket.destroy();
  }
}
