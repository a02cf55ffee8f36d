import {existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import type {Devices} from '../../src/base/devices.ts';
import {CanceledError} from '../../src/base/errors.ts';
import type {Output, Session} from '../../src/base/ports.ts';
import {DISK_FROM_BYTES} from '../../src/build/output-disk.ts';
import {receiveOutput} from '../../src/build/outputs.ts';
import {resultStore} from '../../src/host/tar-receive.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'output-disk-'));
});
afterEach(() => rmSync(dir, {recursive: true, force: true}));

const SIZE = DISK_FROM_BYTES + 1;
const CONTENT = 'what the guest wrote';

interface Script {
  readonly stat?: string;
  readonly copy?: Partial<Output> | Error;
  readonly attach?: Error;
  readonly letsGo?: boolean;
}

/** A machine with one result, of which only the beginning is written. */
function machine({stat = `regular file ${SIZE}`, copy = {}, attach, letsGo = true}: Script) {
  const steps: string[] = [];
  let plugged = '';
  const nothing = {code: 0, signal: undefined, stdout: '', stderr: ''};
  const session = {
    async output(argv) {
      if (argv[0] === 'stat') return {...nothing, stdout: `${stat}\n`};
      steps.push('copied');
      if (copy instanceof Error) throw copy;
      writeFileSync(plugged, CONTENT, {flag: 'r+'});
      return {...nothing, ...copy};
    },
    async run(_argv, options) {
      steps.push('streamed');
      await options?.onStdout?.(Buffer.from('the stream'));
      return {code: 0, signal: undefined};
    },
  } as Partial<Session> as Session;
  const devices: Devices = {
    async attachDisk({path, readOnly}) {
      if (attach) throw attach;
      steps.push(`attached ${readOnly ? 'read-only' : 'writable'}`);
      plugged = path;
      return {
        detach: async () => {
          steps.push('detached');
          return letsGo;
        },
      };
    },
  };
  return {session, devices, steps};
}

const receive = async ({session, devices}: ReturnType<typeof machine>, limitBytes?: number) => {
  const troubles: string[] = [];
  const target = {spec: {type: 'oci', attrs: []}, dest: join(dir, 'image.tar'), kind: 'file'} as const;
  const report = await receiveOutput(session, resultStore(), target, '/out/0', {
    devices,
    onTrouble: message => void troubles.push(message),
    ...(limitBytes !== undefined && {limitBytes}),
  });
  return {report, troubles};
};
const result = (): string => readFileSync(join(dir, 'image.tar'), 'latin1');

test('a large file comes on a disk, as long as it is', async () => {
  const vm = machine({});
  expect(await receive(vm)).toEqual({report: {bytes: SIZE, files: 1, warnings: []}, troubles: []});
  expect(vm.steps).toEqual(['attached writable', 'copied', 'detached']);
  expect(result()).toHaveLength(SIZE);
  expect(result().startsWith(CONTENT)).toBe(true);
  expect(readdirSync(dir)).toEqual(['image.tar']);
});

test.each([
  ['a small one', `regular file ${DISK_FROM_BYTES - 1}`, undefined],
  ['what is no file', 'directory 999999999', undefined],
  ['what nobody can say the size of', 'stat: no such file', undefined],
  ['more than is wanted', `regular file ${SIZE}`, SIZE - 1],
])('%s comes as a stream, without a word', async (_what, stat, limitBytes) => {
  const vm = machine({stat});
  expect((await receive(vm, limitBytes)).troubles).toEqual([]);
  expect(vm.steps).toEqual(['streamed']);
  expect(result()).toBe('the stream');
});

test.each<[string, Script, string]>([
  ['QEMU refuses it', {attach: new Error('no slot')}, 'QEMU takes no further disk (no slot)'],
  [
    'the guest has no dd',
    {copy: {code: 127, stderr: 'dd: not found'}},
    'the VM cannot write it to a disk (dd: not found)',
  ],
  ['the guest keeps it', {letsGo: false}, 'the VM does not let go of the disk'],
])('where %s it comes as a stream, and the log says why', async (_what, script, why) => {
  const vm = machine(script);
  const {troubles} = await receive(vm);
  expect(troubles).toEqual([`the result comes as a stream, which is slower: ${why}`]);
  expect(vm.steps.at(-1)).toBe('streamed');
  expect(vm.steps.includes('detached')).toBe(!script.attach);
  expect(result()).toBe('the stream');
  expect(readdirSync(dir)).toEqual(['image.tar']);
});

test('a cancel takes the disk out and leaves nothing', async () => {
  const vm = machine({copy: new CanceledError('canceled')});
  await expect(receive(vm)).rejects.toThrow(CanceledError);
  expect(vm.steps).toEqual(['attached writable', 'copied', 'detached']);
  expect(existsSync(join(dir, 'image.tar'))).toBe(false);
  expect(readdirSync(dir)).toEqual([]);
});
