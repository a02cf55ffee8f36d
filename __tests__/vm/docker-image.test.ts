import {expect, test} from '@jest/globals';
import type {LoadableImage} from '../../src/base/docker.ts';
import {CanceledError, UserError} from '../../src/base/errors.ts';
import {imageInDocker, releaseImage} from '../../src/vm/docker-image.ts';
import {type Answer, fakeDocker, fakeProcesses} from './fake-host.ts';

const ID = `sha256:${'ab'.repeat(32)}`;
const NAME = `localhost/buildkit-archive:${'ab'.repeat(32)}`;
const IMAGE: LoadableImage = {id: ID, config: Buffer.from('{}'), layers: []};
const ABSENT: Answer = {code: 1, stderr: 'Error: No such image'};
const {signal} = new AbortController();

async function play(
  images: Readonly<Record<string, Answer>>,
  load: () => Promise<void> = async () => undefined,
) {
  const processes = fakeProcesses({
    '/bin/docker': args => images[args.split(' ').at(-1) ?? ''] ?? ABSENT,
  });
  const loaded: string[] = [];
  const docker = fakeDocker(processes, async (_image, name) => {
    loaded.push(name);
    await load();
  });
  const ports = {processes, docker, emit: () => undefined};
  return {found: await imageInDocker(ports, IMAGE, signal), loaded, ports, processes};
}

test('an image that docker has is used as it is, and stays', async () => {
  const {found, loaded, ports, processes} = await play({[ID]: '["ghcr.io/a/b:latest"]\n'});
  expect(found).toEqual({reference: ID});
  expect(loaded).toEqual([]);
  await releaseImage(ports, found);
  expect(processes.asked.join('\n')).not.toContain('image rm');
});

test('so is one without any name', async () => {
  expect((await play({[ID]: 'null\n'})).found).toEqual({reference: ID});
});

test('one that another job has loaded is not loaded again, and the last of us takes it away', async () => {
  const {found, loaded, ports, processes} = await play({[ID]: `["${NAME}"]\n`});
  expect(found).toEqual({reference: NAME, loadedName: NAME});
  expect(loaded).toEqual([]);
  await releaseImage(ports, found);
  expect(processes.asked.at(-1)).toBe(`/bin/docker image rm ${NAME}`);
});

test('an engine that knows images by their manifests is asked by name', async () => {
  const {found, loaded} = await play({[NAME]: `["${NAME}"]\n`});
  expect(found).toEqual({reference: NAME, loadedName: NAME});
  expect(loaded).toEqual([]);
});

test('all others are loaded', async () => {
  const {found, loaded} = await play({});
  expect(found).toEqual({reference: NAME, loadedName: NAME});
  expect(loaded).toEqual([NAME]);
});

test('what docker does not take is an error with its words; a cancel is a cancel', async () => {
  const full = play({}, () => Promise.reject(new Error('write /layer.tar: no space left on device')));
  await expect(full).rejects.toThrow(UserError);
  await expect(full).rejects.toThrow(/docker does not take the image: write.*no space left/);
  await expect(play({}, () => Promise.reject(new CanceledError()))).rejects.toThrow(CanceledError);
});
