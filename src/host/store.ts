import {createHash, randomUUID} from 'node:crypto';
import type {Stats} from 'node:fs';
import {lstat, mkdir, readdir, readFile, rename, rm, utimes, writeFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {
  FRAME_SUFFIX,
  type Release,
  STORE_KINDS,
  type StoredEntry,
  type StoreFolder,
  type StoreKey,
  type StoreKind,
  type StoreRecord,
  type WaitOptions,
} from '../base/store.ts';
import {TEMP_DIR_PREFIX} from './files.ts';
import {acquireLock, isMarked, leaveMark, readBootId, sweepMark, tryLock} from './lock.ts';
import {removeTree} from './merge.ts';
import {measure} from './store-measure.ts';

/** What is being made; one folder an entry, which only the holder of its lock touches. */
const PARTIAL = '.partial-';
const TRASH = '.trash-';
/** Folders for what goes to the Actions cache or comes from it; their names are those that the clean-up takes for ours. */
export const STAGING_PREFIX = `.${TEMP_DIR_PREFIX}cache-`;
/** Folders of no known owner, of an older form of the store, are left alone for so long. */
const OLD_MS = 3_600_000;
const SUFFIX: Readonly<Record<StoreKind, string>> = {
  binaries: '',
  disks: '.qcow2',
  documents: '.documents',
  layers: '.tar',
  notes: '.note',
  rootfs: '',
  snapshots: '',
};

/**
 * The store's folder: `binaries/<hex>/`, `disks/<hex>.qcow2`, `documents/<hex>.documents`, `layers/<hex>.tar`, `notes/<hex>.note`, `rootfs/<hex>/` and `snapshots/<hex>/`, each with its record
 * `<hex>.json` beside it, whose modification time is the last use.
 * There is no index that could be torn: each entry stands for itself, and is there once its record is.
 */
export function openStoreFolder(dir: string): StoreFolder {
  return new LocalStoreFolder(dir);
}

class LocalStoreFolder implements StoreFolder {
  readonly dir: string;
  #bootId: Promise<string> | undefined;

  constructor(dir: string) {
    this.dir = dir;
  }

  bootId(): Promise<string> {
    this.#bootId ??= readBootId();
    return this.#bootId;
  }

  pathOf(key: StoreKey): string {
    return join(this.dir, key.kind, `${hex(key.digest)}${SUFFIX[key.kind]}`);
  }

  async read(key: StoreKey): Promise<StoredEntry | undefined> {
    const path = this.pathOf(key);
    const [content, record, recordStats] = await Promise.all([
      statsOf(path),
      readRecord(this.#recordPath(key)),
      statsOf(this.#recordPath(key)),
    ]);
    if (!content && !recordStats) return undefined;
    return {
      key,
      path,
      record,
      content: content && {sizeBytes: content.size, modifiedMs: content.mtimeMs},
      lastUsedMs: recordStats?.mtimeMs ?? content?.mtimeMs ?? 0,
    };
  }

  async list(): Promise<readonly StoredEntry[]> {
    const keys = await Promise.all(STORE_KINDS.map(kind => this.#keys(kind)));
    const entries = await Promise.all(keys.flat().map(key => this.read(key)));
    return entries.flatMap(entry => (entry ? [entry] : []));
  }

  measure(path: string, signal?: AbortSignal): Promise<{sizeBytes: number; contentDigest: string}> {
    return measure(path, signal);
  }

  async seal(path: string): Promise<string> {
    const hash = createHash('sha256');
    for (const name of (await readdir(path)).sort()) {
      const {ino, size, mtimeNs, ctimeNs} = await lstat(join(path, name), {bigint: true});
      hash.update(`${JSON.stringify(name)} ${ino} ${size} ${mtimeNs} ${ctimeNs}\n`);
    }
    return `sha256:${hash.digest('hex')}`;
  }

  async begin(key: StoreKey): Promise<string> {
    const partial = this.#partialPath(key);
    await removeTree(partial);
    await mkdir(partial, {recursive: true});
    return join(partial, `${hex(key.digest)}${SUFFIX[key.kind]}`);
  }

  async commit(key: StoreKey, madePath: string, record: Omit<StoreRecord, 'modifiedMs'>): Promise<void> {
    const path = this.pathOf(key);
    // The record goes first: content without a record is no entry.
    await rm(this.#recordPath(key), {force: true});
    await removeTree(path);
    await rename(`${madePath}${FRAME_SUFFIX}`, `${path}${FRAME_SUFFIX}`).catch(async error => {
      ignoreAbsent(error);
      await rm(`${path}${FRAME_SUFFIX}`, {force: true});
    });
    await rename(madePath, path);
    await this.writeRecord(key, {...record, modifiedMs: (await lstat(path)).mtimeMs});
  }

  async abandon(key: StoreKey): Promise<void> {
    await removeTree(this.#partialPath(key));
  }

  async writeRecord(key: StoreKey, record: StoreRecord): Promise<void> {
    const path = this.#recordPath(key);
    const temp = `${path}.${randomUUID()}`;
    try {
      await writeFile(temp, `${JSON.stringify(record, null, 2)}\n`);
      await rename(temp, path);
    } finally {
      await rm(temp, {force: true});
    }
  }

  async touch(key: StoreKey): Promise<void> {
    const now = new Date();
    await utimes(this.#recordPath(key), now, now).catch(() => undefined);
  }

  async remove(key: StoreKey, mayRemove: () => Promise<boolean> = async () => true): Promise<boolean> {
    const path = this.pathOf(key);
    const trash = join(dirname(path), `${TRASH}${randomUUID()}`);
    await mkdir(trash);
    await rename(path, join(trash, 'content')).catch(ignoreAbsent);
    if (!(await mayRemove())) {
      await rename(join(trash, 'content'), path).catch(ignoreAbsent);
      await removeTree(trash);
      return false;
    }
    await rm(this.#recordPath(key), {force: true});
    await rm(`${path}${FRAME_SUFFIX}`, {force: true});
    await removeTree(trash);
    return true;
  }

  lock(key: StoreKey, options?: WaitOptions): Promise<Release> {
    return acquireLock(this.#lockPath(key), options);
  }

  tryLock(key: StoreKey): Promise<Release | undefined> {
    return tryLock(this.#lockPath(key));
  }

  lease(key: StoreKey): Promise<Release> {
    return leaveMark(this.#leasePath(key));
  }

  isLeased(key: StoreKey): Promise<boolean> {
    return isMarked(this.#leasePath(key));
  }

  async sweep(): Promise<number> {
    let removed = 0;
    for (const kind of STORE_KINDS) {
      for (const name of await names(join(this.dir, kind))) {
        if (await this.#sweepOne(kind, name)) removed++;
      }
    }
    for (const name of await names(this.dir)) {
      const path = join(this.dir, name);
      if (!name.startsWith(STAGING_PREFIX) || !(await isOld(path))) continue;
      await removeTree(path);
      removed++;
    }
    for (const folder of ['locks', 'leases']) {
      for (const name of await names(join(this.dir, folder))) await sweepMark(join(this.dir, folder, name));
    }
    return removed;
  }

  async #sweepOne(kind: StoreKind, name: string): Promise<boolean> {
    const path = join(this.dir, kind, name);
    if (name.startsWith(PARTIAL) && isHex(name.slice(PARTIAL.length))) {
      const lock = await this.tryLock({kind, digest: digestOfHex(name.slice(PARTIAL.length))});
      if (!lock) return false;
      await removeTree(path);
      await lock.release();
      return true;
    }
    // A record that was being written, trash, and folders of an older form of the store.
    const isRest = name.startsWith(PARTIAL) || name.startsWith(TRASH) || /\.json\.[0-9a-f-]{36}$/.test(name);
    if (!isRest || !(await isOld(path))) return false;
    await removeTree(path);
    return true;
  }

  async #keys(kind: StoreKind): Promise<readonly StoreKey[]> {
    const found = (await names(join(this.dir, kind))).flatMap(name => {
      const stem = name.endsWith('.json')
        ? name.slice(0, -'.json'.length)
        : withoutSuffix(name, SUFFIX[kind]);
      return stem !== undefined && isHex(stem) ? [stem] : [];
    });
    return [...new Set(found)].sort().map(stem => ({kind, digest: digestOfHex(stem)}));
  }

  #recordPath(key: StoreKey): string {
    return join(this.dir, key.kind, `${hex(key.digest)}.json`);
  }

  #partialPath(key: StoreKey): string {
    return join(this.dir, key.kind, `${PARTIAL}${hex(key.digest)}`);
  }

  #lockPath(key: StoreKey): string {
    return join(this.dir, 'locks', `${key.kind}-${hex(key.digest)}`);
  }

  #leasePath(key: StoreKey): string {
    return join(this.dir, 'leases', `${key.kind}-${hex(key.digest)}`);
  }
}

async function readRecord(path: string): Promise<StoreRecord | undefined> {
  try {
    const record = JSON.parse(await readFile(path, 'utf8')) as StoreRecord;
    const isSound =
      record.schema === 1 &&
      typeof record.digest === 'string' &&
      typeof record.contentDigest === 'string' &&
      [record.sizeBytes, record.modifiedMs, record.createdMs].every(Number.isFinite);
    return isSound ? record : undefined;
  } catch {
    return undefined;
  }
}

function statsOf(path: string): Promise<Stats | undefined> {
  return lstat(path).catch(() => undefined);
}

async function isOld(path: string): Promise<boolean> {
  return Date.now() - ((await statsOf(path))?.mtimeMs ?? Date.now()) > OLD_MS;
}

function names(dir: string): Promise<string[]> {
  return readdir(dir).catch(() => []);
}

function ignoreAbsent(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

function withoutSuffix(name: string, suffix: string): string | undefined {
  return name.endsWith(suffix) ? name.slice(0, name.length - suffix.length) : undefined;
}

function isHex(text: string): boolean {
  return /^([0-9a-f]{64}|[0-9a-f]{128})$/.test(text);
}

/** The algorithm shows in the length. */
function digestOfHex(digits: string): string {
  return `${digits.length === 64 ? 'sha256' : 'sha512'}:${digits}`;
}

function hex(digest: string): string {
  const digits = digest.slice(digest.indexOf(':') + 1);
  if (!isHex(digits)) throw new RangeError(`not a digest: ${JSON.stringify(digest)}`);
  return digits;
}
