import type {LoadableImage} from '../base/docker.ts';
import {UserError} from '../base/errors.ts';
import type {OwnedResource} from '../base/events.ts';
import type {LayerBlob} from '../base/ports.ts';
import type {LockHolder, StoreKey} from '../base/store.ts';
import {dockerImage, type TakenDisk} from './docker-image.ts';
import {SMALL_LAYER_BYTES} from './documents.ts';
import type {Image} from './image.ts';
import type {ArchivePorts} from './obtain.ts';
import {checkQcow2} from './qcow2.ts';
import type {Measured, Store} from './store.ts';
import {diskEntry, restoreDisk} from './store-cache.ts';
import {diskCacheKey} from './store-policy.ts';

const DISK_NAME = 'vm.qcow2';
/** A disk grows by what a build writes; less than this is not worth starting with. */
const LEAST_FREE_BYTES = 1024 ** 3;

/** A layer that does not bring the disk. */
class NotInLayer extends Error {
  readonly isDeleted: boolean;
  constructor(isDeleted: boolean) {
    super(isDeleted ? 'the layer deletes the disk' : 'the layer does not hold the disk');
    this.isDeleted = isDeleted;
  }
}

/** Takes the disk, and when need be the root file system, out of an image into the store. */
export class DiskSource {
  readonly #ports: ArchivePorts;
  readonly #store: Store;
  readonly #image: Image;
  readonly #where: string;
  #disk: TakenDisk | undefined;

  constructor(ports: ArchivePorts, store: Store, image: Image, where: string) {
    this.#ports = ports;
    this.#store = store;
    this.#image = image;
    this.#where = where;
  }

  /**
   * The disk in the store.
   * @param options.layer The diffId of the layer that brings it, when it is known. @throws UserError when the image has none.
   */
  async disk(
    signal: AbortSignal,
    options: {useCache: boolean; layer?: string | undefined},
  ): Promise<TakenDisk> {
    const known = this.#image.layers.filter(({diffId}) => diffId === options.layer);
    // The newest layer that has the file decides; a whiteout above it means that the image has none.
    for (const layer of known.length > 0 ? known.slice(-1) : [...this.#image.layers].reverse()) {
      // A small layer is read sooner than a cache is asked.
      const useCache = options.useCache && (layer.sizeBytes ?? Number.POSITIVE_INFINITY) > SMALL_LAYER_BYTES;
      try {
        return await this.#fromLayer(layer, signal, useCache);
      } catch (error) {
        if (!(error instanceof NotInLayer)) throw error;
        if (error.isDeleted) break;
      }
    }
    throw this.#noDisk();
  }

  /** The whole image for `docker load`; needs `disk` first. */
  async dockerImage(signal: AbortSignal): Promise<LoadableImage> {
    if (!this.#disk) throw new Error('the disk is taken out first');
    const ports = {...this.#ports, createHash: this.#ports.registry.createHash};
    return dockerImage(ports, this.#store, this.#image, this.#disk, this.#waiting(signal));
  }

  /** The root file system's folder in the store, without the disk. */
  async rootfs(signal: AbortSignal): Promise<string> {
    const hash = this.#ports.registry.createHash('sha256');
    for (const {diffId} of this.#image.layers) hash.update(Buffer.from(`${diffId}\n`));
    const key: StoreKey = {kind: 'rootfs', digest: `sha256:${hash.hex()}`};
    const make = async (dest: string): Promise<undefined> => {
      await this.#ports.images.unpack(this.#image.layers, dest, {skip: DISK_NAME, signal});
    };
    const {path} = await this.#store.getOrMake(key, make, this.#waiting(signal));
    return path;
  }

  async #fromLayer(layer: LayerBlob, signal: AbortSignal, useCache: boolean): Promise<TakenDisk> {
    const key: StoreKey = {kind: 'disks', digest: layer.diffId};
    const cache = useCache ? this.#ports.actionsCache : undefined;
    let missed = false;
    const make = async (dest: string): Promise<Measured | undefined> => {
      if (cache) {
        const wanted = {key: diskCacheKey(layer.diffId), diffId: layer.diffId};
        const onResource = (resource: OwnedResource): void => this.#ports.emit({kind: 'resource', resource});
        const restored = await restoreDisk({...this.#ports, cache}, wanted, dest, {signal, onResource});
        if (restored.kind === 'restored') {
          await this.#check(dest);
          this.#ports.emit({kind: 'notice', message: 'the disk comes from the Actions cache'});
          return restored.measured;
        }
        missed = restored.kind === 'missed';
      }
      await this.#extract(layer, dest, signal);
      return undefined;
    };
    const {path, hit} = await this.#store.getOrMake(key, make, this.#waiting(signal));
    if (hit) this.#ports.emit({kind: 'notice', message: 'the disk is in the store already'});
    this.#disk = {path, diffId: layer.diffId};
    if (missed) this.#ports.emit({kind: 'cache-save', entry: diskEntry(diskCacheKey(layer.diffId), path)});
    return this.#disk;
  }

  async #extract(layer: LayerBlob, dest: string, signal: AbortSignal): Promise<void> {
    await this.#requireSpace(dest);
    const found = await this.#ports.images.extractFile(layer, DISK_NAME, dest, signal);
    if (found !== 'extracted') throw new NotInLayer(found === 'deleted');
    await this.#check(dest);
  }

  /** Bytes that are the image's own may still be a disk that names files of this machine. */
  async #check(path: string): Promise<void> {
    await checkQcow2(this.#ports.files, path, 'archive', `/${DISK_NAME} of ${this.#where}`);
  }

  async #requireSpace(path: string): Promise<void> {
    const freeBytes = await this.#ports.files.freeBytes(path);
    if (freeBytes >= LEAST_FREE_BYTES) return;
    const free = Math.floor(freeBytes / 1024 ** 2);
    throw new UserError(`no space for the archive's disk: ${free} MiB free at ${path}`, {
      stage: 'archive',
      hint: 'free at least 1 GiB there, or set the variable BUILDKIT_ARCHIVE_STORE to a folder with space',
    });
  }

  #waiting(signal: AbortSignal) {
    const onWait = ({pid, waitedMs}: LockHolder): void =>
      this.#ports.emit({
        kind: 'progress',
        stage: 'archive',
        text: `another job ${pid === undefined ? '' : `(pid ${pid}) `}takes the same archive out; waiting for ${Math.round(waitedMs / 1000)} s`,
      });
    return {signal, onWait, label: this.#where};
  }

  #noDisk(): UserError {
    const ctr = this.#image.names.find(name => /(^|[:/])ctr_/.test(name));
    const what = ctr ? ` (${ctr} is a container image without a VM)` : '';
    return new UserError(`archive: the image in ${this.#where} has no /${DISK_NAME}${what}`, {
      input: 'archive',
      stage: 'archive',
      hint: ctr
        ? `use the one without "ctr_": ${ctr.replace('ctr_', '')}`
        : 'a BuildKit archive is an image with a QEMU disk /vm.qcow2; "buildkit-archive forge" makes one',
    });
  }
}
