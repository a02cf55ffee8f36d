import {isAtLeast, type Version, version} from '../../src/base/version.ts';
import {findEntry, knows} from '../../src/build/versions/table.ts';

/** Whether a probe passes on a release of which `knows` tells what it knows. */
type Probe = (knows: (id: string) => boolean) => boolean;

const always: Probe = () => true;
/** It lacks an agent, a file, a grant or a sense on purpose; the message is what counts there. */
const never: Probe = () => false;
const needs =
  (...ids: string[]): Probe =>
  known =>
    ids.every(known);
const OUTPUT = 'build --output';
const EXPORT = 'build --export-cache type=';
/** From v0.7.0 releases read `compression` and refuse values that they do not know. */
const compression =
  (value: string): Probe =>
  known =>
    known(OUTPUT) && (known(`exporter-option compression=${value}`) || !known('exporter-option compression'));

/** One for each row of `matrix-flags.tsv`: one build each, with the flag or option that the name tells. */
export const FLAG_PROBES: Readonly<Record<string, Probe>> = {
  opt: needs('build --opt'),
  'frontend-opt': needs('build --frontend-opt'),
  'output-oci': needs(OUTPUT),
  'output-short-o': needs(OUTPUT),
  exporter: needs('build --exporter', 'build --exporter-opt'),
  'exporter-equals': needs('build --exporter', 'build --exporter-opt'),
  'output-oci-stdout': needs(OUTPUT),
  'output-tar': needs(OUTPUT, 'exporter tar'),
  'output-docker': needs(OUTPUT, 'exporter docker'),
  'output-oci-dir': needs(OUTPUT),
  'output-zstd': compression('zstd'),
  'output-estargz': compression('estargz'),
  'output-oci-mediatypes': needs(OUTPUT),
  'output-annotation': needs(OUTPUT),
  'output-rewrite-timestamp': needs(OUTPUT),
  'output-two': needs('build --output several'),
  'output-cacheonly': never,
  'output-unknown': never,
  'output-dest-is-dir': never,
  'output-local-nodest': never,
  'output-gha': needs(OUTPUT),
  'export-cache-oldform': needs('build --export-cache'),
  'export-cache-opt': needs('build --export-cache-opt'),
  'export-cache-registry': needs(EXPORT, 'cache-type registry'),
  'export-cache-mode-max': needs(EXPORT, 'cache-option mode'),
  'export-cache-local': needs(EXPORT, 'cache-type local'),
  'export-cache-inline': needs(EXPORT, 'cache-type inline'),
  'export-cache-gha': never,
  'import-cache-oldform': needs('build --import-cache'),
  'import-cache-registry': needs('build --import-cache type='),
  'import-cache-local-missing': needs('build --import-cache type=local, missing folder'),
  'metadata-file': needs('build --metadata-file'),
  'progress-auto': needs('build --progress'),
  'progress-tty': never,
  'progress-rawjson': needs('build --progress=rawjson'),
  'progress-quiet': needs('build --progress=quiet'),
  'progress-none': never,
  'progress-bogus': never,
  'no-progress-flag': always,
  'secret-src': needs('build --secret'),
  'secret-source': needs('build --secret'),
  'secret-env': needs('build --secret env='),
  'secret-type-file': needs('build --secret'),
  'secret-bare-id': needs('build --secret env='),
  'secret-missing-file': never,
  'ssh-default-noagent': never,
  'allow-network-host': never,
  'allow-security-insecure': never,
  'allow-device': needs('build --allow', 'entitlement device'),
  'allow-bogus': never,
  'no-cache': needs('build --no-cache with a frontend'),
  'opt-no-cache': needs('frontend-option no-cache'),
  trace: needs('build --trace'),
  'source-policy-file': needs('build --source-policy-file'),
  'source-policy-file-deny': never,
  'ref-file': needs('build --ref-file'),
  'oci-layout': needs('build --oci-layout'),
  'registry-auth-tlscontext': needs('build --registry-auth-tlscontext'),
  'debug-json-cache-metrics': needs('build --debug-json-cache-metrics'),
  'proxy-network': needs('build --proxy-network'),
  'unknown-flag': never,
  // Unknown keys of the frontend are never an error, so these pass whether understood or not.
  'opt-attest-provenance': always,
  'opt-attest-provenance-off': always,
  'opt-source-date-epoch': always,
  'opt-label': always,
  'opt-add-hosts': always,
  'opt-force-network-mode': always,
  'opt-platform': always,
  'opt-unknown': always,
  'opt-hostname': always,
  'opt-shm-size': always,
  'opt-ulimit': always,
  'opt-cgroup-parent': always,
  'opt-image-resolve-mode': always,
  'opt-build-context': always,
  // The frontend image that it names does not exist: who reads it, fails.
  'opt-buildkit-syntax': known => !known('frontend-option build-arg:BUILDKIT_SYNTAX'),
  'opt-multi-platform': always,
  'opt-cache-imports': always,
  'args-after': always,
  'local-missing-value': never,
};

/** Dockerfiles whose exit status does not show whether the release understands them. */
const FEATURE_EXCEPTIONS: Readonly<Record<string, (at: Version) => boolean>> = {
  'copy-from-var': () => false,
  'var-expand-required': () => false,
  'run-device': () => false,
  'check-directive': () => true,
  // It has to fail where the file is honoured.
  'specific-dockerignore': at => !isAtLeast(at, version('v0.5.0')),
  'copy-chmod-symbolic': at =>
    isAtLeast(at, version('v0.20.0')) ||
    (isAtLeast(at, version('v0.8.0')) && !isAtLeast(at, version('v0.16.0'))),
  'onbuild-copy-from': at => isAtLeast(at, version('v0.17.0')) || !isAtLeast(at, version('v0.5.0')),
};

/** Whether the Dockerfile of this name builds: by the table, or everywhere where the table has no entry. */
export function featureProbe(probe: string, at: Version): boolean {
  const exception = FEATURE_EXCEPTIONS[probe];
  if (exception) return exception(at);
  const entry = findEntry(`dockerfile ${probe}`);
  return entry === undefined || knows(at, entry);
}
