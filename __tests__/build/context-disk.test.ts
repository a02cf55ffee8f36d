import {describe, expect, test} from '@jest/globals';
import type {Devices} from '../../src/base/devices.ts';
import {CanceledError, ConnectionLostError} from '../../src/base/errors.ts';
import type {JobEvent} from '../../src/base/events.ts';
import type {Output, Session} from '../../src/base/ports.ts';
import {NoImageError, type TreeImager, type TreeSurvey} from '../../src/base/tree.ts';
import {
  DISK_FROM_BYTES,
  DISK_FROM_FILES,
  DISK_MAX_IN_DIRECTORY,
  diskIsSooner,
  sendAsDisk,
} from '../../src/build/context-disk.ts';

const SMALL: TreeSurvey = {
  files: 3,
  directories: 1,
  dataBytes: 1_000,
  lengthBytes: 12_288,
  nameBytes: 30,
  leftOut: 2,
  largestDirectory: 3,
  warnings: ['odd'],
};
const LARGE: TreeSurvey = {...SMALL, dataBytes: 10 * DISK_FROM_BYTES};

test.each<[string, Partial<TreeSurvey>, boolean]>([
  ['little', {}, false],
  ['much in one file', {files: 1, dataBytes: DISK_FROM_BYTES}, true],
  ['just too little', {dataBytes: DISK_FROM_BYTES - 1, files: DISK_FROM_FILES - 2}, false],
  ['many empty files', {files: DISK_FROM_FILES, dataBytes: 0}, true],
  ['many empty directories', {files: 0, directories: DISK_FROM_FILES, dataBytes: 0}, true],
  ['a long hole', {lengthBytes: 2 ** 40}, false],
  [
    'a huge directory',
    {files: 50_000, largestDirectory: DISK_MAX_IN_DIRECTORY + 1, dataBytes: 2 ** 30},
    false,
  ],
])('the disk is sooner: %s', (_, survey, sooner) => {
  expect(diskIsSooner({...SMALL, ...survey})).toBe(sooner);
});

/** What happened, in its order, when everything goes as `over` says. */
async function play(over: {
  survey?: TreeSurvey;
  image?: () => Promise<never>;
  attach?: () => Promise<never>;
  mount?: () => Promise<Output>;
}) {
  const events: JobEvent[] = [];
  const steps: string[] = [];
  const imager: TreeImager = {
    survey: async () => over.survey ?? LARGE,
    image: async (_root, _filter, _survey, {onTemp}) => {
      onTemp?.('/tmp/bka-1');
      await over.image?.();
      return {path: '/tmp/bka-1/image', [Symbol.asyncDispose]: async () => void steps.push('image removed')};
    },
  };
  const devices: Devices = {
    attachDisk: async ({path, serial, readOnly}) => {
      await over.attach?.();
      expect([path, readOnly, Buffer.byteLength(serial) <= 20]).toEqual(['/tmp/bka-1/image', true, true]);
      steps.push('attached');
      return {
        detach: async () => {
          steps.push('detached');
          return true;
        },
      };
    },
  };
  const session = {
    output: async () => {
      steps.push('mounted');
      return over.mount ? over.mount() : {code: 0, signal: undefined, stdout: '', stderr: ''};
    },
  } as unknown as Session;
  const plan = {
    contextDir: '/c',
    dockerfileDir: '/c',
    dockerfileName: 'Dockerfile',
    dockerfileNames: ['Dockerfile'],
    ignoreFiles: [],
  };
  const way = {imager, devices, emit: (event: JobEvent) => void events.push(event)};
  const signal = new AbortController().signal;
  const report = await sendAsDisk(session, plan, '/there', way, signal).catch(error => error);
  const said = events.flatMap(event =>
    event.kind === 'warning' || event.kind === 'notice' ? [`${event.kind}: ${event.message}`] : [],
  );
  return {report, steps, said, events};
}

const failing = (error: Error) => async () => {
  throw error;
};

describe('sendAsDisk', () => {
  test('plugs the image in, mounts it and forgets the file', async () => {
    const {report, steps, said, events} = await play({});
    expect(report).toEqual({files: 3, directories: 1, bytes: LARGE.dataBytes, leftOut: 2, warnings: ['odd']});
    expect(steps).toEqual(['attached', 'mounted', 'image removed']);
    expect(said).toEqual([]);
    expect(events).toContainEqual({kind: 'resource', resource: {kind: 'temp-dir', path: '/tmp/bka-1'}});
  });

  test('leaves a small context to tar without a word', async () => {
    expect(await play({survey: SMALL})).toEqual({report: undefined, steps: [], said: [], events: []});
  });

  test('one notice when there can be no image', async () => {
    const {report, steps, said} = await play({image: failing(new NoImageError('there is no mke2fs here'))});
    expect([report, steps]).toEqual([undefined, []]);
    expect(said).toEqual([
      'notice: the context goes as a tar stream, which is slower: there is no mke2fs here',
    ]);
  });

  test.each([
    [
      'QEMU refuses',
      {attach: failing(new Error('PCI: no slot'))},
      /takes no further disk \(PCI: no slot\)/,
      [],
    ],
    [
      'the guest has no ext4',
      {
        mount: async () => ({
          code: 32,
          signal: undefined,
          stdout: '',
          stderr: 'mount: unknown filesystem type\n',
        }),
      },
      /cannot mount a disk \(mount: unknown filesystem type\)/,
      ['attached', 'mounted', 'detached'],
    ],
    [
      'the guest does not answer in time',
      {mount: failing(new Error('sh did not end within 60 s'))},
      /cannot mount a disk \(sh did not end within 60 s\)/,
      ['attached', 'mounted', 'detached'],
    ],
  ])('one warning when %s', async (_, over, message, before) => {
    const {report, steps, said} = await play(over);
    expect([report, steps]).toEqual([undefined, [...before, 'image removed']]);
    expect(said).toEqual([expect.stringMatching(message)]);
    expect(said[0]).toMatch(/^warning: the context goes as a tar stream/);
  });

  test.each([
    ['cancel', new CanceledError('stop')],
    ['a broken link', new ConnectionLostError('gone')],
  ])('%s is not answered with a tar stream', async (_, error) => {
    const {report, steps, said} = await play({mount: failing(error)});
    expect(report).toBe(error);
    expect([steps.at(-1), said]).toEqual(['image removed', []]);
  });
});
