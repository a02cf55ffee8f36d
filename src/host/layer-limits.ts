import {statfs} from 'node:fs/promises';
import {UserError} from '../base/errors.ts';

const GIB = 1024 ** 3;

/** What a layer may grow to. Real ones grow five times; deflate can reach 1030 times, zstd far more. */
export interface LayerLimits {
  /** Bytes that any layer may unpack to. */
  readonly allowanceBytes: number;
  /** And how many more for each compressed byte. */
  readonly ratio: number;
  readonly maxBytes: number;
}

export const LAYER_LIMITS: LayerLimits = {allowanceBytes: GIB, ratio: 100, maxBytes: 64 * GIB};

/** @throws UserError when a layer unpacks to more than it may: a decompression bomb, or something that is no archive. */
export function checkGrowth(unpackedBytes: number, packedBytes: number, limits: LayerLimits): void {
  const allowedBytes = Math.min(limits.maxBytes, limits.allowanceBytes + limits.ratio * packedBytes);
  if (unpackedBytes <= allowedBytes) return;
  throw new UserError(
    `a layer of the image unpacks to more than ${inMib(allowedBytes)} from ${inMib(packedBytes)}; allowed are ${inMib(limits.allowanceBytes)} and ${limits.ratio} times its size, at most ${inMib(limits.maxBytes)}`,
    {input: 'archive', stage: 'archive', hint: 'do not use this image: it would fill the disk'},
  );
}

/** How much may be written to one file system, so that unpacking leaves some room for everything else on the machine. */
export class DiskBudget {
  readonly #dir: string;
  readonly #budgetBytes: number;
  #takenBytes = 0;

  constructor(dir: string, budgetBytes: number) {
    this.#dir = dir;
    this.#budgetBytes = budgetBytes;
  }

  /** What is free at `dir` now, less a twentieth of it, at most 256 MiB. */
  static async of(dir: string): Promise<DiskBudget> {
    const {bavail, bsize} = await statfs(dir);
    const freeBytes = bavail * bsize;
    return new DiskBudget(dir, freeBytes - Math.min(256 * 1024 ** 2, freeBytes / 20));
  }

  /** @throws UserError when these bytes would use up the disk. */
  take(bytes: number): void {
    this.#takenBytes += bytes;
    if (this.#takenBytes <= this.#budgetBytes) return;
    throw new UserError(
      `no space left for the archive: more than ${inMib(this.#budgetBytes)} at ${this.#dir} would be used up`,
      {
        stage: 'archive',
        hint: 'free some GiB there, or set the variable BUILDKIT_ARCHIVE_STORE to a folder with space',
      },
    );
  }
}

function inMib(bytes: number): string {
  return `${Math.ceil(bytes / 1024 ** 2)} MiB`;
}
