import {describe, expect, test} from '@jest/globals';
import {UserError} from '../../src/base/errors.ts';
import {parseInputs} from '../../src/plan/inputs.ts';

const parsed = (raw: Record<string, string>) => parseInputs({archive: 'a.qcow2', ...raw});

describe('values', () => {
  test.each([
    ['no-cache', 'true', true],
    ['no-cache', 'FALSE', false],
    ['pull', '', false],
    ['cpus', '4', 4],
    ['memory', '2G', 2048],
    ['memory', '3072MiB', 3072],
    ['memory', '512', 512],
    ['boot-timeout', '90', 90],
    ['boot-timeout', '5m', 300],
    ['expect', 'failure', 'failure'],
    ['accelerator', '', 'auto'],
    ['launcher', '', 'auto'],
    ['launcher', 'docker', 'docker'],
    ['debug-port', '', undefined],
    ['debug-port', 'auto', 0],
    ['debug-port', '0', 0],
    ['debug-port', '4000', 4000],
    ['platforms', 'linux/amd64, linux/arm64\nlinux/386', ['linux/amd64', 'linux/arm64', 'linux/386']],
    [
      'build-args',
      'A=1,2\n\nB=x=y\nC=',
      [
        {key: 'A', value: '1,2'},
        {key: 'B', value: 'x=y'},
        {key: 'C', value: ''},
      ],
    ],
    [
      'add-hosts',
      'a:10.0.2.2,b=::1\nc:[fe80::1]',
      [
        {key: 'a', value: '10.0.2.2'},
        {key: 'b', value: '::1'},
        {key: 'c', value: 'fe80::1'},
      ],
    ],
    [
      'secrets',
      'one=1\n"key=first\nsecond"',
      [
        {id: 'one', kind: 'value', value: '1'},
        {id: 'key', kind: 'value', value: 'first\nsecond'},
      ],
    ],
    [
      'outputs',
      'out\ntype=oci,dest=a.tar,name=x',
      [
        {type: 'local', dest: 'out', attrs: []},
        {type: 'oci', dest: 'a.tar', attrs: [{key: 'name', value: 'x'}]},
      ],
    ],
    [
      'outputs',
      'type=image,"name=a,b",push=true',
      [
        {
          type: 'image',
          attrs: [
            {key: 'name', value: 'a,b'},
            {key: 'push', value: 'true'},
          ],
        },
      ],
    ],
    [
      'outputs',
      'type=registry,name=x',
      [
        {
          type: 'image',
          attrs: [
            {key: 'name', value: 'x'},
            {key: 'push', value: 'true'},
          ],
        },
      ],
    ],
    ['outputs', 'type=cacheonly', []],
    ['preflight', '', 'notice'],
  ])('%s: %j', (name, text, value) => {
    expect(parsed({[name]: text})).toHaveProperty([name], value);
  });
});

describe('bad values name the input, the value and what is allowed', () => {
  test.each([
    ['no-cache', 'yes', /no-cache: "yes".*true or false/],
    ['no-cache', 'ture', /no-cache: "ture"/],
    ['expect', 'sucess', /expect: "sucess".*success, failure, any/],
    ['accelerator', 'hvf', /auto, kvm, tcg/],
    ['launcher', 'podman', /launcher: "podman".*auto, qemu, docker/],
    ['debug-port', '65536', /debug-port: "65536".*auto, or a port from 0 to 65535/],
    ['debug-port', 'yes', /debug-port/],
    ['debug-port', '-1', /debug-port/],
    ['cpus', '0', /cpus: "0".*from 1 to 64/],
    ['cpus', '1.5', /whole number/],
    ['memory', 'lots', /memory: "lots".*2048M/],
    ['memory', '64M', /from 256M/],
    ['boot-timeout', '5 minutes', /boot-timeout/],
    ['build-args', 'NOVALUE', /build-args: "NOVALUE".*KEY=VALUE/],
    ['add-hosts', 'a', /add-hosts/],
    ['add-hosts', 'a:not-an-ip', /HOST:IP/],
    ['outputs', 'type=locl,dest=x', /type=local, tar, oci, docker, image/],
    ['outputs', 'type=local', /dest=PATH/],
    ['outputs', 'type=tar,dest=-', /standard output/],
    ['outputs', 'type=image,dest=x', /without dest/],
    ['outputs', 'type=local,dst=x', /outputs: "dst" of "type=local,dst=x" is no attribute/],
    ['outputs', 'type=oci,dest=x,compresion=zstd', /"compresion".*is no attribute/],
    ['outputs', 'type=image,name=a,pussh=true', /"pussh"/],
    ['secret-files', '../x=/etc/passwd', /an ID of letters/],
  ])('%s: %j', (name, text, message) => {
    expect(() => parsed({[name]: text})).toThrow(UserError);
    expect(() => parsed({[name]: text})).toThrow(message);
  });

  test.each(['annotation.org.x/y=z', 'annotation-manifest[linux/amd64].a=b', 'a-key-of-a-fork=1'])(
    'outputs with %s are taken',
    attr => {
      expect(parsed({outputs: `type=oci,dest=x,${attr}`}).outputs[0]?.attrs).toHaveLength(1);
    },
  );

  test('a secret is not repeated in the message', () => {
    expect(() => parsed({secrets: 'hunter2'})).toThrow(/not of the form ID=VALUE/);
    expect(() => parsed({secrets: 'hunter2'})).not.toThrow(/hunter2/);
  });

  test('a name that is no input is an error with the nearest one', () => {
    const error = (() => {
      try {
        parsed({contxt: '.'});
      } catch (caught) {
        return caught as UserError;
      }
    })();
    expect(error?.message).toMatch(/no input "contxt"/);
    expect(error?.hint).toBe('did you mean "context"?');
  });
});
