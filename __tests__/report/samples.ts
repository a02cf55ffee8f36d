import type {JobResult, Outcome} from '../../src/base/result.ts';
import type {BuildTrace, Step} from '../../src/base/trace.ts';

export function step(number: number, changes: Partial<Step> = {}): Step {
  return {
    id: `sha256:${String(number).padStart(64, '0')}`,
    name: `[build ${number}/9] RUN make part-${number}`,
    stage: 'build',
    position: {index: number, total: 9},
    state: 'done',
    cached: false,
    intervals: [{startedSeconds: number - 1, completedSeconds: number}],
    seconds: 1,
    logs: {head: [], tail: [{stream: 'stdout', atSeconds: 0.05, text: `part ${number}`}], omittedLines: 0},
    statuses: [],
    ...changes,
  };
}

const FAILING: Step = step(3, {
  name: '[build 3/4] RUN echo line one;     echo boom >&2;     exit 7',
  state: 'failed',
  error: 'process "/bin/sh -c exit 7" did not complete successfully: exit code: 7',
  exitCode: 7,
  logs: {
    head: [{stream: 'stdout', atSeconds: 0.04, text: 'line one'}],
    tail: [{stream: 'stderr', atSeconds: 0.05, text: 'boom'}],
    omittedLines: 0,
  },
});

export const TRACE: BuildTrace = {
  steps: [
    step(1, {name: '[internal] load build definition from Dockerfile', stage: 'internal'}),
    step(2, {
      state: 'cached',
      cached: true,
      seconds: 0,
      intervals: [{startedSeconds: 1, completedSeconds: 1}],
    }),
    step(3),
    step(4, {
      name: '[linux/arm64 build 4/4] COPY . /src',
      platform: 'linux/arm64',
      statuses: [{id: 'transferring', current: 10, total: 10, unit: 'bytes', seconds: 0.1, done: true}],
    }),
  ],
  warnings: [
    {
      step: `sha256:${'1'.padStart(64, '0')}`,
      message: "FromAsCasing: 'as' and 'FROM' keywords' casing do not match",
      file: 'Dockerfile',
      line: 1,
      url: 'https://docs.docker.com/go/dockerfile/rule/from-as-casing/',
    },
  ],
};

export const BUILT: JobResult = {
  schema: 1,
  archive: {reference: 'archives/buildkit-v0.20.2.qcow2', requestedBuildkit: 'v0.20.2'},
  versions: {
    buildkit: {
      version: 'v0.20.2',
      commit: '97437fdd7e32f29bb80288d800cd4ffcb34e1c15',
      package: 'github.com/moby/buildkit',
    },
    buildctl: {version: 'v0.20.2', commit: '97437fdd7e32f29bb80288d800cd4ffcb34e1c15'},
    runc: {
      version: '1.1.5+ds1',
      commit: '1.1.5+ds1-1+deb12u1',
      spec: '1.0.2-dev',
      go: 'go1.19.8',
      libseccomp: '2.5.4',
    },
    kernel: '6.1.0-29-amd64',
    os: 'Debian GNU/Linux 12 (bookworm)',
    architecture: 'x86_64',
    systemd: {version: '252', state: 'running', failedUnits: []},
    workers: [
      {
        id: 'aju7uz0inihqsgeaejruurhwg',
        platforms: ['linux/amd64', 'linux/386'],
        labels: {'org.mobyproject.buildkit.worker.executor': 'oci'},
        snapshotter: 'overlayfs',
      },
    ],
  },
  machine: {
    launcher: 'qemu',
    launcherReason: "the host's QEMU",
    accelerator: 'tcg',
    acceleratorReason: '/dev/kvm does not exist',
    qemuVersion: '7.2.15',
    cpus: 2,
    memoryMib: 2048,
  },
  outcome: {kind: 'built'},
  trace: TRACE,
  metadata: {'containerimage.digest': `sha256:${'ab'.repeat(32)}`},
  imageId: `sha256:${'cd'.repeat(32)}`,
  digest: `sha256:${'ab'.repeat(32)}`,
  outputs: [{type: 'local', path: 'out', bytes: 123_456}],
  warnings: [],
  timings: {
    archiveSeconds: 0.4,
    bootSeconds: 41.25,
    inspectSeconds: 1.5,
    contextSeconds: 0.08,
    contextBytes: 1_234_567,
    contextFiles: 12,
    buildSeconds: 12.345_678,
    outputsSeconds: 0.2,
    cleanupSeconds: 0.3,
    totalSeconds: 56.1,
  },
};

const BUILD_FAILED: Outcome = {
  kind: 'build-failed',
  failureKind: 'run-failed',
  step: FAILING.name,
  stepId: FAILING.id,
  exitCode: 7,
  message: 'process "/bin/sh -c exit 7" did not complete successfully: exit code: 7',
  location: {file: 'images/Dockerfile', startLine: 5, endLine: 7},
  hint: 'Run the command in a container of the stage before it.',
};

export const FAILED: JobResult = {
  ...BUILT,
  outcome: BUILD_FAILED,
  outputs: [],
  trace: {
    steps: [...TRACE.steps.slice(0, 2), FAILING],
    warnings: [],
    excerpt: {
      file: 'Dockerfile',
      line: 5,
      lines: [
        {number: 4, text: 'RUN echo about to fail', marked: false},
        {number: 5, text: 'RUN echo line one; \\', marked: true},
        {number: 6, text: '    echo boom >&2; \\', marked: true},
        {number: 7, text: '    exit 7', marked: true},
        {number: 8, text: 'RUN echo never reached', marked: false},
      ],
    },
    error: BUILD_FAILED.message,
  },
};

export const INFRA_FAILED: JobResult = {
  schema: 1,
  archive: {reference: 'archives/broken.qcow2'},
  outcome: {
    kind: 'infra-failed',
    stage: 'vm',
    message: 'no SSH banner within 120 s',
    hint: 'Raise boot-timeout, or look at the serial console below.',
    internal: true,
  },
  outputs: [],
  warnings: ['KVM opens, but the guest shows no sign of life'],
  timings: {archiveSeconds: 0.2, totalSeconds: 120.7},
};

export const CANCELED: JobResult = {
  ...INFRA_FAILED,
  outcome: {kind: 'canceled', stage: 'build', message: 'SIGINT'},
};

export const RESULTS: readonly [string, JobResult][] = [
  ['a built result', BUILT],
  ['a failed build', FAILED],
  ['a failed machine', INFRA_FAILED],
  ['a canceled job', CANCELED],
];

/** `result` with every string that the machine or the Dockerfile decides replaced by `text`. */
export function poisoned(result: JobResult, text: string): JobResult {
  const fixed = new Set([
    'kind',
    'failureKind',
    'state',
    'stream',
    'unit',
    'accelerator',
    'launcher',
    'stage',
  ]);
  const walk = (value: unknown, key: string, inStep: boolean): unknown => {
    if (typeof value === 'string') return fixed.has(key) && !(inStep && key === 'stage') ? value : text;
    if (Array.isArray(value)) return value.map(item => walk(item, key, key === 'steps'));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, walk(item, name, inStep)]));
  };
  const poisonedResult = walk(result, '', false) as JobResult;
  const failed = poisonedResult.trace?.steps.find(item => item.state === 'failed');
  return failed && poisonedResult.outcome.kind === 'build-failed'
    ? {...poisonedResult, outcome: {...poisonedResult.outcome, stepId: failed.id}}
    : poisonedResult;
}

export function manySteps(count: number): JobResult {
  const steps = Array.from({length: count}, (_, index) =>
    step(index + 1, {
      name: `[stage-${index % 7} ${index + 1}/${count}] RUN command number ${index + 1} with a rather long line of arguments`,
      stage: `stage-${index % 7}`,
      seconds: ((index * 37) % 100) / 10,
      intervals: [{startedSeconds: index * 0.7, completedSeconds: index * 0.7 + ((index * 37) % 100) / 10}],
      ...(index % 3 === 0 ? {state: 'cached' as const, cached: true} : {}),
    }),
  );
  return {...BUILT, trace: {...TRACE, steps}};
}
