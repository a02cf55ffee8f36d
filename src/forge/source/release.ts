import {createHash} from 'node:crypto';
import {createReadStream, createWriteStream} from 'node:fs';
import {chmod, mkdir} from 'node:fs/promises';
import {basename, join} from 'node:path';
import {Readable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import type {ReadableStream} from 'node:stream/web';
import {createGunzip} from 'node:zlib';
import {isBuildkitBinary} from '../../base/derive.ts';
import {messageOf, UserError} from '../../base/errors.ts';
import {hasModule} from '../options.ts';
import {filesOfTar} from '../untar.ts';

// The largest helpers of a release are some 60 MB each; this bounds what a wrong file can write.
const LARGEST_BINARY_BYTES = 512 * 1024 * 1024;

/** Where GitHub keeps a release's binaries. */
export function releaseUrl(version: string): string {
  return `https://github.com/moby/buildkit/releases/download/${version}/buildkit-${version}.linux-amd64.tar.gz`;
}

/** The version in a release tarball's name: `buildkit-v0.20.2.linux-amd64.tar.gz`. */
export function versionInName(pathOrUrl: string): string | undefined {
  return /^buildkit-(v\d+\.\d+\.\d+(?:-[\w.]+?)?)\.linux-amd64\.t(?:ar\.)?gz$/.exec(basename(pathOrUrl))?.[1];
}

/** Downloads a release. @throws UserError with what to do instead when it cannot be reached. */
export async function download(url: string, file: string, signal: AbortSignal | undefined): Promise<void> {
  const version = versionInName(url);
  const elsewhere = 'download it elsewhere and give its path to --buildkit';
  const hint =
    version && hasModule(version) ? `with go on PATH, --from module builds it; or ${elsewhere}` : elsewhere;
  try {
    const response = await fetch(url, signal ? {signal} : {});
    if (!response.ok || !response.body) {
      throw new UserError(`${url}: HTTP status ${response.status}`, {
        hint,
        input: '--buildkit',
        stage: 'forge',
      });
    }
    await pipeline(
      Readable.fromWeb(response.body as ReadableStream),
      createWriteStream(file),
      signal ? {signal} : {},
    );
  } catch (error) {
    if (error instanceof UserError || signal?.aborted) throw error;
    const why = error instanceof Error && error.cause ? messageOf(error.cause) : messageOf(error);
    throw new UserError(`${url} cannot be downloaded: ${why}`, {
      hint,
      input: '--buildkit',
      stage: 'forge',
      cause: error,
    });
  }
}

/** The SHA-256 of a file, hex. */
export async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** @throws UserError when the tarball is not the one the user meant. */
export function checkDigest(file: string, actual: string, expected: string | undefined): void {
  if (expected === undefined || actual === expected) return;
  throw new UserError(`${file} has the SHA-256 ${actual}, not ${expected}`, {
    hint: 'download the tarball again, or correct --sha256',
    input: '--sha256',
    stage: 'forge',
  });
}

/** Unpacks the executables of a release tarball into `dir`; anything else in it is left where it is. */
export async function unpackRelease(tarball: string, dir: string): Promise<void> {
  await mkdir(dir, {recursive: true});
  const plain = createGunzip();
  const source = createReadStream(tarball);
  source.once('error', error => plain.destroy(error));
  source.pipe(plain);
  try {
    for await (const file of filesOfTar(plain, tarball)) {
      const name = binaryName(file.path);
      if (name === undefined || file.sizeBytes > LARGEST_BINARY_BYTES) continue;
      await pipeline(file.read(), createWriteStream(join(dir, name)));
      await chmod(join(dir, name), 0o755);
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${tarball} cannot be unpacked: ${messageOf(error)}`, {
      hint: 'a BuildKit release is a .tar.gz with bin/buildkitd and bin/buildctl',
      input: '--buildkit',
      stage: 'forge',
      cause: error,
    });
  } finally {
    source.destroy();
    plain.destroy();
  }
}

/** The name under which a tarball's entry is installed: `bin/NAME` with a BuildKit name, else undefined. */
export function binaryName(path: string): string | undefined {
  const match = /^(?:\.\/)?(?:bin\/)?([^/]+)$/.exec(path);
  const name = match?.[1];
  return name !== undefined && isBuildkitBinary(name) ? name : undefined;
}
