import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import type {PullProgress} from '../../src/archive/registry/blob.ts';
import type {TransferPolicy} from '../../src/archive/registry/policy.ts';
import {withRegistryImage} from '../../src/archive/registry/sources.ts';
import {UserError} from '../../src/base/errors.ts';
import type {Credentials} from '../../src/base/http.ts';
import type {Clock} from '../../src/base/ports.ts';
import {systemClock} from '../../src/host/clock.ts';
import {localImages} from '../../src/host/images.ts';
import {localRegistryTools} from '../../src/host/registry.ts';
import {parseReference} from '../../src/plan/reference.ts';

export const noCredentials: Credentials = {find: async () => undefined};

/** Quick enough for a test, slow enough for a busy machine. */
export const QUICK: Partial<TransferPolicy> = {
  firstDelayMs: 4,
  maxDelayMs: 20,
  stallMs: 250,
  stallBytes: 64,
  answerTimeoutMs: 1_000,
};

export interface PullResult {
  readonly disk: Buffer;
  readonly digest: string;
  readonly reference: string;
}

export interface Puller {
  readonly dir: string;
  readonly warnings: string[];
  readonly progress: PullProgress[];
  /** How long the clock was asked to sleep, when it is not the system's. */
  readonly sleptMs: number[];
  pull(references: string | readonly string[], options?: PullTestOptions): Promise<PullResult>;
  remove(): void;
}

export interface PullTestOptions {
  readonly credentials?: Credentials;
  readonly policy?: Partial<TransferPolicy>;
  readonly signal?: AbortSignal;
  readonly dest?: string;
  /** Sleeps take no time and are written down; nothing stalls. */
  readonly isClockFree?: boolean;
}

/** Takes `/vm.qcow2` out of an image in a registry, as the job does. */
export function createPuller(): Puller {
  const dir = mkdtempSync(join(tmpdir(), 'pull-test-'));
  const warnings: string[] = [];
  const progress: PullProgress[] = [];
  const sleptMs: number[] = [];
  const freeClock: Clock = {
    nowMs: systemClock.nowMs,
    async sleep(ms, signal) {
      // The watchdog's period passes at its own pace.
      if (ms === QUICK.stallMs) return systemClock.sleep(ms, signal);
      sleptMs.push(ms);
    },
  };
  return {
    dir,
    warnings,
    progress,
    sleptMs,
    remove: () => rmSync(dir, {recursive: true, force: true}),
    async pull(references, options = {}) {
      const {credentials = noCredentials, signal = new AbortController().signal} = options;
      const dest = options.dest ?? join(dir, `disk-${Math.random().toString(36).slice(2)}.qcow2`);
      const all = typeof references === 'string' ? [references] : references;
      return withRegistryImage(
        {
          clock: options.isClockFree ? freeClock : systemClock,
          registry: localRegistryTools(credentials),
        },
        all.map(text => parseReference(text, 'archive')),
        {
          signal,
          policy: {...QUICK, ...options.policy},
          warn: message => void warnings.push(message),
          onProgress: event => void progress.push(event),
        },
        async ({image, digest, reference}) => {
          for (const layer of [...image.layers].reverse()) {
            const found = await localImages.extractFile(layer, 'vm.qcow2', dest, signal);
            if (found === 'deleted') break;
            if (found === 'extracted') {
              return {disk: readFileSync(dest), digest, reference: reference.registry};
            }
          }
          throw new UserError('the image has no /vm.qcow2');
        },
      );
    },
  };
}

/** What a promise fails with. */
export async function failureOf(promise: Promise<unknown>): Promise<UserError> {
  try {
    await promise;
  } catch (error) {
    return error as UserError;
  }
  throw new Error('it did not fail');
}
