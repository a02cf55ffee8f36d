import {statSync} from 'node:fs';
import {gzipSync} from 'node:zlib';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {type FaultProxy, startFaultProxy} from '../support/fault-proxy.ts';
import {createPuller, failureOf} from '../support/pull.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {
  type Entry,
  type MadeImage,
  makeImage,
  makeIndex,
  makeLayer,
  noise,
  pushImage,
  sha256,
} from '../support/registry-images.ts';

const DISK = Buffer.concat([noise(150_000), Buffer.alloc(200_000), noise(1_000, 'end')]);
const disk: Entry = {name: 'vm.qcow2', content: DISK};
const puller = createPuller();
let registry: Registry;
let proxy: FaultProxy;

beforeAll(async () => {
  registry = await startRegistry();
  proxy = await startFaultProxy(registry.port);
});
afterAll(async () => {
  await proxy.close();
  await registry.stop();
  puller.remove();
});

const push = (name: string, image: MadeImage): Promise<void> =>
  pushImage(`http://127.0.0.1:${registry.port}`, 'x/archive', name, image);
const at = (name: string): string => `127.0.0.1:${proxy.port}/x/archive${name}`;
const blobsAsked = (): string[] =>
  proxy.seen.flatMap(({path}) => /\/blobs\/(sha256:\w+)$/.exec(path)?.[1] ?? []);

describe('forms of images', () => {
  test.each([
    ['OCI, gzip', 'oci', 'gzip'],
    ['OCI, zstd', 'oci', 'zstd'],
    ['OCI, uncompressed', 'oci', 'none'],
    ['Docker schema 2, gzip', 'docker', 'gzip'],
  ] as const)('%s', async (_name, form, compression) => {
    const image = makeImage([await makeLayer([disk], compression)], {form});
    await push(`${form}-${compression}`, image);
    const pulled = await puller.pull(at(`:${form}-${compression}`));
    expect(pulled.disk.equals(DISK)).toBe(true);
    expect(pulled.digest).toBe(image.digest);
    const byDigest = await puller.pull(at(`@${image.digest}`));
    expect(byDigest.disk.equals(DISK)).toBe(true);
  });

  test.each(['oci', 'docker'] as const)('an index (%s): the image for linux/amd64', async form => {
    const amd64 = makeImage([await makeLayer([disk])], {form});
    const arm64 = makeImage([await makeLayer([{name: 'vm.qcow2', content: 'arm'}])], {
      form,
      architecture: 'arm64',
    });
    await push(amd64.digest, amd64);
    await push(arm64.digest, arm64);
    const index = makeIndex(
      [
        {image: arm64, architecture: 'arm64'},
        {image: amd64, architecture: 'amd64'},
      ],
      form,
    );
    await push(`index-${form}`, index);
    const pulled = await puller.pull(at(`:index-${form}`));
    expect(pulled.disk.equals(DISK)).toBe(true);
    expect(pulled.digest).toBe(index.digest);
  });

  test('an image for another architecture is refused by name', async () => {
    await push('arm', makeImage([await makeLayer([disk])], {architecture: 'arm64'}));
    const error = await failureOf(puller.pull(at(':arm')));
    expect(error.message).toContain('is for linux/arm64; BuildKit archives are for linux/amd64');
  });

  test('something that is no image is told by its type', async () => {
    const layer = await makeLayer([disk]);
    const image = makeImage([layer], {
      patch: {
        config: {
          mediaType: 'application/vnd.cncf.helm.config.v1+json',
          digest: layer.digest,
          size: layer.blob.length,
        },
      },
    });
    await push('chart', image);
    const error = await failureOf(puller.pull(at(':chart')));
    expect(error.message).toContain('is no container image but "application/vnd.cncf.helm.config.v1+json"');
  });
});

describe('layers', () => {
  test('only those down to the one with the disk are downloaded', async () => {
    const [qemu, start, vm] = [
      await makeLayer([{name: 'usr/bin/qemu', content: noise(10_000, 'qemu')}]),
      await makeLayer([disk]),
      await makeLayer([{name: 'start.sh', content: '#!/bin/sh\n'}]),
    ];
    const image = makeImage([qemu, start, vm]);
    await push('three', image);
    proxy.seen.length = 0;
    await puller.pull(at(':three'));
    expect(blobsAsked()).toContain(start.digest);
    expect(blobsAsked()).not.toContain(qemu.digest);
  });

  test('a later layer replaces the disk', async () => {
    const old = await makeLayer([{name: 'vm.qcow2', content: 'old'}]);
    await push('newer', makeImage([old, await makeLayer([{...disk, name: './vm.qcow2'}])]));
    expect((await puller.pull(at(':newer'))).disk.equals(DISK)).toBe(true);
  });

  test.each(['.wh.vm.qcow2', './.wh.vm.qcow2', '.wh..wh..opq'])(
    'the whiteout %s takes it away',
    async name => {
      await push('gone', makeImage([await makeLayer([disk]), await makeLayer([{name}])]));
      const error = await failureOf(puller.pull(at(':gone')));
      expect(error.message).toBe('the image has no /vm.qcow2');
    },
  );

  test('an opaque whiteout in another folder does not', async () => {
    await push('kept', makeImage([await makeLayer([disk]), await makeLayer([{name: 'etc/.wh..wh..opq'}])]));
    expect((await puller.pull(at(':kept'))).disk.equals(DISK)).toBe(true);
  });

  test('an opaque whiteout beside a new disk does not hide it', async () => {
    const newer = await makeLayer([disk, {name: '.wh..wh..opq'}]);
    await push('opaque', makeImage([await makeLayer([{name: 'vm.qcow2', content: 'old'}]), newer]));
    expect((await puller.pull(at(':opaque'))).disk.equals(DISK)).toBe(true);
  });

  test.each(['../vm.qcow2', 'a/../../etc/passwd', '/../x'])('an entry %s is refused', async name => {
    await push('evil', makeImage([await makeLayer([disk, {name, content: 'x'}])]));
    const error = await failureOf(puller.pull(at(':evil')));
    expect(error.message).toContain('climbs out of the image');
  });

  test('a disk that is a symlink is refused', async () => {
    const link = await makeLayer([{name: 'vm.qcow2', type: 'symlink', linkname: '/etc/passwd'}]);
    await push('link', makeImage([await makeLayer([disk]), link]));
    const error = await failureOf(puller.pull(at(':link')));
    expect(error.message).toBe('/vm.qcow2 in the image is no file but a symlink');
  });

  test('bytes behind the end of gzip do no harm', async () => {
    const layer = await makeLayer([disk]);
    const blob = Buffer.concat([layer.blob, Buffer.alloc(600_000)]);
    await push('tail', makeImage([{...layer, blob, digest: sha256(blob)}]));
    expect((await puller.pull(at(':tail'))).disk.equals(DISK)).toBe(true);
  });

  test('gzip in several members, as parallel compressors write it', async () => {
    const plain = await makeLayer([disk], 'none');
    const blob = Buffer.concat([
      gzipSync(plain.blob.subarray(0, 9_999)),
      gzipSync(plain.blob.subarray(9_999)),
    ]);
    await push('members', makeImage([{...plain, blob, digest: sha256(blob)}]));
    expect((await puller.pull(at(':members'))).disk.equals(DISK)).toBe(true);
  });

  test('zeros become holes', async () => {
    const sparse = Buffer.alloc(8 * 1024 ** 2);
    noise(4096).copy(sparse, 5 * 1024 ** 2);
    await push('sparse', makeImage([await makeLayer([{name: 'vm.qcow2', content: sparse}])]));
    const dest = `${puller.dir}/sparse.qcow2`;
    expect((await puller.pull(at(':sparse'), {dest})).disk.equals(sparse)).toBe(true);
    expect(statSync(dest).blocks * 512).toBeLessThan(512 * 1024);
  });
});

test('progress ends with all bytes of the layer', async () => {
  const layer = await makeLayer([disk]);
  await push('progress', makeImage([layer]));
  puller.progress.length = 0;
  await puller.pull(at(':progress'));
  expect(puller.progress.at(-1)).toEqual({
    digest: layer.digest,
    receivedBytes: layer.blob.length,
    totalBytes: layer.blob.length,
  });
});
