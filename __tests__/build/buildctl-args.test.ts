import {describe, expect, test} from '@jest/globals';
import {UserError} from '../../src/base/errors.ts';
import {type BuildRequest, OUTPUT_ATTRIBUTES} from '../../src/base/request.ts';
import {version} from '../../src/base/version.ts';
import {csvFields, csvLine} from '../../src/build/arg-list.ts';
import {buildctlArgs} from '../../src/build/buildctl-args.ts';
import {BUILD_ENTRIES} from '../../src/build/versions/build-entries.ts';
import {layout, outputs, plain} from './buildctl-requests.ts';

const argv = (change: Partial<BuildRequest>, release = 'v0.20.2') =>
  buildctlArgs({...plain, ...change}, layout, version(release)).argv.slice(4);

const BASE = ['--local', 'context=/c', '--local', 'dockerfile=/d'];
const END = ['--trace', '/t', '--metadata-file', '/m'];

describe('the command line of v0.20.2', () => {
  test.each<[string, Partial<BuildRequest>, string[]]>([
    ['nothing', {}, []],
    ['target', {target: 'app'}, ['--opt', 'target=app']],
    ['build-args', {buildArgs: [{key: 'A', value: 'b=c,d'}]}, ['--opt', 'build-arg:A=b=c,d']],
    ['labels', {labels: [{key: 'x.y', value: ''}]}, ['--opt', 'label:x.y=']],
    ['platforms', {platforms: ['linux/amd64', 'linux/386']}, ['--opt', 'platform=linux/amd64,linux/386']],
    [
      'add-hosts',
      {
        addHosts: [
          {key: 'a', value: '1.2.3.4'},
          {key: 'b', value: '[::1]'},
        ],
      },
      ['--opt', 'add-hosts=a=1.2.3.4,b=::1'],
    ],
    ['pull', {pull: true}, ['--opt', 'image-resolve-mode=pull']],
    ['no-cache', {noCache: true}, ['--no-cache']],
    ['no-cache-filters', {noCacheFilters: ['a', 'b']}, ['--opt', 'no-cache=a,b']],
    ['network', {network: 'none'}, ['--opt', 'force-network-mode=none']],
    ['network', {network: 'default'}, []],
    ['network', {network: 'host'}, ['--opt', 'force-network-mode=host', '--allow', 'network.host']],
    ['shm-size', {shmSize: '64m'}, ['--opt', 'shm-size=67108864']],
    ['ulimit', {ulimits: [{key: 'nofile', value: '1024:2048'}]}, ['--opt', 'ulimit=nofile=1024:2048']],
    ['output', outputs('type=local,dest=x'), ['--output', 'type=local,dest=/out/0']],
    [
      'outputs',
      outputs('type=oci,dest=x,tar=false', 'type=image,name=a', 'y'),
      [
        '--output',
        'type=oci,dest=/out/0,tar=false',
        '--output',
        'type=image,name=a',
        '--output',
        'type=local,dest=/out/1',
      ],
    ],
    [
      'tags',
      {...outputs('type=docker,dest=x'), tags: ['a:1', 'b:2']},
      ['--output', 'type=docker,dest=/out/0,"name=a:1,b:2"'],
    ],
    ['secrets', {secrets: [{id: 'k', kind: 'value', value: 'v'}]}, ['--secret', 'id=k,src=/s/k']],
    ['allow', {allow: ['network.host']}, ['--allow', 'network.host']],
    [
      'cache-from',
      {cacheFrom: ['type=registry,ref=r/c:1', 'r/d:1']},
      ['--import-cache', 'type=registry,ref=r/c:1', '--import-cache', 'type=registry,ref=r/d:1'],
    ],
    [
      'cache-to',
      {cacheTo: ['type=registry,ref=r/c:1,mode=max']},
      ['--export-cache', 'type=registry,ref=r/c:1,mode=max'],
    ],
  ])('%s', (_name, change, words) => {
    const args = argv(change);
    expect(args).toEqual([...BASE, '--opt', 'filename=Dockerfile', ...words, ...END]);
  });

  test('a remote context is handed to BuildKit', () => {
    expect(
      argv({context: {kind: 'remote', url: 'https://h/r.git#main:sub'}, dockerfile: {name: 'a/D'}}),
    ).toEqual(['--opt', 'context=https://h/r.git#main:sub', '--opt', 'filename=a/D', ...END]);
  });

  test('no secret stands in it', () => {
    expect(argv({secrets: [{id: 'k', kind: 'value', value: 'hunter2'}]}).join(' ')).not.toContain('hunter2');
  });
});

describe('older spellings', () => {
  test.each<[string, Partial<BuildRequest>, string, string[]]>([
    [
      'options',
      {target: 'a'},
      'v0.3.0',
      ['--frontend-opt', 'filename=Dockerfile', '--frontend-opt', 'target=a', '--trace', '/t'],
    ],
    [
      'options',
      {target: 'a'},
      'v0.4.0',
      ['--opt', 'filename=Dockerfile', '--opt', 'target=a', '--trace', '/t'],
    ],
    [
      'no-cache',
      {noCache: true},
      'v0.3.1',
      ['--frontend-opt', 'filename=Dockerfile', '--frontend-opt', 'no-cache=', '--trace', '/t'],
    ],
    [
      'no-cache',
      {noCache: true},
      'v0.3.2',
      ['--frontend-opt', 'filename=Dockerfile', '--no-cache', '--trace', '/t'],
    ],
    [
      'exporter',
      outputs('type=local,dest=x'),
      'v0.3.3',
      [
        '--frontend-opt',
        'filename=Dockerfile',
        '--exporter',
        'local',
        '--exporter-opt',
        'output=/out/0',
        '--trace',
        '/t',
      ],
    ],
    [
      'caches',
      {cacheFrom: ['type=registry,ref=r/c'], cacheTo: ['type=registry,ref=r/c,mode=max']},
      'v0.3.0',
      [
        '--frontend-opt',
        'filename=Dockerfile',
        '--import-cache',
        'r/c',
        '--export-cache',
        'r/c',
        '--export-cache-opt',
        'mode=max',
        '--trace',
        '/t',
      ],
    ],
    [
      'copy image',
      {overrideCopyImage: 'r/copy'},
      'v0.4.0',
      ['--opt', 'filename=Dockerfile', '--opt', 'override-copy-image=r/copy', '--trace', '/t'],
    ],
    ['metadata', {}, 'v0.9.0', ['--opt', 'filename=Dockerfile', ...END]],
  ])('%s of %j on %s', (_name, change, release, words) => {
    expect(argv(change, release)).toEqual([...BASE, ...words]);
  });
});

describe('what a release cannot honour', () => {
  test.each<[Partial<BuildRequest>, string, RegExp]>([
    [
      outputs('type=tar,dest=x'),
      'v0.4.0',
      /outputs: BuildKit v0\.4\.0 cannot do "type=tar"; v0\.5\.0 is the first that can/,
    ],
    [outputs('a', 'type=oci,dest=b'), 'v0.12.5', /outputs: .*"2 outputs"; v0\.13\.0 is the first/],
    [outputs('type=oci,dest=b,compression=zstd'), 'v0.9.3', /compression=zstd.*v0\.10\.0/],
    [outputs('type=oci,dest=b,tar=false'), 'v0.10.6', /tar=false.*v0\.11\.0/],
    [{shmSize: '64m'}, 'v0.9.0', /shm-size: .*v0\.10\.0/],
    [{ulimits: [{key: 'nofile', value: '1'}]}, 'v0.9.0', /ulimit: .*v0\.10\.0/],
    [{cacheTo: ['type=gha']}, 'v0.8.3', /cache-to: .*v0\.9\.0/],
    [{cacheTo: ['r/a', 'r/b']}, 'v0.10.6', /cache-to: .*"2 caches"; v0\.11\.0/],
    [{cacheFrom: ['type=inline']}, 'v0.20.2', /cache-from: .*not allowed.*type=registry/],
    [{...outputs('type=docker,dest=x'), tags: ['a', 'b']}, 'v0.4.0', /name=a,b.*v0\.5\.0/],
    [{buildArgs: [{key: 'BUILDKIT_SYNTAX', value: 'x'}]}, 'v0.7.2', /build-args: .*v0\.8\.0/],
    [{allow: ['device=x']}, 'v0.19.0', /allow: .*v0\.20\.0/],
    [{allow: ['nonsense']}, 'v0.32.2', /allow: "nonsense" is not allowed.*network\.host/],
    [{network: 'host'}, 'v0.4.0', /network: .*v0\.5\.0/],
    [{network: 'bridge'}, 'v0.20.2', /network: "bridge" is not allowed/],
    [{context: {kind: 'remote', url: 'ssh://git@h/r.git'}}, 'v0.10.6', /context: .*v0\.11\.0/],
    [{context: {kind: 'remote', url: 'https://h/r.git?ref=m'}}, 'v0.23.0', /context: .*v0\.24\.0/],
    [outputs('type=oci,dest=b,compression=zstd'), 'v0.6.0', /compression=zstd.*v0\.10\.0/],
    [{allow: ['security.insecure']}, 'v0.4.0', /allow: .*v0\.5\.0/],
    [{context: {kind: 'remote', url: 'https://h/r.git#m:sub'}}, 'v0.8.3', /context: .*v0\.9\.0/],
  ])('%j on %s is an error', (change, release, message) => {
    expect(() => argv(change, release)).toThrow(UserError);
    expect(() => argv(change, release)).toThrow(message);
  });

  test.each<[Partial<BuildRequest>, string, RegExp]>([
    [outputs('type=image,name=a'), 'v0.8.3', /no --metadata-file: the digest is read from the log/],
    [
      {overrideCopyImage: 'r/copy'},
      'v0.5.0',
      /override-copy-image: .*v0\.4\.0 is the last that can; it is left out/,
    ],
    [outputs('type=image,name=a,annotation.x=y'), 'v0.10.0', /annotation\.x=y.*left out/],
    [{tags: ['a']}, 'v0.20.2', /tags: no output/],
    [{cacheFrom: ['type=s3,region=x']}, 'v0.10.6', /cache-from: .*v0\.11\.0.*left out/],
    [{...outputs('type=oci,dest=x'), tags: ['a']}, 'v0.6.4', /name=a.*v0\.7\.0.*left out/],
    [{platforms: ['linux/amd64', 'linux/arm64']}, 'v0.7.2', /platforms: .*linux\/arm64; v0\.8\.0/],
    [{buildArgs: [{key: 'SOURCE_DATE_EPOCH', value: '0'}]}, 'v0.10.6', /SOURCE_DATE_EPOCH; v0\.11\.0/],
  ])('%j on %s is a warning', (change, release, message) => {
    expect(buildctlArgs({...plain, ...change}, layout, version(release)).warnings.join('\n')).toMatch(
      message,
    );
  });
});

describe('one line of CSV, as encoding/csv and go-csvvalue read it', () => {
  test.each<[string[], string]>([
    [['type=local', 'dest=a b'], 'type=local,dest=a b'],
    [['type=image', 'name=a,b'], 'type=image,"name=a,b"'],
    [['a=say "x"'], '"a=say ""x"""'],
    [['a=', 'b=x=y'], 'a=,b=x=y'],
    [['a=1\n2'], '"a=1\n2"'],
  ])('%j is %s', (fields, line) => {
    expect(csvLine(fields)).toBe(line);
    expect(csvFields(line)).toEqual(fields);
  });

  test.each(['a="b"', '"a', '"a"b', 'a,b"'])('%s is an error', line =>
    expect(csvFields(line)).toBeUndefined(),
  );

  test('a cache option with a comma keeps it', () => {
    expect(argv({cacheTo: ['type=s3,bucket=b,"prefix=x,y"']})).toContain('type=s3,bucket=b,"prefix=x,y"');
  });
});

test("a cache's credentials are in no message", () => {
  const text = 'type=s3,region=x,secret_access_key=hunter2,session_token=hunter2';
  expect(() => argv({cacheTo: [text]}, 'v0.10.6')).toThrow(/secret_access_key=\*\*\*/);
  expect(() => argv({cacheTo: [text]}, 'v0.10.6')).not.toThrow(/hunter2/);
});

test('the attributes that inputs are held against are those of the table', () => {
  const named = BUILD_ENTRIES.filter(({kind, name}) => kind === 'exporter-option' && /^[\w.-]+$/.test(name));
  expect(named.map(({name}) => name).sort()).toEqual([...OUTPUT_ATTRIBUTES].sort());
});

test('an attribute that no release knows is passed on, with a warning', () => {
  const request = {...plain, ...outputs('type=oci,dest=x,a-key-of-a-fork=1,annotation.a=b')};
  const {argv: words, warnings} = buildctlArgs(request, layout, version('v0.20.2'));
  expect(words).toContain('type=oci,dest=/out/0,a-key-of-a-fork=1,annotation.a=b');
  expect(warnings).toEqual(['outputs: no release of BuildKit knows "a-key-of-a-fork"; it is passed on']);
});
