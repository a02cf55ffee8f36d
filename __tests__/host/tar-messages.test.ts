import {describe, expect, test} from '@jest/globals';
import type {Stage} from '../../src/base/errors.ts';
import {judgeTarEnd, TailText} from '../../src/host/tar-messages.ts';

function judge(code: number | null, text: string, stage: Stage = 'context'): string[] {
  return judgeTarEnd({code, signal: null, text}, 'tar', stage);
}

describe('judgeTarEnd', () => {
  const delayed = 'tar: Exiting with failure status due to previous errors\n';
  test.each([
    ['nothing to say', 0, '', []],
    ['a socket', 0, 'tar: a/s: socket ignored\n', ['a/s: socket ignored']],
    ['a file that changed', 1, 'tar: f: file changed as we read it\n', ['f: file changed as we read it']],
    [
      'a file that vanished',
      2,
      `tar: f: Cannot stat: No such file or directory\n${delayed}`,
      ['f: Cannot stat: No such file or directory'],
    ],
    [
      'a file that shrank',
      1,
      'tar: f: File shrank by 12 bytes; padding with zeros\n',
      ['f: File shrank by 12 bytes; padding with zeros'],
    ],
    [
      'by path',
      1,
      '/usr/bin/tar: f: File removed before we read it\n',
      ['f: File removed before we read it'],
    ],
  ])('%s is a warning', (_name, code, text, warnings) => {
    expect(judge(code as number, text as string)).toEqual(warnings);
  });

  test('an unreadable file is the error, also among warnings', () => {
    const text = `tar: a: file changed as we read it\ntar: s/key: Cannot open: Permission denied\n${delayed}`;
    expect(() => judge(2, text)).toThrow(
      expect.objectContaining({
        name: 'UserError',
        message: 'not permitted: s/key: Cannot open: Permission denied',
        hint: expect.stringContaining('.dockerignore'),
      }),
    );
  });

  test('a name cannot pass for a message: the message stands at the end', () => {
    const text = `tar: x: Cannot stat: No such file or directory: Cannot open: Permission denied\n${delayed}`;
    expect(() => judge(2, text)).toThrow('Permission denied');
  });

  test.each([
    [
      'no space',
      2,
      'tar: f: Wrote only 512 of 10240 bytes: No space left on device',
      /no space left/,
      'UserError',
    ],
    ['an old tar', 64, "tar: unrecognized option '--xattrs'", /does not know an option/, 'UserError'],
    [
      'anything else',
      2,
      'tar: This does not look like a tar archive',
      /status 2: This does not look/,
      'Error',
    ],
    ['no message', 2, '', /ended with status 2/, 'Error'],
  ])('%s is an error', (_name, code, text, message, name) => {
    expect(() => judge(code as number, text as string)).toThrow(expect.objectContaining({name}));
    expect(() => judge(code as number, text as string)).toThrow(message as RegExp);
  });

  test('a device that only root could make is no error in a result', () => {
    const text = 'tar: ./dev/null: Cannot mknod: Operation not permitted\n';
    expect(judge(2, text, 'outputs')).toEqual(['./dev/null: Cannot mknod: Operation not permitted']);
    expect(() => judge(2, 'tar: ../x: Member name contains `..`, skipping\n', 'outputs')).toThrow('..');
  });
});

test('TailText keeps the beginning and the end', () => {
  const text = new TailText();
  text.add(Buffer.from('first\n'));
  for (let i = 0; i < 100_000; i++) text.add(Buffer.from(`line ${i}\n`));
  text.add(Buffer.from('ü last\n'));
  expect(text.text().startsWith('first\nline 0\n')).toBe(true);
  expect(text.text().endsWith('ü last\n')).toBe(true);
  expect(text.text().length).toBeLessThan(140_000);
});
