import {createHash} from 'node:crypto';
import {describe, expect, test} from '@jest/globals';
import {digestOf, parseDocuments, printDocuments} from '../../src/archive/documents.ts';
import {localRegistryTools} from '../../src/host/registry.ts';

const hasher = localRegistryTools({find: async () => undefined}).createHash;
const digest = (bytes: Buffer | string, algorithm: 'sha256' | 'sha512' = 'sha256'): string =>
  `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
const manifest = Buffer.from('{"schemaVersion":2}\n');
// A layer is no text.
const layer = Buffer.from([0x1f, 0x8b, 0xff, 0x00, 0xc3, 0x28]);
const file = (value: unknown): string => JSON.stringify(value);
const base64 = (bytes: Buffer): string => bytes.toString('base64');

test('what is printed is read again, byte by byte', () => {
  const blobs = new Map([
    [digest(manifest), manifest],
    [digest(layer, 'sha512'), layer],
  ]);
  const diskLayer = digest('disk');
  expect(parseDocuments(printDocuments({blobs, diskLayer}), hasher)).toEqual({blobs, diskLayer});
  expect(parseDocuments(printDocuments({blobs}), hasher)).toEqual({blobs});
});

test('a digest is made by the algorithm of another', () => {
  expect(digestOf(hasher, layer, digest(manifest))).toBe(digest(layer));
  expect(digestOf(hasher, layer, digest(manifest, 'sha512'))).toBe(digest(layer, 'sha512'));
});

describe('what is no such file', () => {
  test.each([
    '',
    'x',
    'null',
    '[]',
    '1',
    '{}',
    file({schema: 2, blobs: {}}),
    file({schema: 1}),
    file({schema: 1, blobs: null}),
  ])('%j', text => {
    expect(parseDocuments(text, hasher)).toBeUndefined();
  });
});

describe('what is left out', () => {
  test.each<[string, Record<string, unknown>]>([
    ['bytes of another digest', {[digest(manifest)]: base64(layer)}],
    ['bytes that were cut', {[digest(manifest)]: base64(manifest.subarray(1))}],
    ['no bytes', {[digest(manifest)]: 42}],
    ['no digest', {latest: base64(manifest)}],
    ['a digest that is not pinned', {[`md5:${'a'.repeat(32)}`]: base64(manifest)}],
    ['a name of every object', {['__proto__']: base64(manifest)}],
  ])('%s', (_, blobs) => {
    const good = {[digest(layer)]: base64(layer)};
    expect(parseDocuments(file({schema: 1, blobs: {...blobs, ...good}}), hasher)).toEqual({
      blobs: new Map([[digest(layer), layer]]),
    });
  });

  test.each(['', 'sha256:abc', 7, null])('the layer %j', diskLayer => {
    expect(parseDocuments(file({schema: 1, blobs: {}, diskLayer}), hasher)).toEqual({blobs: new Map()});
  });
});
