import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import type {BuildTrace} from '../../src/base/trace.ts';
import {createProgressReader, type ProgressForm} from '../../src/progress/reader.ts';
import {recordings, scenarios} from './helpers.ts';

const seed = 20261122;
const files = ['stdout.txt', 'stderr.txt', 'rawjson.txt', 'trace.json', 'terminal.txt'];
const forms: readonly ProgressForm[] = ['auto', 'plain', 'trace', 'tail'];
const limits = {
  steps: 8,
  stepsWithFullLogs: 4,
  headLines: 5,
  tailLines: 5,
  headChars: 500,
  tailChars: 500,
  smallLogChars: 50,
  lineChars: 100,
  statusesPerStep: 4,
  intervalsPerStep: 3,
  warnings: 4,
  textChars: 200,
};
/** What `limits` allow: 8 steps of logs, statuses and names, and an excerpt; with room for JSON's escapes. */
const maxTraceChars = 400_000;

type Random = (below: number) => number;

/** mulberry32: the same numbers on every machine. */
function randomFrom(start: number): Random {
  let state = start;
  return below => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const scraps = [
  '#1 DONE 0.1s\n',
  '\n#1 x\n',
  '#0 y\n',
  '#7 ...\n',
  '------\n',
  ' > x:\n',
  '--------------------\n',
  'error: ',
  'Dockerfile:3\n',
  '{\n',
  '}\n',
  '{"vertexes":[null,{"digest":"__proto__"},7]}\n',
  '{"logs":[{"vertex":"x","data":"!!"}]}\n',
  '#9    completed: 2026-13-99 00:00:00 +0000 UTC',
  '\r',
  '\u001b[1m',
  '\uFEFF',
  '#99999999 z\n',
  '#1 0.1 ',
];

function mutated(input: Buffer, random: Random): Buffer {
  let bytes = Buffer.from(input);
  const edits = 1 + random(12);
  for (let edit = 0; edit < edits && bytes.length > 0; edit += 1) {
    const at = random(bytes.length);
    const to = Math.min(bytes.length, at + random(2000));
    const [before, middle, after] = [bytes.subarray(0, at), bytes.subarray(at, to), bytes.subarray(to)];
    const scrap = Buffer.from(scraps[random(scraps.length)] ?? '');
    switch (random(6)) {
      case 0:
        bytes[at] = random(256);
        break;
      case 1:
        bytes = Buffer.concat([before, after]);
        break;
      case 2:
        bytes = Buffer.concat([before, middle, middle, after]);
        break;
      case 3:
        bytes = Buffer.concat([before, scrap, middle, after]);
        break;
      case 4:
        bytes = Buffer.concat([after, before]);
        break;
      default:
        bytes = Buffer.concat([before, Buffer.from([0xf0, 0x9f, random(256), 0x0a]), middle, after]);
    }
  }
  return bytes;
}

function inOnePiece(form: ProgressForm, bytes: Uint8Array): BuildTrace {
  const reader = createProgressReader({form, limits});
  reader.write(bytes);
  reader.end();
  return reader.trace();
}

function inPieces(form: ProgressForm, bytes: Uint8Array, random: Random): BuildTrace {
  const reader = createProgressReader({form, limits});
  const largest = [1, 3, 40, 5000][random(4)] ?? 1;
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + random(largest);
    // A caller may use its buffer again.
    const piece = Uint8Array.from(bytes.subarray(at, at + size));
    reader.write(piece);
    piece.fill(0x23);
    if (random(200) === 0) reader.trace();
    at += size;
  }
  reader.end();
  return reader.trace();
}

const inputs = scenarios(recordings, files).flatMap(path =>
  files.map(file => join(recordings, path, file)).filter(file => existsSync(file)),
);

describe(`mutated recordings, seed ${seed}`, () => {
  test.each(forms)('%s: never throws, is bounded, and does not depend on how the input is cut', form => {
    const random = randomFrom(seed + form.length);
    for (const file of inputs) {
      const bytes = mutated(readFileSync(file), random);
      const whole = inOnePiece(form, bytes);
      expect({file, trace: inPieces(form, bytes, random)}).toEqual({file, trace: whole});
      expect(JSON.stringify(whole).length).toBeLessThan(maxTraceChars);
      expect(whole.steps.length).toBeLessThanOrEqual(limits.steps);
      for (const {logs, statuses} of whole.steps) {
        // Each of two streams can have an unfinished line more.
        expect(logs.head.length + logs.tail.length).toBeLessThanOrEqual(10 + 3);
        expect(statuses.length).toBeLessThanOrEqual(limits.statusesPerStep);
      }
    }
  });

  test('text may be cut between the halves of a character', () => {
    const random = randomFrom(seed);
    const text = '#1 [1/1] RUN 🚀\n#1 0.1 🚀🚀中\n#1 DONE 0.1s\n';
    const reader = createProgressReader({form: 'plain'});
    for (let at = 0; at < text.length; ) {
      const size = 1 + random(3);
      reader.write(text.slice(at, at + size));
      at += size;
    }
    reader.end();
    const [step] = reader.trace().steps;
    expect([step?.name, step?.logs.head[0]?.text, step?.state]).toEqual(['[1/1] RUN 🚀', '🚀🚀中', 'done']);
  });
});

test('random bytes', () => {
  const random = randomFrom(seed);
  for (let round = 0; round < 100; round += 1) {
    const bytes = Uint8Array.from({length: random(3000)}, () => random(round % 2 === 0 ? 256 : 64));
    for (const form of forms) {
      expect(inPieces(form, bytes, random)).toEqual(inOnePiece(form, bytes));
    }
  }
});
