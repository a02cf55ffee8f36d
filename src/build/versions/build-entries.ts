import {type EntryDetails, type EntryKind, entry, type TableEntry} from './entry.ts';

const IMAGES = ['image', 'oci', 'docker'];

function of(kind: EntryKind): (name: string, first: string, details?: EntryDetails) => TableEntry {
  return (name, first, details) => entry(kind, `${kind} ${name}`, name, first, details);
}
const exporter = of('exporter');
const exporterOption = of('exporter-option');
const cacheType = of('cache-type');
const cacheOption = of('cache-option');
const entitlement = of('entitlement');
const contextForm = of('context-form');
const frontendOption = of('frontend-option');

const WARN = {whenMissing: 'warning'} as const;

/** What the values of buildctl's flags may be. No help text tells any of it. */
export const BUILD_ENTRIES: readonly TableEntry[] = [
  exporter('image', 'v0.3.0'),
  exporter('local', 'v0.3.0'),
  exporter('oci', 'v0.3.0'),
  exporter('docker', 'v0.3.0'),
  exporter('tar', 'v0.5.0'),

  // Releases read the exporter options they know and skip all others without a word.
  exporterOption('name', 'v0.3.0', {exporters: IMAGES}),
  exporterOption('name of type=oci', 'v0.7.0', {
    ...WARN,
    exporters: ['oci'],
    remarks: 'before: "oci exporter cannot export named image"',
  }),
  exporterOption('several names of type=docker', 'v0.5.0', {exporters: ['docker']}),
  exporterOption('push', 'v0.3.0', {exporters: ['image']}),
  exporterOption('registry.insecure', 'v0.3.0', {exporters: ['image']}),
  exporterOption('oci-mediatypes', 'v0.3.0', {exporters: IMAGES}),
  exporterOption('push-by-digest', 'v0.5.0', {exporters: ['image']}),
  exporterOption('unpack', 'v0.5.0', {...WARN, exporters: ['image']}),
  exporterOption('dangling-name-prefix', 'v0.7.0', {...WARN, exporters: ['image']}),
  exporterOption('name-canonical', 'v0.7.0', {...WARN, exporters: ['image']}),
  exporterOption('compression', 'v0.7.0', {exporters: IMAGES, remarks: 'gzip, uncompressed'}),
  exporterOption('compression=gzip', 'v0.3.0', {
    exporters: IMAGES,
    remarks: 'what a release does that does not know the option',
  }),
  exporterOption('compression=zstd', 'v0.10.0', {exporters: IMAGES}),
  exporterOption('compression=estargz', 'v0.10.0', {exporters: IMAGES}),
  exporterOption('force-compression', 'v0.9.0', {exporters: IMAGES}),
  exporterOption('compression-level', 'v0.10.0', {exporters: IMAGES}),
  exporterOption('buildinfo', 'v0.10.0', {...WARN, last: 'v0.11.6', exporters: IMAGES}),
  exporterOption('buildinfo-attrs', 'v0.10.0', {...WARN, last: 'v0.11.6', exporters: IMAGES}),
  exporterOption('annotation', 'v0.11.0', {
    ...WARN,
    exporters: IMAGES,
    remarks: '`annotation.KEY`, `annotation-index.KEY`, `annotation-manifest[PLATFORM].KEY` and the like',
  }),
  exporterOption('attestation-inline', 'v0.11.0', {...WARN, exporters: IMAGES}),
  exporterOption('attestation-prefix', 'v0.11.0', {...WARN, exporters: ['local', 'tar']}),
  exporterOption('prefer-nondist-layers', 'v0.11.0', {exporters: IMAGES}),
  exporterOption('store', 'v0.11.0', {...WARN, exporters: ['image']}),
  exporterOption('tar', 'v0.11.0', {
    exporters: ['oci', 'docker'],
    remarks: '`tar=false` writes a folder; earlier releases write an archive all the same',
  }),
  exporterOption('platform-split', 'v0.12.0', {exporters: ['local', 'tar']}),
  exporterOption('rewrite-timestamp', 'v0.13.0', {exporters: IMAGES}),
  exporterOption('oci-artifact', 'v0.19.0', {...WARN, exporters: IMAGES}),
  exporterOption('danging-name-empty-only', 'v0.21.0', {
    ...WARN,
    exporters: ['image'],
    remarks: 'spelled like this',
  }),
  exporterOption('mode', 'v0.31.0', {exporters: ['local']}),

  cacheType('registry', 'v0.3.0', {remarks: 'v0.3.x writes it as a bare reference'}),
  cacheType('local', 'v0.4.0'),
  cacheType('inline', 'v0.4.0', {remarks: 'for export; it is imported with `type=registry`'}),
  cacheType('gha', 'v0.9.0'),
  cacheType('s3', 'v0.11.0'),
  cacheType('azblob', 'v0.11.0'),

  cacheOption('mode', 'v0.3.0', {remarks: 'min, max'}),
  cacheOption('oci-mediatypes', 'v0.8.0', WARN),
  cacheOption('scope', 'v0.9.0'),
  cacheOption('compression', 'v0.10.0', WARN),
  cacheOption('compression-level', 'v0.10.0', WARN),
  cacheOption('force-compression', 'v0.10.0', WARN),
  cacheOption('ignore-error', 'v0.11.0', WARN),
  cacheOption('image-manifest', 'v0.12.0', WARN),
  cacheOption('registry.insecure', 'v0.12.0', WARN),
  cacheOption('timeout', 'v0.13.0', WARN),
  cacheOption('repository', 'v0.14.0', WARN),

  entitlement('network.host', 'v0.5.0', {
    remarks: 'v0.3.x and v0.4.x know the name, and no daemon of theirs grants it',
  }),
  entitlement('security.insecure', 'v0.5.0', {
    remarks: 'v0.3.x and v0.4.x have `security.unconfined`, which does nothing',
  }),
  entitlement('device', 'v0.20.0', {remarks: 'also `device=NAME`'}),

  contextForm('http', 'v0.3.0', {remarks: '`https://…/context.tar.gz`, or one Dockerfile'}),
  contextForm('git', 'v0.3.0', {remarks: '`https://….git#ref`, `git://`, `git@`, `github.com/`'}),
  contextForm('git with subdirectory', 'v0.9.0', {
    remarks: '`….git#ref:dir`; before: "subdir not supported yet"',
  }),
  contextForm('git over ssh://', 'v0.11.0', {remarks: 'also `user@host:path` with another user than `git`'}),
  contextForm('git with query', 'v0.24.0', {remarks: '`….git?ref=…&subdir=…`'}),

  frontendOption('target', 'v0.3.0'),
  frontendOption('filename', 'v0.3.0'),
  frontendOption('build-arg:', 'v0.3.0'),
  frontendOption('label:', 'v0.3.0'),
  frontendOption('platform', 'v0.3.0', {
    remarks: 'a list; up to v0.7.x a RUN for a platform that the worker does not run is refused',
  }),
  frontendOption('platform of an emulator', 'v0.8.0', {
    ...WARN,
    remarks: 'before: "runtime execution on platform linux/arm64 not supported", though it may be',
  }),
  frontendOption('add-hosts', 'v0.3.0'),
  frontendOption('image-resolve-mode', 'v0.3.0', {remarks: 'pull, local, default'}),
  frontendOption('no-cache', 'v0.3.0', {remarks: 'empty for all stages, or their names'}),
  frontendOption('force-network-mode', 'v0.3.0', {remarks: 'host, none'}),
  frontendOption('override-copy-image', 'v0.3.0', {...WARN, last: 'v0.4.0', remarks: 'for COPY and ADD'}),
  frontendOption('context', 'v0.3.0', {remarks: 'a Git or HTTP(S) URL'}),
  frontendOption('contextkey', 'v0.4.0'),
  frontendOption('dockerfilekey', 'v0.5.0', {remarks: 'a local Dockerfile for a remote context'}),
  frontendOption('contextsubdir', 'v0.5.0'),
  frontendOption('build-arg:BUILDKIT_CACHE_MOUNT_NS', 'v0.6.0', WARN),
  frontendOption('build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR', 'v0.7.0', WARN),
  frontendOption('build-arg:BUILDKIT_SYNTAX', 'v0.8.0', {remarks: 'earlier an argument like any other'}),
  frontendOption('hostname', 'v0.8.0'),
  frontendOption('build-arg:BUILDKIT_MULTI_PLATFORM', 'v0.9.0', WARN),
  frontendOption('build-arg:BUILDKIT_SANDBOX_HOSTNAME', 'v0.10.0', WARN),
  frontendOption('cgroup-parent', 'v0.10.0'),
  frontendOption('shm-size', 'v0.10.0', {remarks: 'bytes'}),
  frontendOption('ulimit', 'v0.10.0'),
  frontendOption('context:', 'v0.10.0', {remarks: 'named contexts'}),
  frontendOption('attest:', 'v0.11.0'),
  frontendOption('build-arg:SOURCE_DATE_EPOCH', 'v0.11.0', {
    ...WARN,
    remarks: 'earlier an argument like any other, without effect on timestamps',
  }),
  frontendOption('requestid=frontend.lint', 'v0.14.0'),
  frontendOption('build-arg:BUILDKIT_DOCKERFILE_CHECK', 'v0.14.0', WARN),
  frontendOption('memory', 'v0.31.0', {
    remarks: 'with memswap, cpushares, cpuperiod, cpuquota, cpusetcpus, cpusetmems',
  }),
];
