import type {Rule} from './facts.ts';

/** What the build was asked for beside the Dockerfile, and cannot be. `$1` of the pattern is the faulty value. */
const REQUESTS: readonly {readonly pattern: RegExp; readonly what: string; readonly hint: string}[] = [
  {
    pattern: /exporter "([^"]+)" could not be found/,
    what: 'There is no exporter',
    hint: 'Types of an output are image, local, tar, oci and docker.',
  },
  {
    pattern: /invalid output option: output: (?:open|mkdir) (\S+?): /,
    what: 'The output cannot be written to',
    hint: 'Check "dest" of the output: its folder must exist and be writable.',
  },
  {
    pattern: /failed to parse target platform "?([^\s":]+)/,
    what: 'This is no platform:',
    hint: 'Write OS/ARCHITECTURE[/VARIANT], such as linux/amd64.',
  },
];

/** An input that no release can honour. */
export const faultyRequest: Rule = ({errors, step}) => {
  for (const {pattern, what, hint} of REQUESTS) {
    const value = pattern.exec(errors)?.[1];
    if (value !== undefined) return {kind: 'infra', summary: `${what} "${value}"`, hint};
  }
  if (!/^(?:exporting|pushing) /.test(step?.name ?? '') || !/invalid reference format/.test(errors)) {
    return undefined;
  }
  return {
    kind: 'infra',
    summary: `The name of the image cannot be used: ${errors.split('\n')[0]}`,
    hint: 'Check "name" of the output: [HOST[:PORT]/]REPOSITORY[:TAG], the repository in lower case.',
  };
};
