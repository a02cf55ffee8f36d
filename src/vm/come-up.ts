import type {Emit} from '../base/events.ts';
import type {Child, Clock, InteractiveSession} from '../base/ports.ts';
import {type Attempt, attemptPatienceMs, describeFailure, nextAttempt} from './attempts.ts';
import {CONSOLE_TAIL_BYTES, deathSignal} from './death.ts';
import {type Lesson, learn, type Turn} from './lesson.ts';
import {login} from './login.ts';
import type {VmPlan, VmPorts} from './machine.ts';
import type {Accelerator} from './qemu-args.ts';
import {type BootFailure, bootError, watchBoot} from './watch.ts';

/** A boot that did not lead to a machine. */
export interface FailedBoot {
  readonly failure: BootFailure;
  readonly consoleTail: string;
}

/** A machine that was started, whoever started it. */
export interface Started {
  /** It ends when the machine ends. */
  readonly child: Child;
  readonly sshPort: number;
  readonly consolePath: string;
}

/**
 * Tries to boot, and what fails for a known reason once more in another way.
 * @param onLearnt is told what the next boot of the same disk can do without.
 * @throws UserError with the console's tail when no way is left.
 */
export async function bootInTurns<T extends object>(
  {emit, clock}: {readonly emit: Emit; readonly clock: Pick<Clock, 'nowMs'>},
  plan: Pick<VmPlan, 'accelerator' | 'bootTimeoutMs'>,
  first: Attempt,
  tryBoot: (attempt: Attempt) => Promise<T | FailedBoot>,
  onLearnt: (lessons: readonly Lesson[]) => Promise<void> = async () => undefined,
): Promise<T> {
  let attempt = first;
  let turns: readonly Turn[] = [];
  while (true) {
    const startedMs = clock.nowMs();
    const tried = await tryBoot(attempt);
    if (!('failure' in tried)) {
      const lessons = learn(plan, turns, {bootMs: clock.nowMs() - startedMs});
      if (lessons.length > 0) await onLearnt(lessons);
      return tried;
    }
    const next = nextAttempt(plan, attempt, tried.failure);
    if (!next) throw bootError(tried.failure, tried.consoleTail, plan.bootTimeoutMs);
    emit({kind: 'warning', message: next.warning});
    const description = describeFailure(attempt, tried.failure);
    turns = [...turns, {failed: attempt, failure: tried.failure, next: next.attempt, description}];
    attempt = next.attempt;
  }
}

/** Waits until a machine can be logged into, and logs in. @throws UserError when sshd answers and does not let us in. */
export async function comeUp(
  ports: VmPorts,
  plan: VmPlan,
  attempt: Attempt,
  {child, sshPort, consolePath}: Started,
  signal: AbortSignal,
): Promise<{readonly session: InteractiveSession; readonly died: AbortSignal} | FailedBoot> {
  const answer = await watchBoot(ports, {
    child,
    port: sshPort,
    consolePath,
    bootTimeoutMs: plan.bootTimeoutMs,
    patienceMs: attemptPatienceMs(plan, attempt),
    silenceLimitMs:
      plan.accelerator === 'auto' && attempt.accelerator === 'kvm' ? plan.kvmPatienceMs : undefined,
    onConsole: progress(ports.emit, attempt.accelerator),
    signal,
  });
  if ('kind' in answer)
    return {failure: answer, consoleTail: await ports.files.readTail(consolePath, CONSOLE_TAIL_BYTES)};
  const died = deathSignal(ports, child, consolePath);
  return {session: await login(ports, plan, sshPort, AbortSignal.any([signal, died]), answer), died};
}

function progress(emit: Emit, accelerator: Accelerator): (sizeBytes: number, elapsedMs: number) => void {
  return (sizeBytes, elapsedMs) =>
    emit({
      kind: 'progress',
      stage: 'vm',
      text: `booting under ${accelerator.toUpperCase()}: ${Math.round(elapsedMs / 1000)} s, console ${sizeBytes} bytes`,
    });
}
