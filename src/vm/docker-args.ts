import {UserError} from '../base/errors.ts';
import type {DebugForward} from './qemu-args.ts';

/** The label of all our containers, for people: `docker ps --filter label=buildkit-archive`. */
export const CONTAINER_LABEL = 'buildkit-archive';

/** What the published starter gives its VM. */
export const PUBLISHED_CPUS = 2;
export const PUBLISHED_MEMORY_MIB = 2048;

export interface ContainerSpec {
  readonly name: string;
  readonly image: string;
  /** Hands /dev/kvm in, and with it the starter uses KVM. */
  readonly kvm: boolean;
  readonly debug?: DebugForward | undefined;
  /** The container's command; none for the image's own. */
  readonly command: readonly string[];
}

/**
 * `docker run` as the publishers document it: the unmodified image with its own start, /dev/kvm where there is one, the guest's SSH published; here on
 * loopback and on a port that docker chooses. `QEMU_HOSTFWD` is what the starter reads for more forwards.
 */
export function dockerRunArgs({name, image, kvm, debug, command}: ContainerSpec): readonly string[] {
  return [
    'run',
    '--rm',
    ...['--name', name, '--label', CONTAINER_LABEL],
    // What is run is what was verified: docker asks no registry.
    ...['--pull', 'never'],
    ...['--publish', '127.0.0.1::22'],
    ...(debug
      ? [
          ...['--publish', `127.0.0.1:${debug.hostPort || ''}:${debug.guestPort}`],
          ...['--env', `QEMU_HOSTFWD=hostfwd=tcp::${debug.guestPort}-:${debug.guestPort}`],
        ]
      : []),
    ...(kvm ? ['--device', '/dev/kvm'] : []),
    image,
    ...command,
  ];
}

/** How an image starts by itself. */
export interface ImageStart {
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
}

/** From an image's config (OCI image spec, "config.md", `config.Entrypoint` and `config.Cmd`). @throws UserError when it is no config. */
export function imageStart(configText: string): ImageStart {
  try {
    const {config} = JSON.parse(configText) as {
      config?: {Entrypoint?: readonly string[] | null; Cmd?: readonly string[] | null};
    };
    return {entrypoint: config?.Entrypoint ?? [], command: config?.Cmd ?? []};
  } catch (cause) {
    throw new UserError("the image's config cannot be read", {
      input: 'archive',
      stage: 'archive',
      cause,
      hint: 'get the image again',
    });
  }
}

export interface StartChoice {
  /** What to run instead of the image's own command; empty for that. */
  readonly command: readonly string[];
  readonly cpus: number;
  readonly memoryMib: number;
  /** What cannot be honoured. */
  readonly warning?: string;
}

/**
 * The machine's size in terms of the starter: it takes no variable for it, but hands its arguments to QEMU behind its own, where the last one of a kind
 * counts. Without a wish nothing is added, so that the image starts as published.
 */
export function chooseStart(start: ImageStart, wish: {cpus: number; memoryMib: number}): StartChoice {
  const extra = [
    ...(wish.cpus === PUBLISHED_CPUS ? [] : ['-smp', String(wish.cpus)]),
    ...(wish.memoryMib === PUBLISHED_MEMORY_MIB ? [] : ['-m', `${wish.memoryMib}M`]),
  ];
  const published = {command: [], cpus: PUBLISHED_CPUS, memoryMib: PUBLISHED_MEMORY_MIB};
  if (extra.length === 0) return published;
  const program = [...start.entrypoint, ...start.command][0] ?? '';
  if (program.split('/').at(-1) === 'start.sh') return {...wish, command: [...start.command, ...extra]};
  return {
    ...published,
    warning: `launcher: docker cannot honour cpus: ${wish.cpus} and memory: ${wish.memoryMib}M: the image starts with ${JSON.stringify(program)}, not with the published /start.sh`,
  };
}

/** The host port of `22/tcp -> 127.0.0.1:49153`, a line of `docker port`. */
export function publishedPort(text: string, guestPort: number): number | undefined {
  for (const line of text.split(/\r?\n/)) {
    const match = /^(\d+)\/tcp -> 127\.0\.0\.1:(\d+)$/.exec(line.trim());
    if (match && Number(match[1]) === guestPort) return Number(match[2]);
  }
  return undefined;
}

/**
 * Whether an engine's address is on this machine, where the ports that it publishes on loopback can be reached: `unix://…`, `npipe://…`, or TCP to
 * loopback.
 */
export function isLocalEngine(address: string): boolean {
  return /^(?:unix|npipe|fd):|^(?:tcp|http|https):\/\/(?:localhost|127(?:\.\d+){3}|\[::1\])(?::|\/|$)/.test(
    address,
  );
}
