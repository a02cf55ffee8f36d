// Brings src/plan/catalog.yml up to date from the registries: revisions, digests, new archives; then writes catalog-data.ts.
//   node scripts/catalog.mjs [--registries NAME,NAME] [--catalog FILE] [--output FILE] [--offline]
// Nothing is written when a registry fails. `--offline` asks none and only writes catalog-data.ts.
import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {parseArgs} from 'node:util';
import {parseDocument} from 'yaml';
import {writeCatalogData} from './catalog-data.mjs';
import {load, root} from './load.mjs';

const {values} = parseArgs({
  options: {
    registries: {type: 'string'},
    catalog: {type: 'string', default: join(root, 'src/plan/catalog.yml')},
    output: {type: 'string', default: join(root, 'src/plan/catalog-data.ts')},
    offline: {type: 'boolean', default: false},
  },
});
const {
  DEFAULT_REGISTRIES,
  parseSources,
  referenceIn,
  parseVersion,
  compareVersions,
  listTags,
  resolveDigest,
  localRegistryTools,
  dockerCredentials,
  systemClock,
} = await load(
  'src/plan/catalog-sources.ts',
  'src/base/version.ts',
  'src/archive/registry/tags.ts',
  'src/archive/registry/image.ts',
  'src/host/registry.ts',
  'src/host/docker-config.ts',
  'src/host/clock.ts',
);

const warn = message => console.warn(message);
const ports = {
  clock: systemClock,
  registry: localRegistryTools(dockerCredentials({env: process.env, warn})),
};
const options = {signal: new AbortController().signal};

try {
  if (!values.offline) await refresh();
  writeCatalogData(values.catalog, values.output);
} catch (error) {
  console.error(error.hint === undefined ? error : `${error.message}\n${error.hint}`);
  process.exitCode = 1;
}

async function refresh() {
  const document = parseDocument(readFileSync(values.catalog, 'utf8'));
  const archives = document.get('archives');
  const sources = parseSources(values.registries?.split(',') ?? DEFAULT_REGISTRIES);
  for (const source of sources) await refreshFrom(source, document, archives);
  archives.items.sort((a, b) => compareNames(a.get('name'), b.get('name')));
  writeFileSync(values.catalog, document.toString({lineWidth: 0, flowCollectionPadding: false}));
}

async function refreshFrom(source, document, archives) {
  const shared =
    source.form === 'tags' ? await listTags(ports, referenceIn(source, 'v0'), options) : undefined;
  for (const name of shared ? namesIn(shared) : []) {
    if (archives.items.some(item => item.get('name') === name)) continue;
    const buildkit = name.replace(/-debug$/, '');
    archives.add(document.createNode({name, buildkit, revisions: []}));
    console.log(`${name}: new in ${source.prefix}`);
  }
  for (const item of archives.items) {
    const name = item.get('name');
    const found = shared
      ? shared.flatMap(tag =>
          tag.startsWith(`buildkit-${name}_`) ? [tag.slice(`buildkit-${name}_`.length)] : [],
        )
      : await listTags(ports, referenceIn(source, name), options);
    const revisions = found.filter(tag => parseVersion(tag));
    for (const revision of revisions) {
      const digest = await resolveDigest(ports, referenceIn(source, name, revision), options);
      const path = ['digests', revision, source.prefix];
      const before = item.getIn(path);
      if (before === digest) continue;
      item.setIn(path, digest);
      console.log(`${name}_${revision}: ${source.prefix} has ${digest}${before ? `, had ${before}` : ''}`);
    }
    const known = item.get('revisions').toJSON();
    const all = [...new Set([...known, ...revisions])].sort(compareRevisions);
    if (all.length > known.length) item.set('revisions', document.createNode(all, {flow: true}));
  }
}

/** The archives that a repository's tags name: `buildkit-v0.20.2`, `buildkit-v0.20.2_v0.1.0`, not `ctr_…`. */
function namesIn(tags) {
  const names = tags.flatMap(tag => /^buildkit-([^_]+)(?:_.*)?$/.exec(tag)?.[1] ?? []);
  return [...new Set(names)].filter(name => parseVersion(name.replace(/-debug$/, '')));
}

function compareRevisions(a, b) {
  return compareVersions(parseVersion(a), parseVersion(b));
}

function compareNames(a, b) {
  const [x, y] = [a, b].map(name => name.replace(/-debug$/, ''));
  return compareVersions(parseVersion(x), parseVersion(y)) || a.length - b.length;
}
