import type {ActionsCache, TarFrames} from '../base/cache.ts';
import type {LoadableImage} from '../base/docker.ts';
import {messageOf, UserError} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import {formatReference, type ImageReference} from '../base/image-reference.ts';
import type {Files, ImageFile, Images} from '../base/ports.ts';
import type {StoreFolder} from '../base/store.ts';
import {DiskSource} from './disk-source.ts';
import {type Image, readDockerArchive, readLayout} from './image.ts';
import {KnownImages} from './known-images.ts';
import {checkQcow2, looksLikeQcow2} from './qcow2.ts';
import type {RegistryPorts} from './registry/client.ts';
import {progressMeter} from './registry/progress.ts';
import {withRegistryImage} from './registry/sources.ts';
import {Store} from './store.ts';

/** The part of a plan that concerns the archive. */
export interface ArchivePlan {
  /** For people: as the user wrote it. */
  readonly reference: string;
  /** Where it may lie on this machine: a path, for images with an optional `:TAG`. */
  readonly path?: string;
  /** Where registries have it, in the order in which to try. A file on this machine comes first. */
  readonly images: readonly ImageReference[];
  /** The BuildKit that the user expects to find in it. */
  readonly expectedBuildkit?: string;
  /** Folder for what is taken out of images; content-addressed. */
  readonly storeDir: string;
}

export interface ArchivePorts extends RegistryPorts {
  readonly files: Files;
  readonly images: Images;
  readonly openStore: (dir: string) => StoreFolder;
  readonly frames: TarFrames;
  /** GitHub's cache, where there is one and it may be used. */
  readonly actionsCache?: ActionsCache;
  readonly emit: Emit;
}

/** A disk that can be booted. Disposing it lets the store evict it. */
export interface Archive extends AsyncDisposable {
  readonly diskPath: string;
  /** What the disk is, on every machine: the diffId of the layer that brings it; absent for a bare disk. */
  readonly diskDigest?: string;
  /** Unpacks the image's root file system, in which its own QEMU lies; undefined for a bare disk. */
  readonly unpackRootfs: ((signal: AbortSignal) => Promise<string>) | undefined;
  /** The image itself, for `docker load`; undefined for a bare disk. */
  readonly dockerImage: ((signal: AbortSignal) => Promise<LoadableImage>) | undefined;
  readonly kind: 'qcow2' | 'oci-layout' | 'docker-archive' | 'registry';
}

/**
 * Makes the disk that a plan names available: a qcow2 is used where it lies, an image's `/vm.qcow2` is taken out once and kept in the store.
 * @throws UserError when it is no archive, is damaged, cannot be had, or does not fit on the disk.
 */
export async function obtainArchive(
  ports: ArchivePorts,
  plan: ArchivePlan,
  signal: AbortSignal,
): Promise<Archive> {
  const local = plan.path === undefined ? undefined : await locate(ports.files, plan.path);
  if (!local && plan.images.length === 0) throw nowhere(plan);
  const store = new Store({
    folder: ports.openStore(plan.storeDir),
    nowMs: ports.registry.nowEpochMs,
    emit: ports.emit,
  });
  try {
    const found = local
      ? await fromFile(ports, store, local, signal)
      : await fromRegistries(ports, store, plan, signal);
    return {...found, [Symbol.asyncDispose]: () => store.close()};
  } catch (error) {
    await store.close();
    throw error;
  }
}

type Found = Omit<Archive, typeof Symbol.asyncDispose>;

async function fromFile(
  ports: ArchivePorts,
  store: Store,
  {path, tag}: Located,
  signal: AbortSignal,
): Promise<Found> {
  const kind = await detect(ports.files, path);
  if (kind === 'qcow2') {
    await checkQcow2(ports.files, path, 'archive');
    return {kind, diskPath: path, unpackRootfs: undefined, dockerImage: undefined};
  }
  const file = kind === 'oci-layout' ? ports.images.openLayout(path) : ports.images.openDockerArchive(path);
  const source = new DiskSource(ports, store, await readImage(kind, file, path, tag), path);
  // The image lies on this machine: GitHub's cache could only be slower.
  const {path: diskPath, diffId} = await source.disk(signal, {useCache: false});
  return {kind, diskPath, diskDigest: diffId, ...others(source)};
}

async function fromRegistries(
  ports: ArchivePorts,
  store: Store,
  plan: ArchivePlan,
  signal: AbortSignal,
): Promise<Found> {
  const say = (text: string): void =>
    ports.emit({kind: 'progress', stage: 'archive', text: `pulling: ${text}`});
  const {files, actionsCache, emit} = ports;
  const {createHash} = ports.registry;
  const images = new KnownImages({store, files, createHash, actionsCache, emit}, signal);
  const options = {
    signal,
    known: images.find,
    warn: (message: string) => ports.emit({kind: 'warning', message}),
    onProgress: progressMeter(ports.clock, say),
  };
  return withRegistryImage(ports, plan.images, options, async ({image, digest, reference, documents}) => {
    const where = formatReference(reference);
    const source = new DiskSource(ports, store, image, where);
    const {path: diskPath, diffId} = await source.disk(signal, {
      useCache: !images.cacheFailed,
      layer: documents.diskLayer,
    });
    await images.remember(digest, {...documents, diskLayer: diffId}, where);
    return {kind: 'registry' as const, diskPath, diskDigest: diffId, ...others(source)};
  });
}

/** What else an image gives, when it is asked for. */
function others(source: DiskSource): Pick<Found, 'unpackRootfs' | 'dockerImage'> {
  return {
    unpackRootfs: signal => source.rootfs(signal),
    dockerImage: signal => source.dockerImage(signal),
  };
}

interface Located {
  readonly path: string;
  readonly tag: string | undefined;
}

/** `PATH` or `PATH:TAG`; a path that exists as it is written wins, since file names may hold colons. */
async function locate(files: Files, path: string): Promise<Located | undefined> {
  if (await files.exists(path)) return {path, tag: undefined};
  const colon = path.lastIndexOf(':');
  if (colon > 0 && (await files.exists(path.slice(0, colon)))) {
    return {path: path.slice(0, colon), tag: path.slice(colon + 1)};
  }
  return undefined;
}

function nowhere(plan: ArchivePlan): UserError {
  return new UserError(`archive: there is no file or folder ${plan.path ?? plan.reference}`, {
    input: 'archive',
    stage: 'archive',
    hint: 'name a qcow2 disk, an OCI image layout, a "docker save" tar or an image with its registry (HOST/NAME:TAG); "buildkit-archive forge" makes an archive',
  });
}

async function detect(files: Files, path: string): Promise<'qcow2' | 'oci-layout' | 'docker-archive'> {
  if ((await files.kind(path)) === 'directory') {
    if (await files.exists(`${path}/oci-layout`)) return 'oci-layout';
    throw notAnArchive(path, 'a folder without the file oci-layout');
  }
  const head = await files.readRange(path, 0, 512);
  if (looksLikeQcow2(head)) return 'qcow2';
  // ustar(5): the magic stands at 257.
  if (head.subarray(257, 262).toString('latin1') === 'ustar') return 'docker-archive';
  if (head.length === 0) throw notAnArchive(path, 'an empty file');
  const form = FOREIGN_FORMS.find(({magic, at}) => head.subarray(at).toString('latin1').startsWith(magic));
  if (!form) throw notAnArchive(path, 'neither a qcow2 disk nor a tar');
  throw notAnArchive(path, `no qcow2 disk and no tar, but ${form.what}`, form.hint);
}

const CONVERT = 'convert it: qemu-img convert -O qcow2 IN OUT.qcow2';
/** What people have instead, by its first bytes. */
const FOREIGN_FORMS: readonly {
  readonly magic: string;
  readonly at: number;
  readonly what: string;
  readonly hint: string;
}[] = [
  {magic: '\x1f\x8b', at: 0, what: 'compressed with gzip', hint: 'unpack it: gunzip FILE'},
  {magic: '\x28\xb5\x2f\xfd', at: 0, what: 'compressed with zstd', hint: 'unpack it: unzstd FILE'},
  {magic: '\xfd7zXZ', at: 0, what: 'compressed with xz', hint: 'unpack it: unxz FILE'},
  {magic: 'BZh', at: 0, what: 'compressed with bzip2', hint: 'unpack it: bunzip2 FILE'},
  {magic: 'KDMV', at: 0, what: 'a VMDK disk', hint: CONVERT},
  {magic: '# Disk DescriptorFile', at: 0, what: 'a VMDK disk', hint: CONVERT},
  {magic: 'vhdxfile', at: 0, what: 'a VHDX disk', hint: CONVERT},
  {magic: '\x7f\x10\xda\xbe', at: 64, what: 'a VDI disk', hint: CONVERT},
  {magic: '\x55\xaa', at: 510, what: 'a raw disk', hint: `${CONVERT} (with -f raw)`},
];

function notAnArchive(
  path: string,
  what: string,
  hint = 'allowed are a qcow2 disk, an OCI image layout (a folder) and a "docker save" tar (not compressed)',
): UserError {
  return new UserError(`archive: ${path} is ${what}`, {
    input: 'archive',
    stage: 'archive',
    hint,
  });
}

async function readImage(
  kind: 'oci-layout' | 'docker-archive',
  file: ImageFile,
  path: string,
  tag: string | undefined,
): Promise<Image> {
  try {
    return await (kind === 'oci-layout' ? readLayout : readDockerArchive)(file, path, tag);
  } catch (error) {
    if (error instanceof UserError) throw error;
    const form = kind === 'oci-layout' ? 'an OCI image layout' : 'a "docker save" tar';
    throw new UserError(`archive: ${path} cannot be read as ${form}: ${messageOf(error)}`, {
      input: 'archive',
      stage: 'archive',
      cause: error,
      hint:
        kind === 'oci-layout'
          ? 'get the image again'
          : 'get the image again; an OCI image layout in a tar has to be unpacked into a folder, to be named in its place',
    });
  }
}
