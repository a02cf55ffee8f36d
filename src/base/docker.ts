import type {Readable} from 'node:stream';
import type {CommandLine} from './ports.ts';

/** A container image as `docker load` takes it. */
export interface LoadableImage {
  /** `sha256:…` of its config, which is docker's ID of the image. */
  readonly id: string;
  /** The config's bytes (OCI image spec, "config.md"). */
  readonly config: Buffer;
  /** Lowest first. */
  readonly layers: readonly LoadableLayer[];
}

export interface LoadableLayer {
  /** `sha256:…` of the uncompressed tar. */
  readonly diffId: string;
  /** Of the uncompressed tar. */
  readonly sizeBytes: number;
  /** The uncompressed tar. */
  open(): Promise<Readable>;
}

/** The docker client of this machine, with the settings of its user (`DOCKER_HOST`, contexts). */
export interface Docker {
  /** A command of the client; undefined when there is no client. */
  command(args: readonly string[]): Promise<CommandLine | undefined>;
  /**
   * Streams an image into docker under a name of its own.
   * @throws with what docker said when it does not take it; CanceledError when `signal` is aborted.
   */
  load(image: LoadableImage, name: string, options: LoadOptions): Promise<void>;
}

export interface LoadOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: (sentBytes: number, totalBytes: number) => void;
}

/** Begins all names of our containers; the clean-up removes no others. */
export const CONTAINER_PREFIX = 'buildkit-archive-';
/** Begins the names of the images that we load; docker asks no registry for `localhost/…`. */
export const LOADED_IMAGE_PREFIX = 'localhost/buildkit-archive:';
