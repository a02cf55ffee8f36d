import {afterEach, describe, expect, jest, test} from '@jest/globals';
import {cli} from '../../src/cli/cli.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

async function run(...argv: readonly string[]): Promise<{exit: number; out: string; err: string}> {
  const said = {out: '', err: ''};
  const into = (name: keyof typeof said) => (text: unknown) => {
    said[name] += text;
    return true;
  };
  jest.spyOn(process.stdout, 'write').mockImplementation(into('out'));
  jest.spyOn(process.stderr, 'write').mockImplementation(into('err'));
  const exit = await cli(argv);
  jest.restoreAllMocks();
  return {exit, ...said};
}

const COMMANDS = ['build', 'ssh', 'check', 'explain', 'forge', 'cache', 'compose'];

describe('help', () => {
  test.each(
    COMMANDS.flatMap(command => [
      [command, '--help'],
      [command, 'x', '-h'],
    ]),
  )('%s %s', async (...argv) => {
    const {exit, out, err} = await run(...argv);
    expect([exit, err]).toEqual([0, '']);
    expect(out).toMatch(/^Usage:/m);
  });

  test('without a command it is bad usage', async () => {
    expect(await run()).toMatchObject({exit: 2, out: expect.stringMatching(/^Usage:/m), err: ''});
  });

  test('behind -- it is the word of a command in the VM', async () => {
    const {exit, out} = await run('ssh', '--archive', '/no/such', '--', 'ls', '--help');
    expect([exit, out]).toEqual([3, '']);
  });
});

test.each([
  ['bild', 2, /^error: there is no command "bild".*\nhint: did you mean "build"\?$/m],
  ['zzzzzz', 2, /hint: buildkit-archive --help/],
  ['build --tagret x', 2, /^error: there is no option --tagret\nhint: did you mean --target\?$/m],
  ['build --qqqqqqqq', 2, /no option --qqqqqqqq\nhint: buildkit-archive --help lists the flags/],
  ['cache list --jsn', 2, /there is no option --jsn\nhint: did you mean --json\?/],
  ['explain --exit-cod 1 x', 2, /did you mean --exit-code\?/],
  ['build --archive /no/such --secret id=tok,src=t.txt', 2, /hint: write --secret-files tok=PATH/],
  ['build --archive', 2, /argument missing/],
])('%s: %i', async (line, exit, message) => {
  const ended = await run(...line.split(' '));
  expect(ended).toMatchObject({exit, out: ''});
  expect(ended.err).toMatch(message);
});

test('what an error quotes moves no cursor', async () => {
  const {err} = await run('build', '--archive', '/no/\u001b[2Jsuch', 'x\u001b]0;title\u0007');
  expect(err).not.toContain('\u001b');
});
