import {type Version, version} from '../../base/version.ts';

/** The oldest release that this project speaks with. */
export const OLDEST = version('v0.3.0');

/** The newest release that was looked at for the table. */
export const NEWEST = version('v0.32.2');

export const ENTRY_KINDS = [
  'buildctl-flag',
  'buildctl-subcommand',
  'exporter',
  'exporter-option',
  'cache-type',
  'cache-option',
  'entitlement',
  'context-form',
  'frontend-option',
  'dockerfile-feature',
  'buildkitd-flag',
  'toml-key',
  'address-scheme',
] as const;
export type EntryKind = (typeof ENTRY_KINDS)[number];

/** A `--help` text that lists flags or subcommands. */
export type HelpPage = 'buildctl' | 'build' | 'prune' | 'du' | 'debug' | 'debug workers' | 'buildkitd';

/** One thing that some releases of BuildKit know and others do not. */
export interface TableEntry {
  /** Unique, and made by the rule of its kind: `build --opt`, `exporter tar`, `frontend-option shm-size`. */
  readonly id: string;
  readonly kind: EntryKind;
  /** As a user writes it. */
  readonly name: string;
  readonly first: Version;
  /** Last release that knows it; absent when none has dropped it. */
  readonly last?: Version;
  readonly remarks: string;
  /** The help text that lists it; absent for what no help text names. */
  readonly page?: HelpPage;
  /** First release that still accepts it and lists it no more. */
  readonly hiddenFrom?: Version;
  /**
   * What a release without it means for a build that asks for it: an error when leaving it out would change the
   * result, a warning when it only adds to it.
   */
  readonly whenMissing: 'error' | 'warning';
  /** For exporter options: the exporters that read it. */
  readonly exporters?: readonly string[];
}

export interface EntryDetails {
  readonly last?: string;
  readonly remarks?: string;
  readonly hiddenFrom?: string;
  readonly whenMissing?: 'error' | 'warning';
  readonly exporters?: readonly string[];
}

/** Makes an entry from the short notation of the lists beside this file. */
export function entry(
  kind: EntryKind,
  id: string,
  name: string,
  first: string,
  details: EntryDetails & {readonly page?: HelpPage} = {},
): TableEntry {
  const {last, hiddenFrom, remarks = '', whenMissing = 'error', ...rest} = details;
  return {
    id,
    kind,
    name,
    first: version(first),
    ...(last === undefined ? {} : {last: version(last)}),
    ...(hiddenFrom === undefined ? {} : {hiddenFrom: version(hiddenFrom)}),
    remarks,
    whenMissing,
    ...rest,
  };
}
