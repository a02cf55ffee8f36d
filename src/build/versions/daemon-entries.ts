import {type EntryDetails, entry, type TableEntry} from './entry.ts';

function flags(first: string, names: string, details: EntryDetails = {}): readonly TableEntry[] {
  return names
    .split(' ')
    .map(name => entry('buildkitd-flag', `buildkitd ${name}`, name, first, {page: 'buildkitd', ...details}));
}

function keys(first: string, names: string, remarks = ''): readonly TableEntry[] {
  return names.split(' ').map(name => entry('toml-key', `toml-key ${name}`, name, first, {remarks}));
}

function scheme(id: string, first: string, remarks: string): TableEntry {
  return entry('address-scheme', id, id.split(' ').at(-1) ?? id, first, {remarks});
}

/** Flags of `buildkitd`, keys of its `buildkitd.toml`, and the addresses that client and daemon know. */
export const DAEMON_ENTRIES: readonly TableEntry[] = [
  ...flags('v0.3.0', '--addr --config --debug --debugaddr --group --root --rootless'),
  ...flags('v0.3.0', '--tlscacert --tlscert --tlskey'),
  ...flags('v0.3.0', '--oci-worker --oci-worker-labels --oci-worker-platform --oci-worker-rootless'),
  ...flags('v0.3.0', '--oci-worker-snapshotter'),
  ...flags('v0.3.0', '--containerd-worker --containerd-worker-addr --containerd-worker-labels'),
  ...flags('v0.4.0', '--oci-worker-no-process-sandbox'),
  ...flags('v0.4.0', '--oci-worker-gc --containerd-worker-gc', {whenMissing: 'warning'}),
  ...flags('v0.4.0', '--oci-worker-gc-keepstorage --containerd-worker-gc-keepstorage', {
    whenMissing: 'warning',
    remarks: '`Reserved[,Free[,Maximum]]` from v0.17.0, one number before',
  }),
  ...flags('v0.5.0', '--allow-insecure-entitlement'),
  ...flags('v0.6.0', '--oci-worker-net --containerd-worker-net', {
    remarks: 'before: always the host’s network; `bridge` from v0.13.0',
  }),
  ...flags('v0.6.0', '--oci-cni-config-path --oci-cni-binary-dir'),
  ...flags('v0.6.0', '--containerd-cni-config-path --containerd-cni-binary-dir'),
  ...flags('v0.7.0', '--oci-worker-binary', {
    remarks: 'before: `buildkit-runc`, else `runc`, from PATH',
  }),
  ...flags('v0.8.0', '--oci-worker-proxy-snapshotter-path --containerd-worker-snapshotter'),
  ...flags('v0.8.2', '--oci-worker-apparmor-profile --containerd-worker-apparmor-profile'),
  ...flags('v0.10.0', '--containerd-worker-rootless'),
  ...flags('v0.10.6', '--oci-worker-selinux --containerd-worker-selinux'),
  ...flags('v0.11.0', '--oci-cni-pool-size --containerd-cni-pool-size', {whenMissing: 'warning'}),
  ...flags('v0.12.0', '--trace', {hiddenFrom: 'v0.30.0', whenMissing: 'warning'}),
  ...flags('v0.13.0', '--log-format --otel-socket-path', {whenMissing: 'warning'}),
  ...flags('v0.20.0', '--cdi-disabled --cdi-spec-dir'),
  ...flags('v0.24.0', '--oci-max-parallelism --containerd-max-parallelism --save-cache-debug', {
    whenMissing: 'warning',
  }),
  ...flags('v0.30.0', '--log-level', {
    whenMissing: 'warning',
    remarks: 'environment: BUILDKITD_LOG_LEVEL',
  }),
  ...flags('v0.31.0', '--proxy-network'),

  // Keys that a release does not know are skipped without a word.
  ...keys('v0.3.0', 'debug root'),
  ...keys('v0.3.0', 'grpc.address grpc.debugAddress grpc.uid grpc.gid grpc.tls'),
  ...keys('v0.3.0', 'worker.*.enabled worker.*.labels worker.*.platforms worker.*.gcpolicy'),
  ...keys('v0.3.0', 'worker.oci.rootless worker.oci.snapshotter'),
  ...keys('v0.3.0', 'worker.containerd.address worker.containerd.namespace'),
  ...keys('v0.3.0', 'registry.*.mirrors registry.*.http'),
  ...keys('v0.4.0', 'worker.*.gc worker.*.gckeepstorage worker.oci.noProcessSandbox'),
  ...keys('v0.5.0', 'insecure-entitlements worker.oci.userRemapUnsupported'),
  ...keys('v0.6.0', 'dns.nameservers dns.options dns.searchDomains'),
  ...keys('v0.6.0', 'worker.*.networkMode worker.*.cniConfigPath worker.*.cniBinaryPath'),
  ...keys('v0.7.0', 'registry.*.insecure registry.*.ca registry.*.keypair registry.*.tlsconfigdir'),
  entry(
    'toml-key',
    'toml-key mirrors in order',
    'mirrors = ["a", "b"], in order and then the origin',
    'v0.7.0',
    {
      remarks:
        'before: one of them at random and no way back; `http = true` in the entry of the origin, not of the mirror',
    },
  ),
  entry('toml-key', 'toml-key mirror with a path', 'mirrors = ["host/path"]', 'v0.12.0'),
  ...keys('v0.7.0', 'worker.oci.binary'),
  ...keys('v0.8.0', 'worker.oci.proxySnapshotterPath worker.oci.stargzSnapshotter'),
  ...keys('v0.8.0', 'worker.containerd.snapshotter'),
  ...keys('v0.8.2', 'worker.*.apparmor-profile'),
  ...keys('v0.9.0', 'worker.*.max-parallelism'),
  ...keys('v0.10.0', 'worker.oci.defaultCgroupParent worker.containerd.rootless'),
  ...keys('v0.10.6', 'worker.*.selinux'),
  ...keys('v0.11.0', 'history.maxAge history.maxEntries worker.*.cniPoolSize'),
  ...keys('v0.12.0', 'trace'),
  entry(
    'toml-key',
    'toml-key sizes and durations as text',
    'gckeepstorage = "10%", keepDuration = "48h"',
    'v0.12.0',
    {
      remarks: 'before: numbers of bytes and seconds',
    },
  ),
  ...keys('v0.13.0', 'log.format otel.socketPath worker.*.bridgeName worker.*.bridgeSubnet'),
  ...keys('v0.13.0', 'worker.containerd.runtime'),
  ...keys('v0.14.0', 'frontend."dockerfile.v0".enabled frontend."gateway.v0".enabled'),
  ...keys('v0.14.0', 'frontend."gateway.v0".allowedRepositories system.platformsCacheMaxAge'),
  ...keys('v0.15.0', 'worker.containerd.defaultCgroupParent'),
  ...keys('v0.17.0', 'worker.*.reservedSpace worker.*.maxUsedSpace worker.*.minFreeSpace'),
  ...keys('v0.17.0', 'worker.*.gcpolicy.reservedSpace worker.*.gcpolicy.maxUsedSpace'),
  ...keys('v0.17.0', 'worker.*.gcpolicy.minFreeSpace'),
  ...keys('v0.20.0', 'cdi.disabled cdi.specDirs cdi.autoAllowed'),
  ...keys('v0.25.0', 'provenanceEnvDir'),
  ...keys('v0.27.0', 'cache.gha'),
  ...keys('v0.30.0', 'log.level'),
  ...keys('v0.31.0', 'proxyNetwork system.maxRegistryConcurrency'),

  scheme('buildctl unix://', 'v0.3.0', 'buildctl --addr'),
  scheme('buildctl tcp://', 'v0.3.0', 'buildctl --addr'),
  scheme('buildctl docker-container://', 'v0.5.0', 'buildctl --addr'),
  scheme('buildctl kube-pod://', 'v0.5.0', 'buildctl --addr'),
  scheme('buildctl podman-container://', 'v0.8.0', 'buildctl --addr'),
  scheme('buildctl ssh://', 'v0.11.0', 'buildctl --addr'),
  scheme('buildkitd unix://', 'v0.3.0', 'buildkitd --addr'),
  scheme('buildkitd tcp://', 'v0.3.0', 'buildkitd --addr'),
  scheme('buildkitd fd://', 'v0.9.0', 'buildkitd --addr; the socket comes by LISTEN_FDS'),
];
