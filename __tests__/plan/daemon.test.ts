import {describe, expect, test} from '@jest/globals';
import {UserError} from '../../src/base/errors.ts';
import {type Inputs, parseInputs} from '../../src/plan/inputs.ts';
import {makePlan} from '../../src/plan/plan.ts';

const inputs = (raw: Record<string, string>): Inputs => parseInputs({archive: 'a.qcow2', ...raw});
const daemon = (raw: Record<string, string>) =>
  makePlan(inputs(raw), {workspaceDir: '/w', storeDir: '/s'}).build.daemon;

describe('registry-mirrors', () => {
  test.each([
    ['mirror.gcr.io', 'docker.io', 'mirror.gcr.io', false],
    ['docker.io=mirror.gcr.io', 'docker.io', 'mirror.gcr.io', false],
    ['index.docker.io=mirror.gcr.io', 'docker.io', 'mirror.gcr.io', false],
    ['registry-1.docker.io=m.example', 'docker.io', 'm.example', false],
    ['https://m.example/', 'docker.io', 'm.example', false],
    ['http://m.example:5000', 'docker.io', 'm.example:5000', true],
    ['ghcr.io=http://m.example', 'ghcr.io', 'm.example', true],
    ['ghcr.io = m.example/proxy/ghcr', 'ghcr.io', 'm.example/proxy/ghcr', false],
    ['10.0.2.2:5000', 'docker.io', '10.0.2.2:5000', true],
    ['10.0.2.2', 'docker.io', '10.0.2.2', true],
    ['https://10.0.2.2:5000', 'docker.io', '10.0.2.2:5000', false],
    ['localhost:5000', 'docker.io', '10.0.2.2:5000', true],
    ['docker.io=127.0.0.1:5000/hub', 'docker.io', '10.0.2.2:5000/hub', true],
    ['localhost:5000=localhost:5000', 'localhost:5000', '10.0.2.2:5000', true],
    ['10.0.2.20:5000', 'docker.io', '10.0.2.20:5000', false],
  ])('%s: %s from %s, plain HTTP %s', (item, origin, mirror, plainHttp) => {
    expect(daemon({'registry-mirrors': item}).mirrors).toEqual([{origin, mirror, plainHttp}]);
  });

  test('is a list, in its order', () => {
    const {mirrors} = daemon({'registry-mirrors': 'a.example, b.example\nghcr.io=c.example'});
    expect(mirrors.map(({mirror}) => mirror)).toEqual(['a.example', 'b.example', 'c.example']);
  });

  test.each([
    '=a.example',
    'docker.io=',
    'ftp://a.example',
    'a_b/c d',
    'docker.io/library=a',
    'a.example/UPPER',
    'a.example//b',
  ])('%j is refused', item => {
    expect(() => inputs({'registry-mirrors': item})).toThrow(
      /^registry-mirrors: .* is not allowed; allowed: \[REGISTRY=\]/,
    );
  });
});

describe('buildkitd-flags', () => {
  test.each<[string, string[]]>([
    ['--debug', ['--debug']],
    [
      '--allow-insecure-entitlement security.insecure --oci-worker-net=host',
      ['--allow-insecure-entitlement', 'security.insecure', '--oci-worker-net=host'],
    ],
    [`--oci-worker-labels "a=b c"\n  --root '/x y'`, ['--oci-worker-labels', 'a=b c', '--root', '/x y']],
    ['--configuration-of-nothing', ['--configuration-of-nothing']],
  ])('%j', (text, words) => {
    expect(daemon({'buildkitd-flags': text}).flags).toEqual(words);
  });

  test.each([
    ['debug', /allowed: flags of buildkitd/],
    ['--debug "', /cannot be split into words/],
    ['--addr tcp://0.0.0.0:1', /--addr is not allowed: the archive decides/],
    ['--debug -addr=tcp://0.0.0.0:1', /-addr=tcp:\/\/0.0.0.0:1 is not allowed/],
    ['--config=/x', /give the file with buildkitd-config/],
    ['-h', /print its help/],
    ['--version', /print its version/],
  ])('%j is refused', (text, message) => {
    expect(() => inputs({'buildkitd-flags': text})).toThrow(message);
  });
});

test('the configuration is a file of the workspace, or a text, and not both', () => {
  expect(daemon({'buildkitd-config': 'ci/buildkitd.toml'}).config).toEqual({
    kind: 'file',
    path: '/w/ci/buildkitd.toml',
  });
  expect(daemon({'buildkitd-config-inline': 'debug = true\n'}).config).toEqual({
    kind: 'text',
    text: 'debug = true',
  });
  expect(daemon({})).toEqual({flags: [], mirrors: [], registryAuth: 'auto'});
  const both = {'buildkitd-config': 'a.toml', 'buildkitd-config-inline': 'debug = true'};
  expect(() => daemon(both)).toThrow(UserError);
  expect(() => daemon(both)).toThrow('both given');
});

test.each(['yes', '1', 'True'])('registry-auth: %s is refused', value => {
  expect(() => inputs({'registry-auth': value})).toThrow(/^registry-auth: .*auto, true, false/);
});
