import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';
import {UserError} from '../../src/base/errors.ts';
import type {BuildRequest} from '../../src/base/request.ts';
import {version} from '../../src/base/version.ts';
import {type BuildctlCommand, buildctlArgs} from '../../src/build/buildctl-args.ts';
import {listedIn, placeByHelp} from '../../src/build/versions/help.ts';
import type {Release} from '../../src/build/versions/table.ts';
import {EVERY, layout, plain} from './buildctl-requests.ts';

const FIXTURES = '__tests__/fixtures/help';
const RECORDINGS = '../shared/recordings';
const releasesIn = (dir: string): string[] => readdirSync(dir).filter(name => /^v\d/.test(name));
const folders = [
  ...releasesIn(FIXTURES).map(release => [release, `${FIXTURES}/${release}`] as const),
  ...(existsSync(RECORDINGS)
    ? releasesIn(RECORDINGS).map(release => [release, `${RECORDINGS}/${release}`] as const)
    : []),
];

const make = (change: Partial<BuildRequest>, release: Release): BuildctlCommand | UserError => {
  try {
    return buildctlArgs({...plain, ...change}, layout, release);
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
};
const isCommand = (made: BuildctlCommand | UserError): made is BuildctlCommand =>
  !(made instanceof UserError);
const flagsOf = (command: BuildctlCommand): string[] =>
  command.argv.filter(word => word.startsWith('--')).map(word => word.split('=')[0] ?? word);

describe.each(folders)('%s (%s)', (release, folder) => {
  const read = (page: string): string => readFileSync(`${folder}/help-${page}.txt`, 'utf8');
  const listed = listedIn(read('build'));
  const placed = placeByHelp({
    buildctl: read('buildctl'),
    build: read('build'),
    buildkitd: read('buildkitd'),
  });

  test(`every command line of ${EVERY.length} requests uses only flags that its help lists`, () => {
    const commands = EVERY.map(change => make(change, version(release)));
    const made = commands.filter(isCommand);
    expect(made.flatMap(flagsOf).filter(flag => !listed.has(flag))).toEqual([]);
    expect(made.length).toBeGreaterThan(EVERY.length / 3);
  });

  test('the same holds for a fork of it, of which nobody knows the version', () => {
    const commands = EVERY.map(change => make(change, placed));
    const made = commands.filter(isCommand);
    expect(made.flatMap(flagsOf).filter(flag => !listed.has(flag))).toEqual([]);
    const exact = EVERY.map(change => make(change, version(release)));
    // What the release can do, its fork is not refused; what only the release is known to refuse comes with a warning.
    EVERY.forEach((change, i) => {
      const [fork, sure] = [commands[i], exact[i]];
      if (sure instanceof UserError) {
        if (fork && !(fork instanceof UserError))
          expect({change, warnings: fork.warnings.length}).not.toEqual({change, warnings: 0});
      } else {
        expect({change, refused: fork instanceof UserError}).toEqual({change, refused: false});
      }
    });
  });
});
