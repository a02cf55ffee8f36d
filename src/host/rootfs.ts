import {chmod, link, lstat, mkdir, readdir, readlink, rm, symlink} from 'node:fs/promises';
import {dirname, join, posix, relative} from 'node:path';
import type {Readable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import type {Header} from 'tar-stream';
import {UserError} from '../base/errors.ts';
import type {DiskBudget} from './layer-limits.ts';
import {SparseWriter} from './sparse.ts';

const MAX_SYMLINKS = 40;

/**
 * Writes the entries of image layers into a folder, as an unprivileged user may: no owners, no devices, no set-id bits.
 * Layers come from the internet, so every path is resolved as in a chroot: a symlink is followed within the folder and never out of it, and an
 * absolute link target is stored relative, so that programs run from outside (QEMU through its own loader) stay inside as well.
 */
export class RootfsWriter {
  readonly #root: string;
  readonly #budget: DiskBudget | undefined;
  /** What this layer wrote: its own opaque whiteouts do not remove it (OCI image spec, "layer.md", Whiteouts). */
  #fresh = new Set<string>();

  constructor(root: string, budget?: DiskBudget) {
    this.#root = root;
    this.#budget = budget;
  }

  beginLayer(): void {
    this.#fresh = new Set();
  }

  /** @throws UserError when the entry's name climbs out of the folder. */
  async add(header: Header, body: Readable, stop: AbortSignal): Promise<void> {
    const name = cleanName(header.name);
    if (name === '') return;
    const parent = await this.#resolve(posix.dirname(name));
    const base = posix.basename(name);
    if (base === '.wh..wh..opq') return this.#clear(parent);
    await mkdir(parent, {recursive: true});
    if (base.startsWith('.wh.')) {
      await rm(join(parent, base.slice(4)), {recursive: true, force: true});
      return;
    }
    const path = join(parent, base);
    this.#fresh.add(path);
    await this.#write(header, path, body, stop);
  }

  async #write(header: Header, path: string, body: Readable, stop: AbortSignal): Promise<void> {
    const modeBits = (header.mode ?? 0o755) & 0o777;
    const existing = await lstat(path).catch(() => undefined);
    if (header.type === 'directory') {
      if (existing && !existing.isDirectory()) await rm(path, {force: true});
      await mkdir(path, {recursive: true});
      // The owner must be able to write into it and, later, to remove it.
      return chmod(path, modeBits | 0o700);
    }
    if (existing) await rm(path, {recursive: true, force: true});
    if (header.type === 'file' || header.type === 'contiguous-file') {
      await pipeline(body, new SparseWriter(path, this.#budget), {signal: stop});
      return chmod(path, modeBits | 0o600);
    }
    if (header.type === 'symlink') return symlink(this.#linkTarget(header.linkname ?? '', path), path);
    if (header.type === 'link') {
      const target = cleanName(header.linkname ?? '');
      return link(join(await this.#resolve(posix.dirname(target)), posix.basename(target)), path);
    }
  }

  #linkTarget(target: string, path: string): string {
    if (!target.startsWith('/')) return target;
    return relative(dirname(path), join(this.#root, posix.normalize(target))) || '.';
  }

  async #clear(dir: string): Promise<void> {
    for (const entry of await readdir(dir).catch(() => [])) {
      const path = join(dir, entry);
      if (![...this.#fresh].some(kept => kept === path || kept.startsWith(`${path}/`))) {
        await rm(path, {recursive: true, force: true});
      }
    }
  }

  /** The folder `name` stands for with every symlink on the way followed inside the root. */
  async #resolve(name: string): Promise<string> {
    let rest = name.split('/').filter(part => part !== '' && part !== '.');
    let at: string[] = [];
    let followed = 0;
    while (rest.length > 0) {
      const [part = '', ...others] = rest;
      rest = others;
      if (part === '..') {
        at = at.slice(0, -1);
        continue;
      }
      const target = await readlink(join(this.#root, ...at, part)).catch(() => undefined);
      if (target === undefined) {
        at = [...at, part];
        continue;
      }
      if (++followed > MAX_SYMLINKS) throw refused(name, 'too many symlinks');
      if (target.startsWith('/')) at = [];
      rest = [...target.split('/').filter(piece => piece !== '' && piece !== '.'), ...rest];
    }
    return join(this.#root, ...at);
  }
}

/** A tar name as a path relative to the root. @throws UserError when `..` would leave it. */
export function cleanName(name: string): string {
  const parts = name.split('/').filter(part => part !== '' && part !== '.');
  if (parts.includes('..') || name.includes('\0')) throw refused(name, 'it climbs out of the image');
  return parts.join('/');
}

function refused(name: string, why: string): UserError {
  return new UserError(`a layer of the image has an entry ${JSON.stringify(name)}: ${why}`, {
    input: 'archive',
    stage: 'archive',
    hint: 'do not use this image',
  });
}
