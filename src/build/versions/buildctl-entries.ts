import {type EntryDetails, entry, type HelpPage, type TableEntry} from './entry.ts';

function flag(page: HelpPage, name: string, first: string, details: EntryDetails = {}): TableEntry {
  const kind = page === 'buildkitd' ? 'buildkitd-flag' : 'buildctl-flag';
  return entry(kind, `${page} ${name}`, name, first, {page, ...details});
}

function subcommand(page: HelpPage, name: string, first: string, details: EntryDetails = {}): TableEntry {
  return entry('buildctl-subcommand', `${page} ${name}`, name, first, {page, ...details});
}

/** A way to use a flag that its help text does not tell apart. */
function usage(id: string, name: string, first: string, details: EntryDetails = {}): TableEntry {
  return entry('buildctl-flag', id, name, first, details);
}

/** Flags, uses of flags, and subcommands of `buildctl`. */
export const BUILDCTL_ENTRIES: readonly TableEntry[] = [
  flag('buildctl', '--addr', 'v0.3.0'),
  flag('buildctl', '--debug', 'v0.3.0'),
  flag('buildctl', '--timeout', 'v0.3.0', {remarks: 'seconds, 5 by default'}),
  flag('buildctl', '--tlscacert', 'v0.3.0'),
  flag('buildctl', '--tlscert', 'v0.3.0'),
  flag('buildctl', '--tlskey', 'v0.3.0'),
  flag('buildctl', '--tlsservername', 'v0.3.0'),
  flag('buildctl', '--tlsdir', 'v0.7.0'),
  flag('buildctl', '--wait', 'v0.12.0'),
  flag('buildctl', '--log-format', 'v0.13.0'),

  flag('build', '--frontend', 'v0.3.0'),
  flag('build', '--frontend-opt', 'v0.3.0', {
    last: 'v0.10.6',
    hiddenFrom: 'v0.4.0',
    remarks: 'deprecated from v0.4.0: `--opt`',
  }),
  flag('build', '--opt', 'v0.4.0', {remarks: 'a key that the frontend does not know is never an error'}),
  flag('build', '--local', 'v0.3.0'),
  flag('build', '--exporter', 'v0.3.0', {
    last: 'v0.10.6',
    hiddenFrom: 'v0.4.0',
    remarks: 'deprecated from v0.4.0: `--output`',
  }),
  flag('build', '--exporter-opt', 'v0.3.0', {
    last: 'v0.10.6',
    hiddenFrom: 'v0.4.0',
    remarks: 'the destination key is `output`',
  }),
  flag('build', '--output', 'v0.4.0', {remarks: 'also `-o`; the destination key is `dest`'}),
  usage('build --output several', '--output, several times', 'v0.13.0', {
    remarks: 'before: "currently only single Exports can be specified"',
  }),
  flag('build', '--export-cache', 'v0.3.0', {remarks: 'a bare reference; accepted to this day'}),
  flag('build', '--export-cache-opt', 'v0.3.0', {last: 'v0.10.6', hiddenFrom: 'v0.4.0'}),
  usage('build --export-cache type=', '--export-cache type=…', 'v0.4.0'),
  usage('build --export-cache several', '--export-cache, several times', 'v0.11.0', {
    remarks: 'before: "specifying multiple cache exports is not supported currently"',
  }),
  flag('build', '--import-cache', 'v0.3.0', {remarks: 'a bare reference; accepted to this day'}),
  usage('build --import-cache type=', '--import-cache type=…', 'v0.4.0', {
    remarks: 'v0.4.0 fails when the cache is not there, all others go on without it',
  }),
  usage(
    'build --import-cache type=local, missing folder',
    '--import-cache type=local of a missing folder',
    'v0.7.0',
    {
      remarks: 'before: an error',
    },
  ),
  flag('build', '--progress', 'v0.3.0', {remarks: 'auto, plain, tty'}),
  usage('build --progress=rawjson', '--progress=rawjson', 'v0.13.0'),
  usage('build --progress=quiet', '--progress=quiet', 'v0.13.0'),
  flag('build', '--trace', 'v0.3.0', {whenMissing: 'warning', remarks: 'JSON Lines, appended to the file'}),
  flag('build', '--no-cache', 'v0.3.0'),
  usage('build --no-cache with a frontend', '--no-cache with --frontend', 'v0.3.2', {
    remarks: 'before: the frontend option `no-cache=`',
  }),
  flag('build', '--secret', 'v0.3.0', {remarks: '`id=I,src=F`'}),
  usage('build --secret env=', '--secret id=I,env=VAR', 'v0.8.0'),
  flag('build', '--ssh', 'v0.3.0', {remarks: 'fails in the client when there is no agent'}),
  usage('build --ssh raw=', '--ssh default=SOCKET,raw=true', 'v0.23.0'),
  flag('build', '--allow', 'v0.3.0'),
  flag('build', '--metadata-file', 'v0.9.0', {
    whenMissing: 'warning',
    remarks: 'without it the digest is read from the progress',
  }),
  flag('build', '--oci-layout', 'v0.11.0'),
  flag('build', '--source-policy-file', 'v0.11.0'),
  flag('build', '--ref-file', 'v0.11.2', {whenMissing: 'warning'}),
  flag('build', '--registry-auth-tlscontext', 'v0.13.0'),
  flag('build', '--debug-json-cache-metrics', 'v0.13.0', {whenMissing: 'warning'}),
  flag('build', '--proxy-network', 'v0.31.0'),

  flag('du', '--filter', 'v0.3.0'),
  flag('du', '--verbose', 'v0.3.0'),
  flag('du', '--format', 'v0.11.0', {remarks: 'a Go template, such as `{{json .}}`'}),
  flag('prune', '--all', 'v0.3.0'),
  flag('prune', '--filter', 'v0.3.0'),
  flag('prune', '--verbose', 'v0.3.0'),
  flag('prune', '--keep-duration', 'v0.3.0'),
  flag('prune', '--keep-storage', 'v0.3.0'),
  flag('prune', '--format', 'v0.11.0'),
  flag('prune', '--keep-storage-min', 'v0.17.0'),
  flag('prune', '--free-storage', 'v0.17.0'),
  flag('debug workers', '--filter', 'v0.3.0'),
  flag('debug workers', '--verbose', 'v0.3.0', {remarks: 'names the daemon’s version from v0.11.0 on'}),
  flag('debug workers', '--format', 'v0.10.0'),

  subcommand('buildctl', 'build', 'v0.3.0'),
  subcommand('buildctl', 'debug', 'v0.3.0'),
  subcommand('buildctl', 'du', 'v0.3.0'),
  subcommand('buildctl', 'prune', 'v0.3.0'),
  entry('buildctl-subcommand', 'buildctl dial-stdio', 'dial-stdio', 'v0.5.0', {
    remarks: 'no help text lists it',
  }),
  subcommand('buildctl', 'prune-histories', 'v0.12.0'),
  subcommand('debug', 'dump-llb', 'v0.3.0'),
  subcommand('debug', 'dump-metadata', 'v0.3.0'),
  subcommand('debug', 'workers', 'v0.3.0'),
  subcommand('debug', 'ctl', 'v0.11.0'),
  subcommand('debug', 'get', 'v0.11.0'),
  subcommand('debug', 'info', 'v0.11.0'),
  subcommand('debug', 'logs', 'v0.11.0'),
  subcommand('debug', 'monitor', 'v0.11.0'),
  subcommand('debug', 'histories', 'v0.12.0'),
];
