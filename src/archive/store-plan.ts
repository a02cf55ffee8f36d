import {type StoredEntry, type StoreKey, type StoreKind, sizeOf} from '../base/store.ts';

/** What an entry on the disk is worth. */
export type Trust =
  | {readonly kind: 'whole'}
  /** Nothing speaks against it, but its bytes have to be read before it is used. */
  | {readonly kind: 'unsure'; readonly why: string}
  | {readonly kind: 'damaged'; readonly why: string}
  | {readonly kind: 'absent'};

/** Compares an entry with its record; looks at metadata only. */
export function judge(entry: StoredEntry | undefined, bootId: string): Trust {
  if (!entry?.content) return {kind: 'absent'};
  const {content, record} = entry;
  // Without a record nobody finished it: a process was killed, or another program put it there.
  if (!record) return {kind: 'absent'};
  if (record.digest !== entry.key.digest) return {kind: 'damaged', why: `its record is of ${record.digest}`};
  if (isFile(entry) && content.sizeBytes !== record.sizeBytes) {
    return {kind: 'damaged', why: `it has ${content.sizeBytes} bytes instead of ${record.sizeBytes}`};
  }
  // Gigabytes that are meant to be read only as they are touched: what would have to be read whole is made anew.
  if (entry.key.kind === 'snapshots' && bootId !== record.bootId)
    return {kind: 'damaged', why: 'the machine was started anew'};
  if (content.modifiedMs !== record.modifiedMs) return {kind: 'unsure', why: 'it was touched'};
  if (bootId !== record.bootId) return {kind: 'unsure', why: 'the machine was started anew'};
  return {kind: 'whole'};
}

const FOLDER_KINDS: readonly StoreKind[] = ['binaries', 'rootfs', 'snapshots'];

function isFile({key}: StoredEntry): boolean {
  return !FOLDER_KINDS.includes(key.kind);
}

export interface EvictionOptions {
  readonly maxBytes: number;
  /** Entries that are not used for longer than this go even when there is room. */
  readonly maxIdleMs?: number;
  readonly nowMs: number;
}

/** Which entries have to go, least recently used first, so that the rest fits into `maxBytes`. */
export function evictions(entries: readonly StoredEntry[], options: EvictionOptions): readonly StoreKey[] {
  const byAge = [...entries].sort((a, b) => a.lastUsedMs - b.lastUsedMs);
  let totalBytes = entries.reduce((sum, entry) => sum + sizeOf(entry), 0);
  const out: StoreKey[] = [];
  for (const entry of byAge) {
    const isIdle = options.maxIdleMs !== undefined && options.nowMs - entry.lastUsedMs > options.maxIdleMs;
    if (totalBytes <= options.maxBytes && !isIdle) continue;
    out.push(entry.key);
    totalBytes -= sizeOf(entry);
  }
  return out;
}
