import {expect, test} from '@jest/globals';
import {refuseOpenCredentials} from '../../src/build/runner-site.ts';
import {parseInputs} from '../../src/plan/inputs.ts';
import {makePlan} from '../../src/plan/plan.ts';

const check = (raw: Record<string, string>): void => {
  const inputs = parseInputs({archive: '/disk.qcow2', ...raw});
  const {client, request} = makePlan(inputs, {workspaceDir: '/w', storeDir: '/s'}).build;
  refuseOpenCredentials(client, request);
};

test.each([
  ['cache-to', 'type=s3,region=r,bucket=b,secret_access_key=XXXX'],
  ['cache-from', 'type=gha,url=https://cache.example,token=XXXX'],
  ['cache-to', 'type=azblob,name=n,"account_key=XX,XX"'],
  ['context', 'https://user:XXXX@git.example/repo.git'],
])('%s: %s is refused with client runner, and its value is not repeated', (input, value) => {
  expect(() => check({client: 'vm', [input]: value})).not.toThrow();
  expect(() => check({client: 'runner', [input]: value})).toThrow(new RegExp(`^${input}: `));
  try {
    check({client: 'runner', [input]: value});
  } catch (error) {
    expect(JSON.stringify({...(error as object), message: (error as Error).message})).not.toContain('XX');
  }
});

test.each([
  ['cache-to', 'type=registry,ref=registry.example/cache:1,mode=max'],
  ['cache-from', 'registry.example/token/cache:1'],
  ['context', 'https://git.example/repo.git#main:dir'],
  ['context', 'git@github.com:me/repo.git'],
])('%s: %s goes', (input, value) => {
  expect(() => check({client: 'runner', [input]: value})).not.toThrow();
});

test('client takes vm or runner', () => {
  expect(() => check({client: 'guest'})).toThrow('client: "guest" is not allowed; allowed: vm, runner');
});
