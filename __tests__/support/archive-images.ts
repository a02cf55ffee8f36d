import {execFileSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {copyFileSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {type Entry, sha256, tar} from './images.ts';
import {archiveDir} from './machine.ts';

/** The OCI layout of a forged archive. */
export const layoutOf = (version: string): string => join(archiveDir(version), 'oci');

/** Puts a forged archive's image into a registry as it is. @param name Such as `ctrsploit/buildkit-v0.20.2:latest`. */
export function pushArchive(version: string, port: number, name: string): void {
  execFileSync(
    'skopeo',
    [
      ...['copy', '--quiet', '--dest-tls-verify=false'],
      ...[`oci:${layoutOf(version)}:buildkit-${version}`, `docker://127.0.0.1:${port}/${name}`],
    ],
    {stdio: 'pipe'},
  );
}

/** docker's ID of a forged archive's image: the digest of its config. */
export function imageIdOf(version: string): string {
  const {index, read} = readLayout(layoutOf(version));
  return read(index.manifests[0].digest).config.digest;
}

/** Writes a layout with the QEMU and the starter of a forged archive, and a last layer of these entries in place of the disk's. */
export async function writeArchiveWith(
  dir: string,
  version: string,
  entries: readonly Entry[],
): Promise<void> {
  const from = layoutOf(version);
  const {index, read, blob} = readLayout(from);
  const manifest = read(index.manifests[0].digest);
  const config = read(manifest.config.digest);
  mkdirSync(join(dir, 'blobs/sha256'), {recursive: true});
  const put = (bytes: Buffer): {digest: string; size: number} => {
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    writeFileSync(join(dir, 'blobs/sha256', digest.slice('sha256:'.length)), bytes);
    return {digest, size: bytes.length};
  };
  const kept = manifest.layers.slice(0, -1);
  for (const {digest} of kept) copyFileSync(blob(digest), join(dir, 'blobs/sha256', digest.slice(7)));
  const last = await tar(entries);
  config.rootfs.diff_ids = [...config.rootfs.diff_ids.slice(0, -1), sha256(last)];
  delete config.history;
  const json = (value: unknown) => put(Buffer.from(JSON.stringify(value)));
  const newManifest = json({
    ...manifest,
    config: {...manifest.config, ...json(config)},
    layers: [...kept, {mediaType: 'application/vnd.oci.image.layer.v1.tar', ...put(last)}],
  });
  writeFileSync(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(
    join(dir, 'index.json'),
    JSON.stringify({...index, manifests: [{...index.manifests[0], ...newManifest}]}),
  );
}

function readLayout(dir: string) {
  const blob = (digest: string): string => join(dir, 'blobs/sha256', digest.slice('sha256:'.length));
  const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
  return {index: json(join(dir, 'index.json')), blob, read: (digest: string) => json(blob(digest))};
}
