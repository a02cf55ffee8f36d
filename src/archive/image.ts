import type {Readable} from 'node:stream';
import {UserError} from '../base/errors.ts';
import type {ImageFile, LayerBlob} from '../base/ports.ts';

/** A container image as far as an archive needs it. */
export interface Image {
  /** Lowest first. */
  readonly layers: readonly LayerBlob[];
  /** Tags or reference names, for messages. */
  readonly names: readonly string[];
  readonly config: ConfigBlob;
}

/** The image's config as it is stored: its bytes are what an image's ID is the digest of. */
export interface ConfigBlob {
  /** When the image's form names it. */
  readonly digest?: string;
  open(): Promise<Readable>;
}

interface Descriptor {
  readonly mediaType?: string;
  readonly digest: string;
  readonly size?: number;
  readonly platform?: {readonly os?: string; readonly architecture?: string};
  readonly annotations?: Readonly<Record<string, string>>;
}
interface Manifest {
  readonly config?: Descriptor;
  readonly layers?: readonly Descriptor[];
  readonly manifests?: readonly Descriptor[];
}
interface Config {
  readonly os?: string;
  readonly architecture?: string;
  readonly rootfs?: {readonly diff_ids?: readonly string[]};
}

const REF_NAME = 'org.opencontainers.image.ref.name';

/**
 * Reads an image from an OCI image layout (OCI image spec, "image-layout.md"): the manifest with the asked tag, else the only one for linux/amd64.
 * @throws UserError when there is none or more than one to choose from, or when it is for another architecture.
 */
export async function readLayout(file: ImageFile, where: string, tag: string | undefined): Promise<Image> {
  const index = (await file.readJson('index.json')) as Manifest;
  const found = await pickManifest(file, index.manifests ?? [], tag, where);
  const manifest = (await file.readJson(blobPath(found.digest))) as Manifest;
  const config = (await file.readJson(blobPath(manifest.config?.digest ?? ''))) as Config;
  const diffIds = checkedConfig(config, where, (manifest.layers ?? []).length);
  return {
    names: namesOf(index.manifests ?? []),
    config: {
      digest: manifest.config?.digest ?? '',
      open: () => file.open(blobPath(manifest.config?.digest ?? '')),
    },
    layers: (manifest.layers ?? []).map((layer, i) => ({
      open: () => file.open(blobPath(layer.digest)),
      digest: layer.digest,
      diffId: diffIds[i] as string,
      ...(layer.size !== undefined && {sizeBytes: layer.size}),
    })),
  };
}

/**
 * Reads an image from what `docker save` writes: `manifest.json` names config and layers by their paths in the tar
 * (Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset Format").
 */
export async function readDockerArchive(
  file: ImageFile,
  where: string,
  tag: string | undefined,
): Promise<Image> {
  const images = (await file.readJson('manifest.json')) as readonly {
    readonly Config: string;
    readonly RepoTags?: readonly string[] | null;
    readonly Layers: readonly string[];
  }[];
  const names = images.flatMap(image => image.RepoTags ?? []);
  const wanted =
    tag === undefined
      ? images
      : images.filter(image => (image.RepoTags ?? []).some(name => name.endsWith(`:${tag}`)));
  const image = wanted[0];
  if (image === undefined || wanted.length > 1) throw ambiguous(where, tag, names, wanted.length);
  const diffIds = checkedConfig((await file.readJson(image.Config)) as Config, where, image.Layers.length);
  return {
    names,
    config: {open: () => file.open(image.Config)},
    layers: image.Layers.map((name, i) => ({open: () => file.open(name), diffId: diffIds[i] as string})),
  };
}

async function pickManifest(
  file: ImageFile,
  all: readonly Descriptor[],
  tag: string | undefined,
  where: string,
): Promise<Descriptor> {
  const wanted = all.filter(
    entry => tag === undefined || namesOf([entry]).some(name => name === tag || name.endsWith(`:${tag}`)),
  );
  const fitting = wanted.filter(isAmd64);
  const picked = fitting[0];
  if (picked === undefined && wanted.length > 0)
    throw wrongArchitecture(where, wanted.map(platformOf).join(', '));
  if (picked === undefined || fitting.length > 1) throw ambiguous(where, tag, namesOf(all), fitting.length);
  if (!/index|manifest\.list/.test(picked.mediaType ?? '')) return picked;
  const nested = (await file.readJson(blobPath(picked.digest))) as Manifest;
  return pickManifest(file, nested.manifests ?? [], undefined, where);
}

/** Attestations (`unknown/unknown`) are no images; an entry without a platform is judged by its config. */
function isAmd64(entry: Descriptor): boolean {
  const {os, architecture} = entry.platform ?? {};
  return (os === undefined || os === 'linux') && (architecture === undefined || architecture === 'amd64');
}

function checkedConfig(config: Config, where: string, layerCount: number): readonly string[] {
  if (config.architecture !== undefined && config.architecture !== 'amd64') {
    throw wrongArchitecture(where, `${config.os ?? 'linux'}/${config.architecture}`);
  }
  const diffIds = config.rootfs?.diff_ids ?? [];
  if (diffIds.length !== layerCount) {
    throw new UserError(`${where} is damaged: ${layerCount} layers, but ${diffIds.length} diff_ids`, {
      input: 'archive',
      stage: 'archive',
      hint: 'get the image again',
    });
  }
  return diffIds;
}

function blobPath(digest: string): string {
  const match = /^(sha256|sha512):([0-9a-f]{64,128})$/.exec(digest);
  if (!match) {
    throw new UserError(`not a digest in the image's manifest: ${JSON.stringify(digest)}`, {
      input: 'archive',
      stage: 'archive',
      hint: 'get the image again',
    });
  }
  return `blobs/${match[1]}/${match[2]}`;
}

function namesOf(entries: readonly Descriptor[]): string[] {
  return entries.flatMap(entry => entry.annotations?.[REF_NAME] ?? []);
}

function platformOf(entry: Descriptor): string {
  return `${entry.platform?.os ?? '?'}/${entry.platform?.architecture ?? '?'}`;
}

function wrongArchitecture(where: string, found: string): UserError {
  return new UserError(`${where} is for ${found}; BuildKit archives are for linux/amd64`, {
    input: 'archive',
    stage: 'archive',
    hint: 'name an image for linux/amd64',
  });
}

function ambiguous(
  where: string,
  tag: string | undefined,
  names: readonly string[],
  found: number,
): UserError {
  const list = names.length > 0 ? names.join(', ') : 'none with a name';
  const problem =
    found > 1
      ? `holds ${found} images`
      : tag === undefined
        ? 'holds no image'
        : `has no image with the tag "${tag}"`;
  return new UserError(`${where} ${problem}; its images: ${list}`, {
    input: 'archive',
    stage: 'archive',
    hint: 'name one of them: archive: PATH:TAG',
  });
}
