import {describe, expect, test} from '@jest/globals';
import {OUTPUT_NAMES, stepOutputs} from '../../src/report/outputs.ts';
import {utf8Bytes} from '../../src/report/text.ts';
import {BUILT, CANCELED, FAILED, INFRA_FAILED, manySteps, poisoned, RESULTS, step, TRACE} from './samples.ts';

const HOSTILE = 'v1\n::set-output name=result::success\r\nEOF`$(id)`"\'; x=\u202e\0\u2028';

describe('stepOutputs', () => {
  test('of a build', () => {
    const {steps, ...rest} = stepOutputs(BUILT, '/tmp/r.json');
    expect(rest).toEqual({
      result: 'success',
      'failure-kind': '',
      'failed-step': '',
      imageid: `sha256:${'cd'.repeat(32)}`,
      digest: `sha256:${'ab'.repeat(32)}`,
      metadata: `{"containerimage.digest":"sha256:${'ab'.repeat(32)}"}`,
      'buildkit-version': 'v0.20.2',
      'buildkit-commit': '97437fdd7e32f29bb80288d800cd4ffcb34e1c15',
      'runc-version': '1.1.5+ds1',
      'kernel-version': '6.1.0-29-amd64',
      os: 'Debian GNU/Linux 12 (bookworm)',
      accelerator: 'tcg',
      launcher: 'qemu',
      'debug-port': '',
      'derived-from': '',
      'boot-seconds': '41.25',
      'build-seconds': '12.346',
      'buildkit-host': '',
      'result-path': '/tmp/r.json',
    });
    expect(JSON.parse(steps)).toEqual([
      {
        number: 1,
        name: '[internal] load build definition from Dockerfile',
        stage: 'internal',
        state: 'done',
        cached: false,
        seconds: 1,
      },
      {
        number: 2,
        name: '[build 2/9] RUN make part-2',
        stage: 'build',
        state: 'cached',
        cached: true,
        seconds: 0,
      },
      {
        number: 3,
        name: '[build 3/9] RUN make part-3',
        stage: 'build',
        state: 'done',
        cached: false,
        seconds: 1,
      },
      {
        number: 4,
        name: '[linux/arm64 build 4/4] COPY . /src',
        stage: 'build',
        platform: 'linux/arm64',
        state: 'done',
        cached: false,
        seconds: 1,
      },
    ]);
  });

  test.each([
    ['a failing RUN', FAILED, 'run-failed', '[build 3/4] RUN echo line one; echo boom >&2; exit 7'],
    ['no machine', INFRA_FAILED, 'infra', ''],
    ['a cancel', CANCELED, 'canceled', ''],
  ])('of %s', (_, result, kind, failedStep) => {
    expect(stepOutputs(result, '')).toMatchObject({
      result: 'failure',
      'failure-kind': kind,
      'failed-step': failedStep,
    });
  });

  test('all names are there, also when nothing is known, and lists stay JSON', () => {
    const outputs = stepOutputs(INFRA_FAILED, '');
    expect(Object.keys(outputs)).toEqual([...OUTPUT_NAMES]);
    expect(outputs).toMatchObject({
      'buildkit-version': '',
      'boot-seconds': '',
      steps: '[]',
      metadata: '{}',
      digest: '',
    });
  });

  test.each(RESULTS)('of %s with hostile text: one line each, versions without shell signs', (_, result) => {
    const outputs = stepOutputs(poisoned(result, HOSTILE), '/tmp/r.json');
    for (const [name, value] of Object.entries(outputs)) {
      expect({name, value}).toEqual({
        name,
        value: value.replace(/[\0-\x1f\x7f-\x9f\u2028\u2029\u202e]/g, ''),
      });
    }
    for (const name of [
      'buildkit-version',
      'buildkit-commit',
      'runc-version',
      'kernel-version',
      'os',
    ] as const) {
      expect(outputs[name]).toMatch(/^[\w .+~:/(),@-]*$/);
    }
    expect([outputs.digest, outputs.imageid]).toEqual(['', '']);
    expect(() => JSON.parse(outputs.steps)).not.toThrow();
    expect(() => JSON.parse(outputs.metadata)).not.toThrow();
  });

  test('many steps stay far below what a job may put out, and the failing one stays in', () => {
    const many = manySteps(5000);
    const steps = (many.trace?.steps ?? []).map((item, index) =>
      index === 2500
        ? {...item, state: 'failed' as const, seconds: 0, name: `日本語 ${'x'.repeat(9000)}`}
        : item,
    );
    const {steps: text} = stepOutputs({...many, trace: {...TRACE, steps}}, '');
    expect(utf8Bytes(text)).toBeLessThanOrEqual(192 * 1024);
    expect(utf8Bytes(text)).toBeGreaterThan(150 * 1024);
    const kept = JSON.parse(text) as {number: number; state: string; name: string}[];
    expect(kept.find(item => item.state === 'failed')).toMatchObject({number: 2501});
    expect(kept.map(item => item.number)).toEqual(kept.map(item => item.number).sort((a, b) => a - b));
  });

  test('metadata that is too long for an output stays in the result file', () => {
    expect(stepOutputs({...BUILT, metadata: {big: 'x'.repeat(300_000)}}, '').metadata).toBe('{}');
  });

  test('a step without a time says none', () => {
    const {seconds: _, ...timeless} = step(1);
    const result = {...BUILT, trace: {...TRACE, steps: [timeless]}};
    expect(JSON.parse(stepOutputs(result, '').steps)[0]).not.toHaveProperty('seconds');
  });
});
