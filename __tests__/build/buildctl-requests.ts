import type {BuildRequest} from '../../src/base/request.ts';
import type {GuestLayout} from '../../src/build/arg-list.ts';
import {TABLE} from '../../src/build/versions/table.ts';
import {parseOutput} from '../../src/plan/outputs.ts';

export const layout: GuestLayout = {
  context: '/c',
  dockerfile: '/d',
  trace: '/t',
  metadata: '/m',
  output: index => `/out/${index}`,
  secret: id => `/s/${id}`,
};

/** A request that asks for nothing. */
export const plain: BuildRequest = {
  context: {kind: 'local', dir: '/ctx'},
  dockerfile: {dir: '/ctx', name: 'Dockerfile'},
  buildArgs: [],
  labels: [],
  tags: [],
  noCache: false,
  noCacheFilters: [],
  pull: false,
  platforms: [],
  addHosts: [],
  outputs: [],
  secrets: [],
  allow: [],
  ulimits: [],
  cacheFrom: [],
  cacheTo: [],
};

export const outputs = (...items: string[]): Pick<BuildRequest, 'outputs'> => ({
  outputs: items.flatMap(parseOutput),
});

const named = (kind: string): string[] => TABLE.filter(entry => entry.kind === kind).map(({name}) => name);

const exporters = named('exporter').map(type => (type === 'image' ? 'type=image' : `type=${type},dest=a`));
const options = named('exporter-option')
  .filter(name => !name.includes(' '))
  .map(name => (name.includes('=') ? name : name === 'annotation' ? 'annotation.a=b' : `${name}=true`));
const caches = named('cache-type').filter(type => type !== 'local');
const remote = (url: string): Partial<BuildRequest> => ({context: {kind: 'remote', url}});

/** Every input alone, and every value that the table has for it. */
export const EVERY: readonly Partial<BuildRequest>[] = [
  {},
  {target: 'a'},
  {buildArgs: [{key: 'A', value: 'b'}]},
  ...named('frontend-option')
    .filter(name => /^build-arg:./.test(name))
    .map(name => ({buildArgs: [{key: name.slice('build-arg:'.length), value: '1'}]})),
  {labels: [{key: 'l', value: 'm'}]},
  {platforms: ['linux/amd64']},
  {platforms: ['linux/amd64', 'linux/arm64']},
  {addHosts: [{key: 'a', value: '1.1.1.1'}]},
  {pull: true},
  {noCache: true},
  {noCacheFilters: ['a', 'b']},
  {noCache: true, noCacheFilters: ['a']},
  {network: 'none'},
  {network: 'host'},
  {shmSize: '1m'},
  {ulimits: [{key: 'a', value: '1'}]},
  ...exporters.map(output => outputs(output)),
  ...exporters.flatMap(output => options.map(option => outputs(`${output},${option}`))),
  ...exporters.map(output => ({...outputs(output), tags: ['t']})),
  ...exporters.map(output => ({...outputs(output), tags: ['t', 'u']})),
  outputs('a', 'type=oci,dest=b'),
  outputs('type=oci,dest=b,tar=false'),
  {secrets: [{id: 'a', kind: 'value', value: 'b'}]},
  ...named('entitlement').map(name => ({allow: [name]})),
  {cacheFrom: ['r/c', 'type=registry,ref=d']},
  {cacheTo: ['r/c']},
  {cacheTo: ['r/c', 'r/d']},
  ...caches.map(type => ({cacheTo: [`type=${type},ref=r/c,mode=max`]})),
  ...caches.filter(type => type !== 'inline').map(type => ({cacheFrom: [`type=${type},ref=r/c`]})),
  ...named('cache-option').map(name => ({cacheTo: [`type=registry,ref=r/c,${name}=true`]})),
  {overrideCopyImage: 'a'},
  remote('https://h/r.git'),
  remote('https://h/r.git#main:sub'),
  remote('https://h/c.tar.gz'),
  remote('https://h/r.git?ref=main'),
  remote('ssh://git@h/r.git'),
];
