import {describe, expect, test} from '@jest/globals';
import {formatReference, isLoopback} from '../../src/base/image-reference.ts';
import {explainCtrImage, parseReference} from '../../src/plan/reference.ts';

const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;

describe('parseReference', () => {
  test.each([
    ['busybox', 'docker.io/library/busybox:latest'],
    ['busybox:1.36', 'docker.io/library/busybox:1.36'],
    ['ssst0n3/docker_archive:buildkit-v0.20.2', 'docker.io/ssst0n3/docker_archive:buildkit-v0.20.2'],
    ['docker.io/busybox', 'docker.io/library/busybox:latest'],
    ['index.docker.io/a/b:c', 'docker.io/a/b:c'],
    ['docker://ghcr.io/a/b', 'ghcr.io/a/b:latest'],
    ['https://ghcr.io/a/b:c', 'ghcr.io/a/b:c'],
    ['ghcr.io/a/b', 'ghcr.io/a/b:latest'],
    [`ghcr.io/a/b@${DIGEST}`, `ghcr.io/a/b@${DIGEST}`],
    [`ghcr.io/a/b:c@${DIGEST}`, `ghcr.io/a/b:c@${DIGEST}`],
    ['localhost/x', 'localhost/x:latest'],
    ['localhost:5000/x:y', 'localhost:5000/x:y'],
    ['127.0.0.1:5000/x/y', '127.0.0.1:5000/x/y:latest'],
    ['[::1]:5000/x', '[::1]:5000/x:latest'],
    ['Registry.Example/x', 'Registry.Example/x:latest'],
    ['registry.example/a__b/c--d.e_f:T-1.x_', 'registry.example/a__b/c--d.e_f:T-1.x_'],
    // docker's rule: without a dot, a colon or "localhost" the first part is a namespace.
    ['registry/x', 'docker.io/registry/x:latest'],
    ['  ghcr.io/a/b  ', 'ghcr.io/a/b:latest'],
  ])('%s → %s', (text, expected) => {
    expect(formatReference(parseReference(text, 'archive'))).toBe(expected);
  });

  test.each([
    ['', 'it names no repository'],
    ['ghcr.io/', 'it names no repository'],
    ['ghcr.io/A/b', 'the repository must be in lower case'],
    ['ghcr.io/a/b:', '"" is no tag'],
    ['ghcr.io/a/b:-x', '"-x" is no tag'],
    [`ghcr.io/a/b:${'x'.repeat(129)}`, 'is no tag'],
    ['ghcr.io/a/b@sha256:12', '"sha256:12" is no digest'],
    ['ghcr.io/a/b@md5:0123', '"md5:0123" is no digest'],
    [`ghcr.io/a/b@${DIGEST}@${DIGEST}`, 'more than one "@"'],
    ['ghcr.io/a//b', '"a//b" is no repository'],
    ['ghcr.io/../b', '"../b" is no repository'],
    ['ghcr.io/a/_b', '"a/_b" is no repository'],
    ['gh cr.io/a', '"gh cr.io" is no host'],
    ['user:pw@ghcr.io/a', '"ghcr.io/a" is no digest'],
    ['ghcr.io:x/a', '"ghcr.io:x" is no host'],
    [`ghcr.io/${'a'.repeat(256)}`, 'longer than 255'],
  ])('refuses %s', (text, message) => {
    expect(() => parseReference(text, 'archive')).toThrow(message);
    expect(() => parseReference(text, 'archive')).toThrow(/^archive: .* is no image reference/);
  });

  test.each([
    ['ghcr.io/a/b', false],
    ['http://registry.example/a', true],
    ['https://localhost:5000/a', false],
    ['localhost:5000/a', true],
    ['127.1.2.3/a', true],
    ['[::1]:80/a', true],
    ['localhost.example/a', false],
    ['128.0.0.1/a', false],
  ])('%s without TLS: %s', (text, plain) => {
    expect(parseReference(text, 'archive').plainHttp).toBe(plain);
  });
});

test.each([
  ['localhost', true],
  ['a.localhost:1', true],
  ['127.0.0.1.example', false],
  ['notlocalhost', false],
])('isLoopback %s: %s', (host, expected) => {
  expect(isLoopback(host)).toBe(expected);
});

describe('explainCtrImage', () => {
  test.each([
    ['ghcr.io/ctrsploit/buildkit-v0.20.2:ctr_v0.2.0', 'ghcr.io/ctrsploit/buildkit-v0.20.2:v0.2.0'],
    ['ghcr.io/ctrsploit/buildkit-v0.20.2:ctr_latest', 'ghcr.io/ctrsploit/buildkit-v0.20.2:latest'],
    ['ssst0n3/docker_archive:ctr_buildkit-v0.3.0', 'docker.io/ssst0n3/docker_archive:buildkit-v0.3.0'],
    ['ghcr.io/x/ctr_buildkit-v0.3.0', 'ghcr.io/x/buildkit-v0.3.0:latest'],
    [`ghcr.io/x/y:ctr_v1@${DIGEST}`, 'ghcr.io/x/y:v1'],
  ])('%s', (text, meant) => {
    const error = explainCtrImage(parseReference(text, 'archive'), 'archive');
    expect(error?.message).toContain('without the VM disk /vm.qcow2');
    expect(error?.hint).toBe(`leave out "ctr_": ${meant}`);
  });

  test.each([
    'ghcr.io/ctrsploit/buildkit-v0.20.2:v0.2.0',
    'ghcr.io/x/y:ctr_mine',
    'ghcr.io/x/vctr_buildkit-1',
  ])('%s may hold a VM', text => {
    expect(explainCtrImage(parseReference(text, 'archive'), 'archive')).toBeUndefined();
  });
});
