import type {DerivedFacts} from './derive.ts';
import type {Stage} from './errors.ts';
import type {BuildTrace} from './trace.ts';

/** The version of the `JobResult` format; `schema/job-result.schema.json` describes it. */
export const JOB_RESULT_SCHEMA = 1;

/** What a job found and did. A published format: the report action merges it, `--json` prints it. */
export interface JobResult {
  readonly schema: typeof JOB_RESULT_SCHEMA;
  readonly archive: {
    /** As the user named it. */
    readonly reference: string;
    /** The BuildKit that was asked for, when one was. */
    readonly requestedBuildkit?: string;
  };
  readonly versions?: Versions;
  readonly machine?: MachineFacts;
  /** Where others reach the BuildKit of a machine that was kept running: `unix://` and a path. */
  readonly buildkitHost?: string;
  readonly outcome: Outcome;
  readonly trace?: BuildTrace;
  /** `containerimage.*` and what else `--metadata-file` held, or what was read another way. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly imageId?: string;
  readonly digest?: string;
  readonly outputs: readonly {readonly type: string; readonly path: string; readonly bytes?: number}[];
  readonly warnings: readonly string[];
  readonly timings: Timings;
}

export type Outcome =
  | {readonly kind: 'built'}
  | {
      readonly kind: 'build-failed';
      readonly failureKind: FailureKind;
      /** Name of the step that failed; absent when the build failed outside any step. */
      readonly step?: string;
      readonly stepId?: string;
      readonly exitCode?: number;
      readonly message: string;
      readonly location?: SourceLocation;
      readonly hint?: string;
    }
  | {
      readonly kind: 'infra-failed';
      readonly stage: Stage;
      readonly message: string;
      readonly hint?: string;
      /** False when it is the user's to mend (bad input), true when it is ours or the machine's. */
      readonly internal: boolean;
    }
  | {readonly kind: 'canceled'; readonly stage: Stage; readonly message: string};

/** Which outcome of a build lets a job pass. */
export const EXPECTATIONS = ['success', 'failure', 'any'] as const;
export type Expectation = (typeof EXPECTATIONS)[number];

export const FAILURE_KINDS = [
  'dockerfile',
  'unsupported-feature',
  'run-failed',
  'missing-file',
  'registry',
  'network',
  'daemon',
  'out-of-space',
  'out-of-memory',
  'kernel',
  'timeout',
  'canceled',
  'infra',
] as const;
export type FailureKind = (typeof FAILURE_KINDS)[number];

/** A place in the user's repository. */
export interface SourceLocation {
  /** Path relative to the workspace where possible. */
  readonly file: string;
  readonly startLine: number;
  readonly endLine: number;
}

/** What is really inside the booted archive, not what its name says. */
export interface Versions {
  readonly buildkit: {readonly version: string; readonly commit?: string; readonly package?: string};
  readonly buildctl: {readonly version: string; readonly commit?: string};
  readonly runc?: {
    readonly version: string;
    readonly commit?: string;
    readonly spec?: string;
    readonly go?: string;
    readonly libseccomp?: string;
  };
  readonly kernel: string;
  /** `PRETTY_NAME` of os-release. */
  readonly os: string;
  readonly architecture: string;
  readonly systemd: {
    readonly version?: string;
    readonly state: string;
    readonly failedUnits: readonly string[];
  };
  readonly workers: readonly Worker[];
  /** Present when this BuildKit was put into another one's archive: whose kernel and systemd these are. */
  readonly derived?: DerivedFacts;
}

export interface Worker {
  readonly id: string;
  readonly platforms: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly snapshotter?: string;
}

export const LAUNCHERS = ['qemu', 'docker'] as const;
export type LauncherName = (typeof LAUNCHERS)[number];

export interface MachineFacts {
  /** `qemu`: a QEMU of our own; `docker`: a container of the published image. */
  readonly launcher?: LauncherName;
  /** Why this launcher, and why none before it. */
  readonly launcherReason?: string;
  readonly accelerator: 'kvm' | 'tcg';
  /** Why this accelerator, when another was asked for or preferred. */
  readonly acceleratorReason?: string;
  /** `published`: the devices of the published starter; `fast`: those that boot sooner. */
  readonly line?: 'fast' | 'published';
  readonly start?: StartFacts;
  readonly qemuVersion: string;
  readonly cpus: number;
  readonly memoryMib: number;
  /** Port of 127.0.0.1 that leads to the guest's debugger. */
  readonly debugPort?: number;
}

/** How the machine came up. */
export interface StartFacts {
  readonly kind: 'cold' | 'restored';
  /** Why it was not restored, when that was wanted. */
  readonly reason?: string;
  /** The snapshot that it came from, or that a cold start has left behind. */
  readonly snapshot?: SnapshotFacts;
}

export interface SnapshotFacts {
  /** How memory is kept: as a file that is mapped, or in the migration stream. */
  readonly method: 'shared-memory' | 'migration-stream';
  /** Bytes that it takes on the disk. */
  readonly sizeBytes: number;
}

/** Seconds; a stage that was not reached is absent. */
export interface Timings {
  readonly archiveSeconds?: number;
  readonly bootSeconds?: number;
  readonly inspectSeconds?: number;
  readonly contextSeconds?: number;
  readonly contextBytes?: number;
  readonly contextFiles?: number;
  readonly buildSeconds?: number;
  readonly outputsSeconds?: number;
  readonly cleanupSeconds?: number;
  readonly totalSeconds: number;
}
