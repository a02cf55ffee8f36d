import type {CacheEntry} from './cache.ts';
import type {Stage} from './errors.ts';
import type {JobResult, MachineFacts, SnapshotFacts, SourceLocation, Versions} from './result.ts';

/**
 * Everything a job has to say while it runs. The log, the terminal, the summary and the tests are readers of
 * this one stream; nothing else in the core prints.
 */
export type JobEvent =
  | {readonly kind: 'stage-started'; readonly stage: Stage; readonly title: string}
  | {
      readonly kind: 'stage-finished';
      readonly stage: Stage;
      readonly seconds: number;
      readonly detail?: string;
    }
  | {readonly kind: 'progress'; readonly stage: Stage; readonly text: string}
  | {readonly kind: 'notice'; readonly message: string; readonly location?: SourceLocation}
  | {readonly kind: 'warning'; readonly message: string}
  | {readonly kind: 'debug'; readonly message: string}
  /** The machine is about to be started, or runs: what post must know to clean up after a kill -9. */
  | {readonly kind: 'resource'; readonly resource: OwnedResource}
  /** Worth keeping in GitHub's cache once the job is over. */
  | {readonly kind: 'cache-save'; readonly entry: CacheEntry}
  | {readonly kind: 'booted'; readonly machine: MachineFacts}
  /** The machine was kept for later runs. */
  | {readonly kind: 'frozen'; readonly snapshot: SnapshotFacts; readonly seconds: number}
  | {readonly kind: 'inspected'; readonly versions: Versions}
  /** A piece of the build's plain log, cut anywhere. It comes from the VM: hostile until made inert. */
  | {readonly kind: 'build-log'; readonly text: string}
  | {readonly kind: 'finished'; readonly result: JobResult};

/** Something that outlives the process when it is killed. */
export type OwnedResource =
  | {readonly kind: 'temp-dir'; readonly path: string}
  /** Named by pid *and* start time (clock ticks since boot, /proc/PID/stat field 22), since pids are reused. */
  | {readonly kind: 'process'; readonly pid: number; readonly startTicks: string; readonly name: string}
  /** With the name of its image when that was loaded into docker by us. */
  | {readonly kind: 'container'; readonly name: string; readonly image?: string};

export type Emit = (event: JobEvent) => void;

/** Runs one stage of a job, announcing its begin and end. */
export type RunStage = <T>(stage: Stage, title: string, work: () => Promise<T>) => Promise<T>;
