import {describe, expect, test} from '@jest/globals';
import {nearest} from '../../src/base/nearest.ts';
import type {FailureKind} from '../../src/base/result.ts';
import type {BuildTrace, Step, StepState} from '../../src/base/trace.ts';
import {version} from '../../src/base/version.ts';
import {type DiagnoseInput, type Diagnosis, diagnose} from '../../src/build/diagnose/diagnose.ts';
import {parseStepName} from '../../src/progress/names.ts';

const DOCKERFILE =
  'FROM alpine:3 AS base\nCOPY app.js /app.js\nRUN make all\nFROM base AS final\nRUN ./test\n';

interface Fault {
  /** The failed step's name. */
  readonly step?: string;
  readonly error: string;
  /** The final error, when it is not the step's. */
  readonly final?: string;
  readonly log?: string;
  readonly exitCode?: number;
}

function traceOf({step, error, final, log, exitCode}: Fault): BuildTrace {
  const failed: Step[] = step
    ? [
        {
          id: '#5',
          name: step,
          ...parseStepName(step),
          state: 'failed',
          cached: false,
          intervals: [],
          error,
          ...(exitCode === undefined ? {} : {exitCode}),
          logs: {
            head: (log ?? '').split('\n').map(text => ({stream: 'unknown', text})),
            tail: [],
            omittedLines: 0,
          },
          statuses: [],
        },
      ]
    : [];
  return {steps: failed, warnings: [], error: final ?? error};
}

function answer(fault: Fault, more: Partial<DiagnoseInput> = {}): Diagnosis {
  const found = diagnose({trace: traceOf(fault), exitCode: 1, dockerfile: DOCKERFILE, ...more});
  if (!found) throw new Error('no diagnosis');
  return found;
}

const RUN = '[base 3/3] RUN make all';
const META = '[internal] load metadata for docker.io/library/alpine:3';
const runError = (code: number) =>
  `process "/bin/sh -c make all" did not complete successfully: exit code: ${code}`;

describe('registry, network and daemon', () => {
  const http =
    'unexpected status from HEAD request to https://registry-1.docker.io/v2/library/alpine/manifests/3';
  test.each<[FailureKind, string]>([
    ['registry', 'docker.io/library/alpine:3: not found'],
    [
      'registry',
      'pull access denied, repository does not exist or may require authorization: insufficient_scope',
    ],
    ['registry', `${http}: 401 Unauthorized`],
    ['registry', `${http}: 403 Forbidden`],
    ['registry', `${http}: 429 Too Many Requests`],
    [
      'registry',
      'failed to copy: httpReadSeeker: failed open: unexpected status code 429: toomanyrequests: limit',
    ],
    ['registry', `${http}: 503 Service Unavailable`],
    ['registry', 'manifest unknown: manifest unknown'],
    ['registry', 'no match for platform in manifest: not found'],
    [
      'registry',
      'failed to do request: Head "https://r:5000/v2/": http: server gave HTTP response to HTTPS client',
    ],
    [
      'network',
      'failed to do request: Head "https://r.example/v2/": dial tcp: lookup r.example: no such host',
    ],
    ['network', 'failed to do request: Head "https://r.example/v2/": dial tcp 10.0.0.1:443: i/o timeout'],
    ['network', 'failed to do request: Head "https://r.example/v2/": net/http: TLS handshake timeout'],
    ['network', 'failed to do request: Head "https://r.example/v2/": context deadline exceeded'],
    [
      'network',
      'failed to do request: Head "https://r.example/v2/": x509: certificate signed by unknown authority',
    ],
    [
      'network',
      'failed to do request: Get "https://r.example/v2/": dial tcp 10.0.0.1:443: connect: connection refused',
    ],
    [
      'network',
      'failed to authorize: failed to fetch anonymous token: Get "https://auth.example/token": dial tcp 1.1.1.1:443: connect: network is unreachable',
    ],
    ['daemon', 'Unavailable: error reading from server: EOF'],
    ['daemon', 'Unavailable: transport is closing'],
    [
      'daemon',
      'Unavailable: connection error: desc = "transport: Error while dialing: dial unix /run/b.sock: connect: no such file or directory"',
    ],
    ['timeout', 'DeadlineExceeded: context deadline exceeded'],
    ['canceled', 'context canceled'],
    ['infra', 'something that nobody has seen'],
  ])('%s: %s', (kind, error) => {
    expect(answer({step: META, error}).kind).toBe(kind);
  });

  test('the image that cannot be had stands at its FROM line', () => {
    const found = answer({step: META, error: 'docker.io/library/alpine:3: not found'});
    expect(found).toMatchObject({
      dockerfileLine: 1,
      summary: 'docker.io/library/alpine:3 is not in the registry',
    });
  });

  test('a cancellation and a timeout of the caller go before all else', () => {
    const fault = {step: RUN, error: runError(137), exitCode: 137};
    expect(answer(fault, {machine: {stopped: 'timeout'}}).kind).toBe('timeout');
    expect(answer(fault, {machine: {stopped: 'canceled'}}).kind).toBe('canceled');
  });

  test.each<[string, StepState, boolean]>([
    // As BuildKit v0.20.2 and v0.8 name it; canceled by our interrupt, or still running when that did not help.
    ['exporting to client directory', 'canceled', true],
    ['exporting to client', 'running', true],
    ['exporting to client directory', 'done', false],
    ['exporting to client tarball', 'canceled', false],
  ])('a time limit in %s, which is %s', (name, state, isKnown) => {
    const trace = traceOf({step: name, error: 'Canceled: context canceled'});
    const steps = trace.steps.map(step => ({...step, state}));
    const of = (stopped: 'timeout' | 'canceled') =>
      diagnose({trace: {...trace, steps}, exitCode: 1, machine: {stopped}});
    expect(of('timeout')?.kind).toBe('timeout');
    expect(of('timeout')?.hint.includes('type=tar')).toBe(isKnown);
    expect(of('canceled')?.kind).toBe('canceled');
  });

  test('a RUN that had no network has failed by itself, with a word on the network', () => {
    const found = answer({
      step: RUN,
      error: runError(6),
      log: 'curl: (6) Could not resolve host: x',
      exitCode: 6,
    });
    expect(found).toMatchObject({kind: 'run-failed', exitCode: 6, hint: expect.stringContaining('DNS')});
  });
});

describe('special knowledge', () => {
  const offline =
    'failed to do request: Head "https://registry-1.docker.io/v2/x": dial tcp: lookup registry-1.docker.io: no such host';

  test('v0.3 and v0.4 pull a copy image for every COPY and ADD', () => {
    const step = '[internal] helper image for file operations';
    const found = answer({step, error: offline}, {version: version('v0.4.0')});
    expect(found).toMatchObject({kind: 'network', dockerfileLine: 2, worksFrom: 'v0.5.0'});
    expect(found.hint).toContain('override-copy-image');
    const refused = answer({step: META, error: 'docker.io/tonistiigi/copy:v0.1.7: not found'});
    expect(refused).toMatchObject({kind: 'registry', hint: expect.stringContaining('override-copy-image')});
    expect(answer({step: META, error: offline}, {version: version('v0.4.0')}).hint).not.toContain('override');
  });

  test.each(['runc did not terminate sucessfully', 'runc did not terminate successfully'])(
    'v0.6.2 to v0.7.2 lose the exit code: %s',
    words => {
      const error = `executor failed running [/bin/sh -c make all]: ${words}`;
      const found = answer({step: RUN, error}, {version: version('v0.7.2')});
      expect(found).toMatchObject({kind: 'run-failed', summary: `${RUN} failed`, dockerfileLine: 3});
      expect(found.hint).toContain('v0.6.2 to v0.7.2 lose the exit code');
      expect(found.exitCode).toBeUndefined();
    },
  );

  test.each([
    ['v0.6.4', true],
    ['v0.7.0', false],
  ])('mirrors before v0.7.0: %s', (release, told) => {
    const error =
      'failed to do request: Head "https://mirror.example:5000/v2/library/alpine/manifests/3": dial tcp: connection refused';
    const step = '[internal] load metadata for origin.example/library/alpine:3';
    const found = answer({step, error}, {version: version(release)});
    expect(found.kind).toBe('network');
    expect(found.hint.includes('is a mirror of origin.example')).toBe(told);
  });

  test("a new runc's masked-path tmpfs on an old kernel", () => {
    const log =
      'runc run failed: unable to start container process: error during container init: can\'t mask dir "/proc/acpi": mount src=tmpfs, dst=/proc/acpi, flags=MS_RDONLY, data=nr_blocks=1,nr_inodes=1: invalid argument';
    const found = answer(
      {step: RUN, error: runError(1), log, exitCode: 1},
      {version: version('v0.31.0'), machine: {kernel: '5.4.0-216-generic', runc: '1.5.0'}},
    );
    expect(found).toMatchObject({kind: 'kernel', dockerfileLine: 3});
    expect(found.summary).toContain('kernel 5.4.0-216-generic, runc 1.5.0');
    expect(found.hint).toContain('before v0.31.0');
  });

  test.each([
    [
      'runc run failed: unable to start container process: error adding seccomp filter rule for syscall bdflush: permission denied',
      'seccomp',
    ],
    [
      'runc run failed: unable to start container process: unable to apply cgroup configuration: mkdir /sys/fs/cgroup/x: operation not permitted',
      'cgroup',
    ],
    [
      'container_linux.go:380: starting container process caused: process_linux.go:545: container init caused: rootfs_linux.go:76: mounting "tmpfs" to rootfs caused: unknown mount option',
      'mount',
    ],
    ['runc run failed: unable to start container process: open_tree: function not implemented', 'lacks'],
  ])('kernel: %s', (log, word) => {
    const found = answer({step: RUN, error: runError(1), log, exitCode: 1});
    expect(found.kind).toBe('kernel');
    expect(found.summary).toContain(word);
  });

  test.each([
    'runc run failed: unable to start container process: exec: "mkae": executable file not found in $PATH',
    'exec /bin/x: exec format error',
    'make: seccomp: cgroup: operation not permitted',
  ])('not the kernel: %s', log => {
    expect(answer({step: RUN, error: runError(1), log, exitCode: 1}).kind).toBe('run-failed');
  });

  test('an overlay mount that the kernel refuses', () => {
    const error =
      'failed to mount /tmp/buildkit-mount1: [{Type:overlay Source:overlay}]: mount source: "overlay", fstype: overlay, err: invalid argument';
    expect(answer({step: RUN, error}).kind).toBe('kernel');
  });
});

describe('space and memory', () => {
  test.each<[FailureKind, Fault, DiagnoseInput['machine']]>([
    ['out-of-space', {step: RUN, error: runError(1), log: 'cp: write error: No space left on device'}, {}],
    ['out-of-space', {error: 'failed to solve: write /x: no space left on device'}, {}],
    ['out-of-space', {step: RUN, error: runError(1)}, {diskFull: true}],
    ['run-failed', {step: RUN, error: runError(137), exitCode: 137, log: 'Killed'}, {}],
    ['out-of-memory', {step: RUN, error: runError(137), exitCode: 137, log: 'Killed'}, {oomSeen: true}],
    ['out-of-memory', {step: RUN, error: `${runError(137)}: cannot allocate memory`, exitCode: 137}, {}],
    [
      'out-of-memory',
      {step: RUN, error: runError(1), log: 'g++: fatal error: Killed signal terminated program cc1plus'},
      {},
    ],
    ['run-failed', {step: RUN, error: runError(2), exitCode: 2}, {oomSeen: true}],
  ])('%s', (kind, fault, machine) => {
    expect(answer(fault, {machine: machine ?? {}}).kind).toBe(kind);
  });

  test('137 without evidence is told as such', () => {
    expect(answer({step: RUN, error: runError(137), exitCode: 137}).hint).toContain('SIGKILL');
  });

  test('exit codes that say something', () => {
    expect(answer({step: RUN, error: runError(127), exitCode: 127}).hint).toContain('not in the image');
    expect(answer({step: RUN, error: runError(126), exitCode: 126}).hint).toContain('mode bits');
  });
});

describe('missing files', () => {
  const step = '[base 2/3] COPY app.js /app.js';
  const error = 'failed to calculate checksum of ref a::b: "/app.js": not found';

  test('nearest name, and what .dockerignore left out', () => {
    const hint = (contextFiles: string[]) => answer({step, error}, {contextFiles}).hint;
    expect(hint(['apps.js', 'other'])).toContain('Did you mean "apps.js"?');
    expect(hint(['app.js', '.dockerignore'])).toContain('a pattern of .dockerignore leaves it out');
    expect(hint(['app.js', 'Dockerfile.dockerignore'])).toContain('Dockerfile.dockerignore leaves it out');
    expect(hint([])).toContain('relative to the context');
  });

  test('v0.3 does not name the file: the COPY line does', () => {
    const found = answer({step, error: ' not found: not found', final: 'not found: not found'});
    expect(found).toMatchObject({
      kind: 'missing-file',
      dockerfileLine: 2,
      summary: '"app.js" is not in the build context',
    });
  });

  test.each([
    ['lstat /tmp/buildkit-mount123/sub/x: no such file or directory', '', '"/sub/x"'],
    [
      'executor failed running [copy /src-0/x dest]: exit code: 1',
      'lstat /src-0/x: no such file or directory',
      '"/x"',
    ],
    ['no source files were specified', '', '"app.js"'],
  ])('other words of old releases: %s', (words, log, path) => {
    const found = answer({step, error: words, log});
    expect(found).toMatchObject({
      kind: 'missing-file',
      dockerfileLine: 2,
      summary: expect.stringContaining(path),
    });
  });

  test('a secret and a context folder', () => {
    expect(answer({step: RUN, error: 'secret token: not found'}).summary).toContain('"token"');
    expect(answer({error: 'could not find nodir: stat nodir: no such file or directory'}).kind).toBe(
      'missing-file',
    );
  });
});

describe('the Dockerfile', () => {
  test('a target with a typing error', () => {
    const found = answer({error: 'target stage "finl" could not be found'});
    expect(found).toMatchObject({kind: 'dockerfile', hint: 'Did you mean "final"? Its stages: base, final.'});
  });

  test('parse errors: the line from the words, all lines of the instruction', () => {
    const dockerfile = 'FROM a\nRUNN x \\\n  y\n';
    const found = answer({error: 'Dockerfile parse error line 2: unknown instruction: RUNN'}, {dockerfile});
    expect(found).toMatchObject({
      kind: 'dockerfile',
      lines: {startLine: 2, endLine: 3},
      hint: 'Did you mean RUN?',
    });
  });

  test('an unknown flag that is a feature of a later release, with and without the Dockerfile', () => {
    const error = 'Dockerfile parse error line 2: Unknown flag: mount';
    const dockerfile = 'FROM a\nRUN --mount=type=tmpfs,target=/t,size=1m x\n';
    const release = version('v0.7.2');
    expect(answer({error}, {dockerfile, version: release})).toMatchObject({
      kind: 'unsupported-feature',
      worksFrom: 'v0.10.0',
      dockerfileLine: 2,
    });
    const {dockerfile: _none, ...bare} = {trace: traceOf({error}), exitCode: 1, version: release, dockerfile};
    expect(diagnose(bare)).toMatchObject({
      kind: 'unsupported-feature',
      worksFrom: 'v0.8.0',
      dockerfileLine: 2,
    });
  });

  test('an unknown flag that the release does know elsewhere is a fault of the file', () => {
    const dockerfile = 'FROM a\nRUN --link x\n';
    const error = 'dockerfile parse error on line 2: unknown flag: --link';
    expect(answer({error}, {dockerfile, version: version('v0.20.2')}).kind).toBe('dockerfile');
  });

  test('with a frontend of its own it is that image that is too old', () => {
    const dockerfile = '# syntax=docker/dockerfile:1.0\nFROM a\nRUN --mount=type=cache,target=/c x\n';
    const error = 'dockerfile parse error line 3: Unknown flag: mount';
    const found = answer({error}, {dockerfile, version: version('v0.20.2')});
    expect(found).toMatchObject({kind: 'unsupported-feature', dockerfileLine: 3});
    expect(found.summary).toContain('docker/dockerfile:1.0 does not know RUN --mount=type=cache');
    expect(found.worksFrom).toBeUndefined();
  });

  test('ONBUILD COPY --from= between v0.5.0 and v0.16.0', () => {
    const dockerfile = 'FROM scratch AS b\nCOPY f /\nFROM scratch AS a\nONBUILD COPY --from=b /f /\nFROM a\n';
    const fault = {
      step: 'COPY --from=b /f /',
      error: 'lstat /tmp/buildkit-mount1/f: no such file or directory',
    };
    const kind = (release: string) => answer(fault, {dockerfile, version: version(release)}).kind;
    expect(['v0.4.0', 'v0.5.0', 'v0.16.0', 'v0.17.0'].map(kind)).toEqual([
      'missing-file',
      'unsupported-feature',
      'unsupported-feature',
      'missing-file',
    ]);
  });
});

test("a step's ERROR does not mean that the build failed", () => {
  const trace = traceOf({step: 'importing cache manifest from r/x', error: 'r/x: not found'});
  expect(diagnose({trace, exitCode: 0})).toBeUndefined();
  const {error: _none, ...built} = trace;
  expect(diagnose({trace: built})).toBeUndefined();
  const both = {
    ...trace,
    steps: [...traceOf({step: RUN, error: runError(2)}).steps, ...trace.steps],
    error: 'lost',
  };
  expect(diagnose({trace: both, exitCode: 1})?.step).toBe(RUN);
});

test('with nothing to go on there is still an answer', () => {
  expect(diagnose({trace: {steps: [], warnings: []}, exitCode: 1})).toMatchObject({kind: 'infra'});
});

test.each([
  ['RUNN', ['RUN', 'COPY'], 'RUN'],
  ['nonexistent.txt', ['src/main.ts'], undefined],
  ['readme.md', ['README.md', 'README'], 'README.md'],
])('nearest to %s', (wanted, candidates, expected) => {
  expect(nearest(wanted, candidates)).toBe(expected);
});
