import {createReadStream} from 'node:fs';
import {mkdir, mkdtemp, rename, rm, stat} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {Readable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import type {Header} from 'tar-stream';
import {asCanceled, UserError} from '../base/errors.ts';
import type {ImageFile, Images, LayerBlob} from '../base/ports.ts';
import {FRAME_SUFFIX} from '../base/store.ts';
import {startTarMember} from './docker-archive.ts';
import {DiskBudget} from './layer-limits.ts';
import {layerTar, readLayer} from './layers.ts';
import {cleanName, RootfsWriter} from './rootfs.ts';
import {SparseWriter} from './sparse.ts';
import {TarFrameCapture, writeFrame} from './store-frame.ts';

export const localImages: Images = {openLayout, openDockerArchive, extractFile, writeTar, unpack};

const JSON_LIMIT_BYTES = 8 * 1024 * 1024;

function openLayout(dir: string): ImageFile {
  const open = async (name: string): Promise<Readable> => createReadStream(join(dir, name));
  return {open, readJson: async name => parseJson(await open(name), name)};
}

function openDockerArchive(path: string): ImageFile {
  const open = (name: string): Promise<Readable> => startTarMember(path, name);
  return {open, readJson: async name => parseJson(await open(name), name)};
}

async function parseJson(stream: Readable, name: string): Promise<unknown> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of stream) {
    sizeBytes += chunk.length;
    if (sizeBytes > JSON_LIMIT_BYTES) throw new Error(`${name} is larger than ${JSON_LIMIT_BYTES} bytes`);
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

async function extractFile(
  layer: LayerBlob,
  path: string,
  dest: string,
  signal: AbortSignal,
): Promise<'extracted' | 'deleted' | 'absent'> {
  await mkdir(dirname(dest), {recursive: true});
  const dir = await mkdtemp(join(dirname(dest), '.partial-'));
  const temp = join(dir, 'file');
  const outcome: {found: 'extracted' | 'deleted' | 'absent'} = {found: 'absent'};
  try {
    const budget = await DiskBudget.of(dir);
    const capture = new TarFrameCapture(path);
    await readLayer(
      layer,
      async (header, body, stop) => {
        const name = cleanName(header.name);
        if (name === path) {
          requireFile(header);
          // Of two entries with one name, tar takes the last.
          await rm(temp, {force: true});
          await pipeline(body, new SparseWriter(temp, budget), {signal: stop});
          outcome.found = 'extracted';
        } else if (hides(name, path) && outcome.found === 'absent') outcome.found = 'deleted';
      },
      signal,
      {tap: capture},
    );
    if (outcome.found !== 'extracted') return outcome.found;
    const frame = capture.frame();
    if (frame) {
      await writeFrame(join(dir, 'frame'), frame);
      await rename(join(dir, 'frame'), `${dest}${FRAME_SUFFIX}`);
    }
    await rename(temp, dest);
    return outcome.found;
  } catch (error) {
    throw explainFull(error, dest);
  } finally {
    await rm(dir, {recursive: true, force: true});
  }
}

function requireFile(header: Header): void {
  if (header.type === 'file' || header.type === 'contiguous-file') return;
  throw new UserError(`/${cleanName(header.name)} in the image is no file but a ${header.type}`, {
    input: 'archive',
    stage: 'archive',
    hint: 'use an image that holds it as a file',
  });
}

/** True for a whiteout of a path, of a folder above it, or of all that such a folder held (OCI image spec, "layer.md", Whiteouts). */
function hides(name: string, path: string): boolean {
  const parent = dirname(name) === '.' ? '' : `${dirname(name)}/`;
  const base = name.slice(parent.length);
  if (base === '.wh..wh..opq') return path.startsWith(parent);
  if (!base.startsWith('.wh.')) return false;
  const hidden = `${parent}${base.slice('.wh.'.length)}`;
  return path === hidden || path.startsWith(`${hidden}/`);
}

async function writeTar(layer: LayerBlob, dest: string, signal: AbortSignal): Promise<number> {
  await mkdir(dirname(dest), {recursive: true});
  const dir = await mkdtemp(join(dirname(dest), '.partial-'));
  const temp = join(dir, 'tar');
  try {
    await pipeline(Readable.from(layerTar(layer)), new SparseWriter(temp, await DiskBudget.of(dir)), {
      signal,
    });
    const {size} = await stat(temp);
    await rename(temp, dest);
    return size;
  } catch (error) {
    if (signal.aborted) throw asCanceled(signal);
    throw explainFull(error, dest);
  } finally {
    await rm(dir, {recursive: true, force: true});
  }
}

async function unpack(
  layers: readonly LayerBlob[],
  dest: string,
  options: {skip: string; signal: AbortSignal},
): Promise<void> {
  await mkdir(dirname(dest), {recursive: true});
  const dir = await mkdtemp(join(dirname(dest), '.partial-'));
  try {
    const writer = new RootfsWriter(join(dir, 'rootfs'), await DiskBudget.of(dir));
    await mkdir(join(dir, 'rootfs'));
    for (const layer of layers) {
      writer.beginLayer();
      await readLayer(
        layer,
        async (header, body, stop) => {
          if (header.name.replace(/^(\.?\/)+/, '') !== options.skip) await writer.add(header, body, stop);
        },
        options.signal,
      );
    }
    await rename(join(dir, 'rootfs'), dest).catch(error => {
      // Another job was quicker: its copy has the same content.
      if (!['ENOTEMPTY', 'EEXIST'].includes(error.code)) throw error;
    });
  } catch (error) {
    throw explainFull(error, dest);
  } finally {
    await rm(dir, {recursive: true, force: true});
  }
}

function explainFull(error: unknown, dest: string): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') return error;
  return new UserError(`no space left while the archive was taken out to ${dirname(dest)}`, {
    stage: 'archive',
    cause: error,
    hint: 'free some GiB there, or set the variable BUILDKIT_ARCHIVE_STORE to a folder with space',
  });
}
