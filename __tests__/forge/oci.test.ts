import {createHash} from 'node:crypto';
import {mkdtemp, readFile, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {gunzipSync} from 'node:zlib';
import {expect, test} from '@jest/globals';
import {writeLayer} from '../../src/forge/layer.ts';
import {asTag, imageDocuments} from '../../src/forge/oci.ts';
import {tarStream, textEntry} from '../../src/forge/tar.ts';

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

test.each([0, 6] as const)('a layer of gzip level %d: both digests are those of its bytes', async level => {
  const dir = await mkdtemp(join(tmpdir(), 'forge-oci-'));
  try {
    const layer = await writeLayer(tarStream([textEntry('a', 'x'.repeat(100_000))]), dir, level, 'test');
    const blob = await readFile(layer.blobPath);
    expect(layer.blobPath).toBe(join(dir, layer.digestHex));
    expect(layer.sizeBytes).toBe(blob.length);
    expect(layer.digestHex).toBe(sha256(blob));
    expect(layer.diffIdHex).toBe(sha256(gunzipSync(blob)));
  } finally {
    await rm(dir, {recursive: true});
  }
});

test('the documents point at each other by digest and size', () => {
  const layers = ['1', '2'].map(n => ({
    digestHex: n.repeat(64),
    sizeBytes: Number(n),
    diffIdHex: `${Number(n) + 2}`.repeat(64),
    comment: n,
  }));
  const labels = {'org.opencontainers.image.title': 't'};
  const image = imageDocuments({layers, created: new Date(0), labels, tag: 'buildkit-v0.20.2'});
  const index = JSON.parse(image.index.toString());
  const manifest = JSON.parse(image.manifest.bytes.toString());
  const config = JSON.parse(image.config.bytes.toString());

  expect(JSON.parse(image.layout.toString())).toEqual({imageLayoutVersion: '1.0.0'});
  expect(image.manifest.digestHex).toBe(sha256(image.manifest.bytes));
  expect(index.manifests).toEqual([
    {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: `sha256:${image.manifest.digestHex}`,
      size: image.manifest.bytes.length,
      platform: {architecture: 'amd64', os: 'linux'},
      annotations: {'org.opencontainers.image.ref.name': 'buildkit-v0.20.2'},
    },
  ]);
  expect(manifest.config).toEqual({
    mediaType: 'application/vnd.oci.image.config.v1+json',
    digest: `sha256:${sha256(image.config.bytes)}`,
    size: image.config.bytes.length,
  });
  expect(manifest.layers.map((layer: {digest: string}) => layer.digest)).toEqual(
    layers.map(layer => `sha256:${layer.digestHex}`),
  );
  expect(config).toMatchObject({
    architecture: 'amd64',
    os: 'linux',
    config: {Entrypoint: ['/start.sh'], Labels: labels},
    rootfs: {type: 'layers', diff_ids: layers.map(layer => `sha256:${layer.diffIdHex}`)},
  });
  expect(config.history).toHaveLength(2);
});

test.each([
  ['buildkit-v0.20.2', true],
  ['a/b', false],
  ['.a', false],
  ['', false],
  ['a'.repeat(129), false],
])('%j is a tag: %s', (name, ok) => {
  expect(asTag(name) !== undefined).toBe(ok);
});
