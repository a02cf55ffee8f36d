import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import {formatVersion, isAtLeast, type Version, version} from '../../src/base/version.ts';
import {DETECTORS, featuresUsed} from '../../src/build/dockerfile/features.ts';
import {readDockerfile} from '../../src/build/dockerfile/read.ts';
import {type PreflightOptions, preflight} from '../../src/build/preflight.ts';
import {DOCKERFILE_FEATURES, LABS_ONLY_FEATURES} from '../../src/build/versions/dockerfile-features.ts';
import {allRecordings, fixtures, releases} from './diagnose-cases.ts';

function found(text: string, release: string, options: PreflightOptions = {}): string[] {
  return preflight(text, version(release), options).map(
    ({feature, startLine, endLine, severity}) => `${feature} ${startLine}-${endLine} ${severity}`,
  );
}

test('one detector for each feature of the version table, and none more', () => {
  const ids = [...DOCKERFILE_FEATURES, ...LABS_ONLY_FEATURES].map(({id}) => id);
  expect(Object.keys(DETECTORS).sort()).toEqual(ids.sort());
});

/** A Dockerfile line for each feature that a line can use. */
const USES: Readonly<Record<string, string>> = {
  'from-platform': 'FROM --platform=linux/amd64 x',
  'arg-platform': 'ARG TARGETARCH',
  'arg-multi': 'ARG a b=2',
  'copy-chown': 'ADD --chown=1 a b',
  'copy-from-image': 'COPY --from=nginx a b',
  onbuild: 'ONBUILD ENV a=b',
  'var-expand-default': 'ENV a=${b:-c}',
  'var-expand-no-colon': 'ENV a=${b-c}',
  'var-expand-required': 'ENV a=${b:?c}',
  'var-expand-pattern': 'LABEL a="${b%%.*}"',
  'copy-offline': 'COPY a b',
  'run-mount-bind': 'RUN --mount=target=/x x',
  'run-mount-cache': 'RUN --mount=type=cache,target=/x x',
  'run-mount-tmpfs': 'RUN --mount=type=tmpfs,target=/x x',
  'run-mount-tmpfs-size': 'RUN --mount=target=/x,size=1m,type=TMPFS x',
  'run-mount-secret': 'run --mount=type=secret x',
  'run-mount-secret-env': 'RUN --mount=type=secret,id=x,env=Y x',
  'run-mount-ssh': 'RUN --mount=type=ssh x',
  'copy-chmod': 'COPY --chmod=755 a b',
  'add-chmod': 'ADD --chmod=755 a b',
  'copy-chmod-symbolic': 'COPY --chmod=u+x a b',
  'run-network-none': 'RUN --network=none x',
  'run-network-default': 'RUN --network=default x',
  'run-network-host': 'RUN --network=host x',
  'run-heredoc': 'RUN <<E\nx\nE',
  'copy-heredoc': 'ADD <<-E /x\nx\n\tE',
  'copy-link': 'COPY --link a b',
  'add-link': 'ADD --link=true a b',
  'add-checksum': 'ADD --checksum=sha256:0 http://x/y b',
  'add-git': 'ADD https://h.example/a/b.git#v1 /b',
  'add-unpack': 'ADD --unpack=false a b',
  'healthcheck-start-interval': 'HEALTHCHECK --start-interval=1s CMD x',
  'copy-exclude': 'COPY --exclude=*.md a b',
  'copy-parents': 'COPY --parents a b',
  'run-security-sandbox': 'RUN --security=insecure x',
  'run-device': 'RUN --device=x y',
};

describe.each(Object.entries(USES))('%s', (id, line) => {
  const text = `FROM scratch\n${line}\n`;
  const feature = DOCKERFILE_FEATURES.find(one => one.id === id);

  test('is seen', () => {
    expect(featuresUsed(readDockerfile(text)).map(use => use.feature)).toContain(id);
  });

  test('is a finding before its first release and none from it on', () => {
    const has = (release: string) => found(text, release).some(one => one.startsWith(`${id} 2-`));
    if (!feature) return expect([has('v0.3.0'), has('v0.32.2')]).toEqual([true, true]);
    expect(has(formatVersion(feature.first))).toBe(false);
    expect(has(releaseBefore(feature.first))).toBe(feature.first.minor > 3);
  });
});

function releaseBefore({minor}: Version): string {
  return `v0.${Math.max(3, minor - 1)}.0`;
}

test.each([
  ['RUN echo "${x#y}" --mount=type=cache $((1<<3))'],
  ['RUN ["echo", "<<EOF"]'],
  ["ENV a='${b#c}'"],
  ['ENV a=\\${b#c}'],
  ['CMD x <<EOF'],
  ['ADD https://h.example/a.tar.gz /b'],
  ['COPY --chmod=0755 a.git b'],
])('no finding on v0.9.0: %s', line => {
  expect(found(`FROM scratch\n${line}\n`, 'v0.9.0')).toEqual([]);
});

describe('severity', () => {
  test('v0.8.0 to v0.15.2 ignore a symbolic mode, v0.16.0 to v0.19.0 refuse it', () => {
    const text = 'FROM a\nADD --chmod=u=rwX a b\n';
    const severity = (release: string) => found(text, release).filter(one => one.includes('symbolic'));
    expect(['v0.7.0', 'v0.8.0', 'v0.15.2', 'v0.16.0', 'v0.19.0', 'v0.20.0'].map(severity)).toEqual([
      ['copy-chmod-symbolic 2-2 error'],
      ['copy-chmod-symbolic 2-2 warning'],
      ['copy-chmod-symbolic 2-2 warning'],
      ['copy-chmod-symbolic 2-2 error'],
      ['copy-chmod-symbolic 2-2 error'],
      [],
    ]);
  });

  test('the helper image of v0.3 and v0.4 is a condition, and none with a copy at hand', () => {
    expect(found('FROM a\nCOPY a b\nADD c d\n', 'v0.4.0')).toEqual(['copy-offline 2-2 info']);
    expect(found('FROM a\nCOPY a b\n', 'v0.4.0', {overrideCopyImage: 'r/copy'})).toEqual([]);
  });

  test('an ignored Dockerfile.dockerignore, and a check directive that is a comment', () => {
    expect(found('FROM a\n', 'v0.4.0', {hasSpecificDockerignore: true})).toEqual([
      'specific-dockerignore 1-1 warning',
    ]);
    expect(found('FROM a\n', 'v0.5.0', {hasSpecificDockerignore: true})).toEqual([]);
    expect(found('# check=skip=all\nFROM a\n', 'v0.13.0')).toEqual(['check-directive 1-1 info']);
  });

  test('what an ONBUILD holds fails only where this build triggers it', () => {
    const text = 'FROM scratch AS a\nONBUILD RUN --network=none x\n';
    expect(found(text, 'v0.8.0')).toEqual(['run-network-none 2-2 warning']);
    expect(found(`${text}FROM a\n`, 'v0.8.0')).toEqual(['run-network-none 2-2 error']);
  });
});

describe('a frontend of its own', () => {
  const body = 'FROM a\nRUN <<E\nx\nE\n';
  test.each<[string, string, PreflightOptions, string[]]>([
    ['# syntax=docker/dockerfile:1\n', 'v0.7.0', {}, ['syntax-directive 1-1 info']],
    ['# escape=`\n# syntax=x\n', 'v0.3.0', {}, ['syntax-directive 2-2 info']],
    ['// syntax=x\n', 'v0.11.0', {}, ['syntax-directive 1-1 info']],
    ['// syntax=x\n', 'v0.9.0', {}, ['run-heredoc 3-5 error']],
    ['', 'v0.8.0', {buildArgs: {BUILDKIT_SYNTAX: 'x'}}, ['syntax-directive 1-1 info']],
    ['', 'v0.7.2', {buildArgs: {BUILDKIT_SYNTAX: 'x'}}, ['run-heredoc 2-4 error']],
    ['# a comment\n# syntax=x\n', 'v0.9.0', {}, ['run-heredoc 4-6 error']],
  ])('%j on %s', (head, release, options, expected) => {
    expect(found(head + body, release, options)).toEqual(expected);
  });
});

test('a finding says what, where, and from when', () => {
  const [finding] = preflight('FROM a\n\nCOPY --link a \\\n  b\n', version('v0.9.3'));
  expect(finding).toEqual({
    feature: 'copy-link',
    instruction: 'COPY',
    startLine: 3,
    endLine: 4,
    first: 'v0.10.0',
    message: 'COPY --link works from BuildKit v0.10.0, this is v0.9.3',
    severity: 'error',
  });
});

/** Probes that fail though the release knows the feature, or that no finding is meant for. */
const NOT_FORESEEN: ReadonlySet<string> = new Set([
  'copy-from-var',
  'onbuild-copy-from',
  'specific-dockerignore',
  'var-expand-required',
]);

function checkProbes(release: string, text: string): number {
  const parts = text.split(/^===== /m).slice(1);
  for (const part of parts) {
    const [, name = '', dockerfile = '', exit = '0'] =
      /^(.*)\n----- Dockerfile\n(.*?)(?:----- std\w+\n.*?)?----- exit (\d+)/s.exec(part) ?? [];
    if (NOT_FORESEEN.has(name)) continue;
    const errors = preflight(dockerfile, version(release)).filter(one => one.severity === 'error');
    expect([release, name, errors.length > 0]).toEqual([release, name, exit !== '0']);
  }
  return parts.length;
}

describe('an error is foreseen where the build failed, and only there', () => {
  test('copied probes of v0.9.0', () => {
    expect(checkProbes('v0.9.0', readFileSync(join(fixtures, 'features-v0.9.0.txt'), 'utf8'))).toBe(43);
  });

  test(`recorded probes of ${releases().length} releases`, () => {
    for (const release of releases()) {
      const text = readFileSync(join(allRecordings, release, 'features/outputs.txt'), 'utf8');
      expect(checkProbes(release, text)).toBe(43);
    }
    expect(releases().every(release => isAtLeast(version(release), version('v0.3.0')))).toBe(true);
  });
});
