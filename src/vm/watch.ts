import {UserError} from '../base/errors.ts';
import type {Child, Clock, Files, Ssh, SshLine} from '../base/ports.ts';
import {Door} from './door.ts';

/** Why a machine did not come up. */
export type BootFailure =
  | {readonly kind: 'died'; readonly detail: string}
  | {readonly kind: 'silent'; readonly seconds: number}
  /** The console says that the boot cannot go on. */
  | {readonly kind: 'stuck'; readonly line: string}
  /** `isTalking`: the console went on to the end, so the guest is slow and not stuck. */
  | {readonly kind: 'deadline'; readonly seconds: number; readonly isTalking: boolean};

export interface WatchOptions {
  readonly child: Child;
  readonly port: number;
  readonly consolePath: string;
  readonly bootTimeoutMs: number;
  /** From then on the wait also ends when the console has had nothing new for a while. */
  readonly patienceMs: number;
  /** Longest time without a new byte on the console and without a banner; undefined to wait till the deadline. */
  readonly silenceLimitMs: number | undefined;
  readonly onConsole?: (sizeBytes: number, elapsedMs: number) => void;
  readonly signal: AbortSignal;
}

const POLL_INTERVAL_MS = 100;
/** A guest that boots says something in this time, even an emulated one on a busy machine. */
const TALKING_MS = 20_000;

/**
 * Waits until sshd answers: a race of the probe, the deadline, the console's silence and QEMU's death. The forwarded port accepts connections
 * from the start (libslirp does), so only sshd's banner counts.
 * @returns the connection on which sshd answered, which is the caller's now; or what ended the wait.
 */
export async function watchBoot(
  ports: {clock: Clock; files: Files; ssh: Ssh},
  options: WatchOptions,
): Promise<SshLine | BootFailure> {
  const startedMs = ports.clock.nowMs();
  let consoleBytes = 0;
  let lastSignMs = startedMs;
  const died = options.child.exited.then(() => 'died' as const);
  using door = new Door(ports.ssh, options.port);
  while (true) {
    door.knock(ports.clock.nowMs());
    const tick = ports.clock.sleep(POLL_INTERVAL_MS, options.signal);
    const outcome = await Promise.race([died, door.answered, tick]);
    if (outcome === 'died') return {kind: 'died', detail: options.child.stderrTail()};
    const line = door.take();
    if (line) return line;
    const nowMs = ports.clock.nowMs();
    const sizeBytes = (await ports.files.size(options.consolePath)) ?? 0;
    if (sizeBytes !== consoleBytes) {
      consoleBytes = sizeBytes;
      lastSignMs = nowMs;
      const stuck = stuckLine(await ports.files.readTail(options.consolePath, STUCK_TAIL_BYTES));
      if (stuck !== undefined) return {kind: 'stuck', line: stuck};
    }
    options.onConsole?.(sizeBytes, nowMs - startedMs);
    if (options.silenceLimitMs !== undefined && nowMs - lastSignMs > options.silenceLimitMs) {
      return {kind: 'silent', seconds: Math.round((nowMs - lastSignMs) / 1000)};
    }
    const elapsedMs = nowMs - startedMs;
    const isTalking = nowMs - lastSignMs < TALKING_MS;
    if (elapsedMs > options.bootTimeoutMs || (elapsedMs > options.patienceMs && !isTalking)) {
      return {kind: 'deadline', seconds: Math.round(elapsedMs / 1000), isTalking};
    }
  }
}

/** A panic of many CPUs prints their stacks behind the line that matters. */
const STUCK_TAIL_BYTES = 16 * 1024;

/**
 * What is said by one that waits for a person from then on, or has ended. A boot loader's or initramfs's mere error is none of these: many go on after it.
 */
const STUCK_LINES: readonly string[] = [
  // Linux
  'Kernel panic - not syncing.*',
  // initramfs-tools without the root file system; its shell after any other trouble
  'Gave up waiting for root (?:file system )?device.*',
  'ALERT!.*does not exist.*',
  '(?<=^|[\\r\\n])\\(initramfs\\) ',
  // dracut
  'dracut-initqueue.*timeout.*',
  'Entering emergency mode\\. Exit the shell to continue.*',
  // mkinitfs (Alpine)
  'initramfs emergency recovery shell launched.*',
  // systemd, in the words of each of its ages, and sulogin
  '(?:You are in|Welcome to) (?:emergency|rescue) mode.*',
  'Cannot open access to console, the root account is locked.*',
  '(?:Give root password|Press Enter) for (?:system )?maintenance.*',
  // SeaBIOS and GRUB
  'No bootable device.*',
  'grub rescue>.*',
  'Minimal BASH-like line editing is supported.*',
  'error: you need to load the kernel first.*',
];
const STUCK = new RegExp(STUCK_LINES.join('|'), 'i');

/** What a console's tail says when the boot cannot go on by itself. */
export function stuckLine(consoleTail: string): string | undefined {
  return STUCK.exec(consoleTail)?.[0].trim();
}

/** The failure as the user reads it, with the console's tail. */
export function bootError(failure: BootFailure, consoleTail: string, bootTimeoutMs: number): UserError {
  const tail = consoleTail.trim();
  const console =
    tail === ''
      ? 'The serial console is empty.'
      : `The serial console's last lines:\n${tail.split('\n').slice(-CONSOLE_TAIL_LINES).join('\n')}`;
  switch (failure.kind) {
    case 'died':
      return new UserError(
        `QEMU ended before the VM was up: ${failure.detail || 'it said nothing'}\n${console}`,
        {
          stage: 'vm',
          hint: 'see QEMU\'s message above; with little memory, lower the input "memory"',
        },
      );
    case 'stuck':
      return new UserError(`the VM cannot boot: ${failure.line}\n${console}`, {
        stage: 'vm',
        hint: 'is this disk a BuildKit archive that boots in plain QEMU? Get it again when it may be damaged',
      });
    case 'silent':
      return new UserError(
        `the VM shows no sign of life: nothing new on the console for ${failure.seconds} s and no SSH banner\n${console}`,
        {stage: 'vm', hint: 'set accelerator: tcg; nested virtualisation on this machine may not work'},
      );
    case 'deadline':
      return new UserError(`the VM did not come up within ${failure.seconds} s (boot-timeout)\n${console}`, {
        input: 'boot-timeout',
        stage: 'vm',
        hint: `raise boot-timeout (now ${Math.round(bootTimeoutMs / 1000)} seconds); without KVM a boot takes minutes on a busy machine`,
      });
  }
}

const CONSOLE_TAIL_LINES = 25;
