import {UserError} from '../base/errors.ts';
import {
  type Checked,
  DEFAULT_STORE_BYTES,
  type StoredEntry,
  type StoreKind,
  type StoreUpkeep,
  sizeOf,
} from '../base/store.ts';
import {storeDir} from '../host/place.ts';
import {parseMemoryMib, parseSeconds} from '../plan/values.ts';
import {EXIT} from './help.ts';
import {readOptions} from './options.ts';

const MIB = 1024 ** 2;
const KIND_NAMES: Readonly<Record<StoreKind, string>> = {
  binaries: 'BuildKit',
  disks: 'disk',
  documents: 'manifest',
  layers: 'layer',
  notes: 'note',
  rootfs: 'rootfs',
  snapshots: 'snapshot',
};
const USAGE =
  'buildkit-archive cache list|prune|verify [--store DIR] [--json] [--max-size SIZE] [--unused-for TIME]';

/**
 * `cache list|prune|verify`: what the store on this machine holds.
 * @param openStore opens the store in a folder.
 * @returns `EXIT.ok`; `EXIT.infrastructure` when `verify` found something damaged.
 * @throws UserError for bad usage.
 */
export async function cacheCommand(
  argv: readonly string[],
  openStore: (dir: string) => StoreUpkeep,
  signal?: AbortSignal,
): Promise<number> {
  const {command, options} = readCacheArgs(argv);
  const dir = options.store ?? storeDir(process.env);
  const store = openStore(dir);
  const print = (json: unknown, text: string): void =>
    void process.stdout.write(options.json ? `${JSON.stringify(json, null, 2)}\n` : text);
  switch (command) {
    case 'list': {
      const entries = newestFirst(await store.entries());
      print(entries.map(described), listText(dir, entries, Date.now()));
      return EXIT.ok;
    }
    case 'prune': {
      const removed = await store.prune({
        maxBytes: options.maxBytes ?? DEFAULT_STORE_BYTES,
        ...(options.unusedForMs !== undefined && {maxIdleMs: options.unusedForMs}),
      });
      print(removed.map(described), pruneText(removed, await store.entries()));
      return EXIT.ok;
    }
    case 'verify': {
      const checked = await store.verify(signal);
      print(
        checked.map(({entry, state, why, removed}) => ({...described(entry), state, why, removed})),
        verifyText(checked),
      );
      return checked.every(({state}) => state === 'ok') ? EXIT.ok : EXIT.infrastructure;
    }
  }
}

interface CacheArgs {
  readonly command: 'list' | 'prune' | 'verify';
  readonly options: {store?: string; json: boolean; maxBytes?: number; unusedForMs?: number};
}

function readCacheArgs(argv: readonly string[]): CacheArgs {
  const options = {
    store: {type: 'string'},
    json: {type: 'boolean'},
    'max-size': {type: 'string'},
    'unused-for': {type: 'string'},
  } as const;
  const {values, positionals} = readOptions({args: [...argv], options, allowPositionals: true}, USAGE);
  const [command, ...rest] = positionals;
  if ((command !== 'list' && command !== 'prune' && command !== 'verify') || rest.length > 0) {
    const given = positionals.length === 0 ? 'nothing' : JSON.stringify(positionals.join(' '));
    throw new UserError(`cache: ${given} is not allowed; allowed: list, prune, verify`, {
      stage: 'inputs',
      hint: USAGE,
    });
  }
  for (const name of ['max-size', 'unused-for'] as const) {
    if (values[name] !== undefined && command !== 'prune') {
      throw new UserError(`cache ${command}: --${name} is for prune`, {
        input: name,
        stage: 'inputs',
        hint: USAGE,
      });
    }
  }
  const maxSize = values['max-size'];
  const unusedFor = values['unused-for'];
  return {
    command,
    options: {
      json: values.json === true,
      ...(typeof values.store === 'string' && {store: values.store}),
      ...(maxSize !== undefined && {
        maxBytes: parseMemoryMib('max-size', maxSize, {min: 0, max: 99_999_999}) * MIB,
      }),
      ...(unusedFor !== undefined && {
        unusedForMs: parseSeconds('unused-for', unusedFor, {min: 0, max: 999_999 * 3600}) * 1000,
      }),
    },
  };
}

function newestFirst(entries: readonly StoredEntry[]): readonly StoredEntry[] {
  return [...entries].sort((a, b) => b.lastUsedMs - a.lastUsedMs);
}

function described(entry: StoredEntry): Record<string, unknown> {
  return {
    kind: entry.key.kind,
    digest: entry.key.digest,
    path: entry.path,
    label: entry.record?.label,
    sizeBytes: sizeOf(entry),
    lastUsed: new Date(entry.lastUsedMs).toISOString(),
    complete: entry.record !== undefined && entry.content !== undefined,
  };
}

function listText(dir: string, entries: readonly StoredEntry[], nowMs: number): string {
  const rows = entries.map(entry => [
    KIND_NAMES[entry.key.kind],
    short(entry),
    mib(sizeOf(entry)),
    `used ${ago(nowMs - entry.lastUsedMs)}`,
    entry.record && entry.content ? (entry.record.label ?? '') : 'not complete',
  ]);
  return `${table(rows)}${counted(entries)} in ${dir}\n`;
}

function pruneText(removed: readonly StoredEntry[], left: readonly StoredEntry[]): string {
  return `removed ${counted(removed)}; ${counted(left)} left\n`;
}

function verifyText(checked: readonly Checked[]): string {
  const rows = checked.map(({entry, state, why, removed}) => [
    state,
    KIND_NAMES[entry.key.kind],
    short(entry),
    why === undefined ? '' : `${why}${removed ? '; removed' : '; in use, so it stays'}`,
  ]);
  const bad = checked.filter(({state}) => state !== 'ok').length;
  return `${table(rows)}${counted(checked.map(({entry}) => entry))}, ${bad} not whole\n`;
}

function counted(entries: readonly StoredEntry[]): string {
  const sizeBytes = entries.reduce((sum, entry) => sum + sizeOf(entry), 0);
  return `${entries.length} ${entries.length === 1 ? 'entry' : 'entries'}, ${mib(sizeBytes)}`;
}

function short(entry: StoredEntry): string {
  return entry.key.digest.replace(/^(sha256:.{12}).*$/, '$1');
}

function mib(sizeBytes: number): string {
  return `${(sizeBytes / MIB).toFixed(1)} MiB`;
}

function ago(ms: number): string {
  const minutes = Math.max(0, Math.floor(ms / 60_000));
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ago`;
  return `${Math.floor(minutes / (24 * 60))} days ago`;
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0)));
  return rows
    .map(
      row =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}
