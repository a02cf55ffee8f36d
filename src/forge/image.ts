import {createReadStream} from 'node:fs';
import {copyFile, mkdir, readFile, rename, rm, stat, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {kept, recipeKey, withTempDir} from './cache.ts';
import type {DiskRequest} from './disk.ts';
import {type WrittenLayer, writeLayer} from './layer.ts';
import {imageDocuments, type Layer} from './oci.ts';
import {makeRootTar} from './rootfs.ts';
import {START_SH} from './starter.ts';
import {UNREAD_PATHS} from './system.ts';
import {tarStream, textEntry} from './tar.ts';

/** QEMU without a screen, a shell for /start.sh, and busybox for whoever looks inside. */
const QEMU_PACKAGES: readonly string[] = ['qemu-system-x86', 'dash', 'busybox', 'base-files'];

/** What an amd64 machine of this kind never uses. */
const UNUSED_QEMU_PATHS: readonly string[] = [
  ...['/usr/libexec/qemu-system-i386', '/usr/bin/qemu-system-i386', '/usr/bin/qemu-system-x86_64-microvm'],
  ...[
    '/usr/bin/qemu-storage-daemon',
    '/usr/share/qemu/*.lid',
    '/usr/share/qemu/openbios*',
    '/usr/share/qemu/*.dtb',
  ],
];

const QEMU_RECIPE = 1;

export interface ImageRequest extends DiskRequest {
  readonly qcow2: string;
  readonly layoutDir: string;
  readonly tag: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Writes the OCI image layout of an archive: layers for QEMU, /start.sh and /vm.qcow2. */
export async function writeImage(request: ImageRequest): Promise<void> {
  const blobs = join(request.layoutDir, 'blobs', 'sha256');
  await mkdir(blobs, {recursive: true});
  const qemu = await qemuLayer(request);
  await copyFile(qemu.blobPath, join(blobs, qemu.digestHex));
  const {size} = await stat(request.qcow2);
  const disk = {path: 'vm.qcow2', mode: 0o644, content: {file: request.qcow2, sizeBytes: size}};
  const start = textEntry('start.sh', START_SH, 0o755);
  const layers: Layer[] = [
    qemu,
    await writeLayer(tarStream([start]), blobs, 6, '/start.sh', request.signal),
    await writeLayer(tarStream([disk]), blobs, 0, '/vm.qcow2', request.signal),
  ];
  const image = imageDocuments({layers, created: new Date(), labels: request.labels, tag: request.tag});
  for (const part of [image.config, image.manifest]) await writeFile(join(blobs, part.digestHex), part.bytes);
  await writeFile(join(request.layoutDir, 'oci-layout'), image.layout);
  await writeFile(join(request.layoutDir, 'index.json'), image.index);
}

/** The layer with QEMU, kept. */
async function qemuLayer(request: ImageRequest): Promise<WrittenLayer> {
  const excludedPaths = [...UNREAD_PATHS, ...UNUSED_QEMU_PATHS];
  const key = recipeKey([QEMU_RECIPE, QEMU_PACKAGES, excludedPaths, request.mirror]);
  const make = async (dir: string): Promise<void> => {
    request.log('making the QEMU layer (Debian packages; once)');
    await withTempDir(request.cacheDir, 'qemu-', async workDir => {
      const output = join(workDir, 'root.tar');
      const nothing = {earlyFiles: [], files: [], hooks: []};
      const what = {variant: 'extract', packages: QEMU_PACKAGES, excludedPaths} as const;
      await makeRootTar({...request, ...nothing, ...what, workDir, output});
      const layer = await writeLayer(createReadStream(output), dir, 6, 'QEMU', request.signal);
      await writeFile(join(dir, 'layer.json'), JSON.stringify(layer));
    });
  };
  const dir = await kept(request.cacheDir, `qemu-${key}`, make, () =>
    request.log('using the kept QEMU layer'),
  );
  const layer = JSON.parse(await readFile(join(dir, 'layer.json'), 'utf8')) as WrittenLayer;
  return {...layer, blobPath: join(dir, layer.digestHex)};
}

/** Puts a finished folder or file in the place of an older one. */
export async function replace(made: string, target: string): Promise<void> {
  const old = `${target}.old-${process.pid}`;
  await rename(target, old).catch(() => {});
  await rename(made, target);
  await rm(old, {recursive: true, force: true});
}
