import {expect} from '@jest/globals';

export const sh = (script: string, ...args: string[]): readonly string[] => [
  'sh',
  '-c',
  script,
  'sh',
  ...args,
];

/** Commands and what a session says of them, whatever machine and line are in between. */
export const COMMANDS: readonly (readonly [string, readonly string[], object])[] = [
  [
    'both outputs and the status',
    sh('echo out; echo err >&2; exit 3'),
    {code: 3, stdout: 'out\n', stderr: 'err\n'},
  ],
  ['status 0', ['true'], {code: 0, signal: undefined}],
  ['status 255', sh('exit 255'), {code: 255}],
  ['a signal', sh('kill -SEGV $$'), {code: undefined, signal: 'SIGSEGV'}],
  ['no such command', ['/no/such'], {code: 127, stderr: expect.stringMatching(/\/no\/such: /)}],
  ['not a program', ['/etc/passwd'], {code: 126}],
  [
    'words as they are',
    ['printf', '%s|', '', ' a  b', '$(id)', '\'"', 'ü\n-'],
    {stdout: '| a  b|$(id)|\'"|ü\n-|'},
  ],
  ['no standard input', ['cat'], {code: 0, stdout: ''}],
];
