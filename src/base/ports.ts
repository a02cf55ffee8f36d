import type {Duplex, Readable, Writable} from 'node:stream';

/** How a command ended: an exit code, or the signal that ended it. */
export interface Exit {
  readonly code: number | undefined;
  readonly signal: string | undefined;
}

export interface Output extends Exit {
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Called with each chunk of bytes as it comes; may return a promise to hold the sender back. */
  readonly onStdout?: (chunk: Buffer) => void | Promise<void>;
  readonly onStderr?: (chunk: Buffer) => void | Promise<void>;
  /** Sent to the command's standard input, then end-of-file. */
  readonly stdin?: Readable | string | Buffer;
  /** Much data goes this way: take the fastest path there is for it. Nothing else changes. */
  readonly bulk?: 'stdin' | 'stdout';
  /** Environment variables for this command. */
  readonly env?: Readonly<Record<string, string>>;
  /**
   * Abort rejects with `CanceledError`, asks the command to end by SIGTERM and closes its channel. Sshd delivers no signals in a
   * root login (session.c, `session_signal_req`), so a command that writes nothing may live until the machine ends.
   */
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

/** A command line into a running machine. One connection serves all calls; calls may overlap. */
export interface Session {
  /**
   * Runs a command by argv; nothing in it is interpreted by a shell.
   * @throws when the link breaks; never because of the command's exit code.
   */
  run(argv: readonly string[], options?: RunOptions): Promise<Exit>;
  /** Runs a command and gives what it printed (at most 1 MiB a stream). */
  output(argv: readonly string[], options?: RunOptions): Promise<Output>;
  /** Streams `source` into a new file with the given mode. */
  put(
    source: Readable | string | Buffer,
    path: string,
    options?: {mode?: number; signal?: AbortSignal},
  ): Promise<void>;
  /** Streams a file of the machine into `sink`. */
  get(path: string, sink: Writable, options?: {signal?: AbortSignal}): Promise<void>;
  close(): Promise<void>;
}

/** A session that can also lend a terminal. */
export interface InteractiveSession extends Session {
  /** Runs a login shell on a pseudo terminal until it ends. */
  shell(terminal: Terminal): Promise<Exit>;
  /** A connection to a unix socket of the machine. @throws when there is none, or it may not be made. */
  connectUnix(path: string): Promise<Duplex>;
}

export interface Terminal {
  readonly input: Readable;
  readonly output: Writable;
  readonly term: string;
  size(): {columns: number; rows: number};
  onResize(listener: () => void): () => void;
}

export interface SshTarget {
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
}

/** An open connection on whose other end SSH has answered. It is used for one login, or closed. */
export interface SshLine {
  close(): void;
}

export interface Ssh {
  /** Opens a connection and waits for the banner of something that speaks SSH (RFC 4253, 4.2). @returns undefined when none comes within `timeoutMs`. */
  knock(host: string, port: number, timeoutMs: number, signal?: AbortSignal): Promise<SshLine | undefined>;
  /**
   * One authenticated connection; over `line`, which is used up whatever comes of it, where one is there.
   * @throws when it cannot be made within `timeoutMs`.
   */
  connect(
    target: SshTarget,
    options: {timeoutMs: number; signal?: AbortSignal; line?: SshLine | undefined},
  ): Promise<InteractiveSession>;
}

/** A child process that this process owns. */
export interface Child {
  readonly pid: number;
  /** Clock ticks since boot at which it started (/proc/PID/stat, field 22): with the pid, its identity. */
  readonly startTicks: string;
  /** Resolves when it has ended; never rejects. */
  readonly exited: Promise<Exit>;
  hasExited(): boolean;
  /** The last lines of its standard error. */
  stderrTail(): string;
  /** Where it shows memory (memfd_create(2)) of exactly this size while it lives (proc(5), /proc/PID/fd); undefined where it does not. */
  sharedMemoryPath(sizeBytes: number): Promise<string | undefined>;
  /** SIGTERM, and SIGKILL after `graceMs`; resolves when it has ended. */
  stop(graceMs: number): Promise<void>;
  /** Lets go of it: this process no longer waits for it. */
  release(): void;
}

export interface CommandLine {
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A new file for its standard output. */
  readonly stdoutPath?: string;
}

export interface Processes {
  /** Path of a program on PATH (or of a path that is executable); undefined when there is none. */
  find(program: string): Promise<string | undefined>;
  /** Starts a long-lived child that ends when this process ends, where the system can promise that. */
  start(command: CommandLine): Promise<Child>;
  /** Starts a child that goes on when this process ends; somebody has to know of it. */
  startDetached(command: CommandLine): Promise<Child>;
  /** Runs a short command. @throws when it cannot be started. */
  output(command: CommandLine, options?: {timeoutMs?: number; signal?: AbortSignal}): Promise<Output>;
}

export interface Files {
  /** A new folder, mode 0700, with a path short enough for a unix socket in it (108 bytes, unix(7)). */
  makeTempDir(): Promise<string>;
  remove(path: string): Promise<void>;
  /** A new file, mode 0600. @throws when it exists. */
  write(path: string, bytes: Buffer | string): Promise<void>;
  /** The same, from its parts one after another. */
  writeChunks(path: string, chunks: AsyncIterable<Buffer>): Promise<void>;
  /** A new folder, mode 0700. @throws when it exists. */
  makeDir(path: string): Promise<void>;
  /** Copies a file's bytes; holes and blocks of zeros take no room in the copy. */
  copySparse(path: string, dest: string): Promise<void>;
  /**
   * What tells a file's very bytes from those of any other file and time, without reading them: device, inode, size, times of change (inode(7): ctime
   * cannot be set).
   */
  identity(path: string): Promise<string>;
  /** Bytes that a file, or all files of a folder, take on the disk. */
  allocatedBytes(path: string): Promise<number>;
  exists(path: string): Promise<boolean>;
  /** Size in bytes; undefined when there is no such file. */
  size(path: string): Promise<number | undefined>;
  kind(path: string): Promise<'file' | 'directory' | 'other' | undefined>;
  readText(path: string): Promise<string>;
  /** Makes the file, or gives it this content. */
  writeText(path: string, text: string): Promise<void>;
  openRead(path: string): Readable;
  /** Up to `lengthBytes` from `offsetBytes`; shorter at the file's end. */
  readRange(path: string, offsetBytes: number, lengthBytes: number): Promise<Buffer>;
  /** The last `maxBytes` of a file as text; empty when it does not exist. */
  readTail(path: string, maxBytes: number): Promise<string>;
  /** Free bytes for this user on the file system that holds `path`, or will hold it once it exists. */
  freeBytes(path: string): Promise<number>;
}

/** One layer of a container image, as the blob it is stored as. */
export interface LayerBlob {
  open(): Promise<Readable>;
  /** `sha256:…` of the bytes that `open` gives, when the image's form names it. */
  readonly digest?: string;
  /** The stream fails by itself when its bytes are not those of `digest`. */
  readonly verified?: boolean;
  /** `sha256:…` of the uncompressed tar (OCI image config, `rootfs.diff_ids`). */
  readonly diffId: string;
  /** Of the blob, when the image's form says so. */
  readonly sizeBytes?: number;
}

/** Where the parts of a container image are read from. */
export interface ImageFile {
  readJson(name: string): Promise<unknown>;
  open(name: string): Promise<Readable>;
}

export interface Images {
  openLayout(dir: string): ImageFile;
  openDockerArchive(path: string): ImageFile;
  /**
   * Reads a layer once, checks its digests and writes the entry `path` to `dest` (complete and verified, or not at all).
   * @returns `deleted` when the layer has a whiteout for it (OCI image spec, "layer.md", Whiteouts).
   */
  extractFile(
    layer: LayerBlob,
    path: string,
    dest: string,
    signal: AbortSignal,
  ): Promise<'extracted' | 'deleted' | 'absent'>;
  /**
   * Reads a layer once, checks its digests and writes its uncompressed tar to `dest` (complete and verified, or not at all).
   * @returns its size in bytes.
   */
  writeTar(layer: LayerBlob, dest: string, signal: AbortSignal): Promise<number>;
  /** Unpacks layers over each other into a new folder that is there complete or not at all; nothing is written outside it. */
  unpack(
    layers: readonly LayerBlob[],
    dest: string,
    options: {/** An entry to leave out. */ skip: string; signal: AbortSignal},
  ): Promise<void>;
}

/** The virtio-serial port of the command agent. */
export const AGENT_PORT_NAME = 'org.buildkit-archive.agent';

/** A session over the command agent in the machine: no handshake, so the first command is quick. */
export interface AgentSession extends Session {
  /** Sets the machine's clock to this one's and stirs fresh random bytes into its pool. */
  wake(): Promise<void>;
}

export interface Agents {
  /** Names the agent's very program: one that was frozen speaks the language of its day. */
  readonly version: string;
  /**
   * Starts the agent in a machine, to outlive this session.
   * @returns why it cannot run there; undefined when it does.
   */
  install(session: Session, signal: AbortSignal): Promise<string | undefined>;
  /** Does for a machine without agent what `AgentSession.wake` does. @throws when its clock cannot be set. */
  wake(session: Session, signal: AbortSignal): Promise<void>;
  /** @throws when no agent answers within `timeoutMs`. */
  connect(socketPath: string, options: {timeoutMs: number; signal: AbortSignal}): Promise<AgentSession>;
}

/** A unix socket of this machine that leads to one in a VM. Disposing it ends its connections. */
export interface Forward extends AsyncDisposable {
  readonly socketPath: string;
  /** `relay`: plain TCP that the VM opens to this machine; `ssh`: through the SSH connection. */
  readonly way: 'relay' | 'ssh';
  /** Aborted when the way into the machine is lost. */
  readonly lost: AbortSignal;
}

export interface Forwards {
  /** @throws when there is no way; CanceledError. */
  open(session: Session, options: ForwardOptions): Promise<Forward>;
}

export interface ForwardOptions {
  /** A new socket, in a folder that no other user can enter. */
  readonly socketPath: string;
  readonly guestPath: string;
  /** An SSH session, where the machine cannot open a connection itself. */
  readonly login: (signal: AbortSignal) => Promise<InteractiveSession>;
  readonly signal: AbortSignal;
}

/** Lends a machine's BuildKit to others once the build is over. */
export interface Lender {
  /** True when the machine outlives this process, and is somebody else's to end. */
  readonly outlives: boolean;
  /**
   * Opens a forward for others and says so; unless it outlives this process, it returns when they need it no longer.
   * @throws when there is no way; CanceledError.
   */
  lend(session: Session, options: LendOptions): Promise<void>;
}

export interface LendOptions extends ForwardOptions {
  readonly onOpen: () => void;
  /** Told of a process that outlives this one as soon as it is there. */
  readonly onProcess: (process: {
    readonly pid: number;
    readonly startTicks: string;
    readonly name: string;
  }) => void;
}

export interface Sockets {
  connectUnix(path: string): Promise<Duplex>;
  /** True when something on this machine's loopback accepts connections at a TCP port. */
  accepts(port: number, timeoutMs: number): Promise<boolean>;
}

export interface Clock {
  /** Milliseconds of a clock that never goes back. */
  nowMs(): number;
  /** Resolves after `ms`; rejects with `CanceledError` when `signal` is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}
