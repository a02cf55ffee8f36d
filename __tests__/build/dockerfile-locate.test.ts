import {describe, expect, test} from '@jest/globals';
import type {SourceExcerpt, Step} from '../../src/base/trace.ts';
import {version} from '../../src/base/version.ts';
import {type LocateContext, locateStep} from '../../src/build/dockerfile/locate.ts';
import {readDockerfile} from '../../src/build/dockerfile/read.ts';
import {parseStepName} from '../../src/progress/names.ts';
import {recordedBuilds, releases, traceOf} from './diagnose-cases.ts';

function step(name: string): Pick<Step, 'name' | 'stage' | 'position'> {
  return {name, ...parseStepName(name)};
}

function lines(name: string, text: string, context: LocateContext = {}): string | undefined {
  const found = locateStep(step(name), readDockerfile(text), context);
  return found && `${found.startLine}-${found.endLine} ${found.by}`;
}

const file = `# syntax=docker/dockerfile:1
ARG TAG=3
FROM alpine:$TAG AS Build
WORKDIR /src
RUN make \\
  # comment
  all
COPY . .
RUN make
run ["/bin/x", "a b"]
FROM build
RUN make
RUN echo $TAG "quoted" 100% of %3d \${HOME:-x}
ADD http://h.example/f.txt /f
COPY --link --from=nginx:1.25 /etc/nginx /n
RUN <<EOF
one
EOF
COPY <<-A <<B /d/
	A
B
FROM scratch
COPY --from=0 /x /y
`;

describe('names of all releases', () => {
  test.each([
    ['[build 1/6] FROM docker.io/library/alpine:3@sha256:aa', '3-3 name'],
    ['[build 2/6] WORKDIR /src', '4-4 name'],
    ['[build 3/6] RUN make   all', '5-7 name'],
    ['[build 4/6] COPY . .', '8-8 name'],
    ['[build 5/6] RUN make', '9-9 name'],
    ['[build 6/6] RUN ["/bin/x", "a b"]', '10-10 name'],
    ['[build 5/5] RUN [/bin/x, a b]', '10-10 name'],
    ['[linux/amd64 build 5/6] RUN make', '9-9 name'],
    ['[linux/amd64->arm64 build 5/6] RUN make', '9-9 name'],
    ['[stage-1 1/6] RUN make', '12-12 name'],
    ['[stage-1 2/6] RUN echo 3 "quoted" 100% of %3d /root', '13-13 name'],
    ['[stage-1 2/6] RUN echo 3 quoted 100%!o(MISSING)f %!d(MISSING) /root', '13-13 name'],
    ['[stage-1 3/6] ADD http://h.example/f.txt /f', '14-14 name'],
    ['[stage-1 4/6] LINK COPY --link --from=nginx:1.25 /etc/nginx /n', '15-15 name'],
    ['[stage-1 5/6] RUN <<EOF (one)', '16-18 name'],
    ['[stage-1 6/6] COPY <<-A <<B /d/', '19-21 name'],
    ['[stage-2 1/1] COPY --from=0 /x /y', '23-23 name'],
    ['[internal] load metadata for docker.io/library/alpine:3', '3-3 image'],
    ['[internal] load metadata for docker.io/library/nginx:1.25', '15-15 image'],
    ['[linux/arm64 internal] load metadata for docker.io/library/alpine:3', '3-3 image'],
    ['resolve image config for docker.io/docker/dockerfile:1', '1-1 syntax'],
    ['resolve image config for docker-image://docker.io/docker/dockerfile:1', '1-1 syntax'],
    ['docker-image://docker.io/docker/dockerfile:1@sha256:aa', '1-1 syntax'],
    ['http://h.example/f.txt', '14-14 url'],
    ['[internal] helper image for file operations', '8-8 image'],
    ['[internal] load build context', undefined],
    ['exporting to image', undefined],
    ['[nowhere 1/2] RUN make', undefined],
  ])('%s', (name, expected) => {
    expect(lines(name, file)).toBe(expected);
  });

  test('WORKDIR is no step before v0.5.0', () => {
    const text = 'FROM a\nRUN x\nWORKDIR /w\nRUN x\nRUN x\n';
    expect(lines('[3/4] RUN x', text, {version: version('v0.4.0')})).toBe('4-4 name');
    expect(lines('[4/5] RUN x', text, {version: version('v0.5.0')})).toBe('4-4 name');
    expect(lines('[3/4] RUN x', text)).toBe('4-4 name');
    expect(lines('[4/5] RUN x', text)).toBe('4-4 name');
  });

  test('the index is padded to the width of the total', () => {
    const text = `FROM a\n${'RUN x\n'.repeat(11)}`;
    expect(lines('[ 3/12] RUN x', text)).toBe('3-3 name');
    expect(lines('[12/12] RUN x', text)).toBe('12-12 name');
  });

  test('names cut at 72 bytes', () => {
    const long = 'echo this is a very long command that goes on and on beyond any limit';
    const text = `FROM scratch AS build\nRUN ${long} one\nRUN other\nRUN ${long} two\n`;
    const name = `[2/3] RUN ${long}`;
    expect(lines(`${name.slice(0, 72)}...`.replace('2/3', '1/3'), text)).toBe('2-2 name');
    expect(lines(`${name.slice(0, 72)}...`.replace('2/3', '3/3'), text)).toBe('4-4 name');
  });

  test('a stage that goes by a name like stage-1', () => {
    const text = 'FROM a\nRUN x\nFROM b\nRUN x\nFROM c AS stage-1\nRUN x\n';
    expect(lines('[stage-1 2/2] RUN x', text)).toBe('6-6 name');
    expect(lines('[stage-0 2/2] RUN x', text)).toBe('2-2 name');
  });
});

describe('ONBUILD', () => {
  const text =
    'FROM scratch AS a\nONBUILD COPY one /\nONBUILD LABEL x=y\nONBUILD RUN two\nFROM a\nRUN three\n';
  test.each([
    // v0.17.0 on: counted, and later named as such.
    ['[stage-1 2/3] ONBUILD RUN two', '4-4 name'],
    ['[stage-1 3/3] RUN three', '6-6 name'],
    // Before: carried out, but not counted.
    ['[stage-1 2/1] RUN two', '4-4 name'],
    ['[stage-1 3/1] RUN three', '6-6 name'],
    ['COPY one /', '2-2 name'],
  ])('of a stage of the file: %s', (name, expected) => {
    expect(lines(name, text)).toBe(expected);
  });

  test.each([
    ['[2/4] ONBUILD RUN npm install', '1-1 onbuild'],
    ['[2/3] RUN npm install', '1-1 onbuild'],
    ['[4/4] RUN make all', '3-3 name'],
  ])('of an image: %s', (name, expected) => {
    expect(lines(name, 'FROM node:onbuild\nCOPY . /app\nRUN make all\n')).toBe(expected);
  });
});

describe('excerpt', () => {
  const excerpt = (line: number, ...marked: number[]): SourceExcerpt => ({
    file: 'Dockerfile',
    line,
    lines: marked.map(number => ({number, text: '', marked: true})),
  });
  const text = 'FROM scratch AS a\nONBUILD RUN two\nFROM a\nRUN x\nRUN x\n';

  test('wins over the name', () => {
    expect(lines('[stage-1 2/3] RUN x', text, {excerpt: excerpt(5, 5)})).toBe('5-5 excerpt');
    expect(lines('exporting', text, {excerpt: excerpt(5)})).toBe('5-5 excerpt');
  });

  test('v0.8.0 to v0.16.0 mark line 1 for what ONBUILD brought in: the name wins', () => {
    expect(lines('[stage-1 1/2] RUN two', text, {excerpt: excerpt(1, 1)})).toBe('2-2 name');
    expect(lines('RUN two', text.replace(/RUN x\n/g, ''), {excerpt: excerpt(1, 1)})).toBe('2-2 name');
  });

  test('v0.17.0 marks the FROM of the stage, which is right', () => {
    expect(lines('[stage-1 1/3] ONBUILD RUN two', text, {excerpt: excerpt(3, 3)})).toBe('3-3 excerpt');
  });
});

test('the target decides between equals', () => {
  const text = 'FROM a AS one\nRUN x\nFROM a AS two\nRUN x\n';
  expect(lines('RUN x', text, {target: 'two'})).toBe('4-4 name');
  expect(lines('RUN x', text, {target: 'one'})).toBe('2-2 name');
});

const builds = recordedBuilds().filter(({dockerfile}) => dockerfile !== undefined);

test(`each step of a stage in ${builds.length} recorded builds has its own line, in the order of the steps`, () => {
  for (const build of builds) {
    const dockerfile = readDockerfile(build.dockerfile ?? '');
    const places = new Map<string, Map<number, number>>();
    for (const one of traceOf(build).steps) {
      if (!one.position) continue;
      const found = locateStep(one, dockerfile, {version: version(build.release)});
      const label = [build.release, build.scenario, one.name];
      expect([...label, found?.by]).toEqual([...label, 'name']);
      const stage = places.get(one.stage ?? '') ?? new Map<number, number>();
      places.set(one.stage ?? '', stage.set(one.position.index, found?.startLine ?? 0));
    }
    for (const stage of places.values()) {
      const inOrder = [...stage].sort(([a], [b]) => a - b).map(([, line]) => line);
      expect(inOrder).toEqual([...new Set(inOrder)].sort((a, b) => a - b));
    }
  }
  expect(builds.length > 0).toBe(releases().length > 0);
});
