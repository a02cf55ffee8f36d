import {execFile} from 'node:child_process';
import {createHash} from 'node:crypto';
import {createReadStream, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {pipeline} from 'node:stream/promises';
import {promisify} from 'node:util';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import type {Session} from '../../src/base/ports.ts';
import type {BuildContext} from '../../src/build/build.ts';
import {GUEST_PATHS} from '../../src/build/guest.ts';
import {localPorts} from '../../src/host/local.ts';
import {machinePaths} from '../../src/vm/qemu-args.ts';
import {LocalBuildkit} from './local-buildkit.ts';
import {makeManyFiles, makeOddTree} from './odd-tree.ts';
import {type Built, SharedMachine} from './shared-machine.ts';
import {mib, type Stopwatch} from './stopwatch.ts';
import {DIGEST_SCRIPT, LISTING_SCRIPT} from './tree-digest.ts';
import {differences, treeLines} from './tree-lines.ts';

/** Ways into the machine; `runner` has buildctl on this side, so BuildKit's own sync is the only way. */
type Way = 'tar' | 'disk' | 'runner';

export interface WaysOptions {
  readonly files: number;
  readonly bytesEach: number;
  readonly ways: readonly Way[];
  /** `.dockerignore`, by what it does. */
  readonly rounds: Readonly<Record<string, string>>;
  /** Whether the image is fetched as a folder, too. BuildKit v0.20.2 hangs over 100,000 files (`fsutil` in its client), on this side as in a VM. */
  readonly asFolder: boolean;
  readonly watch?: Stopwatch;
}

export const ALL_OF_IT = {'all of it': '*.nothing\n'};
export const LESS = {
  'less what .dockerignore leaves out': 'many/0/1*\n!many/0/11\nhard/two\nempty/inner\n**/f\n',
};

/** What a build on this side or in the machine made of the context. */
interface Seen {
  /** The result of `type=local`, as lines; none where it is not asked for. */
  readonly local: readonly string[];
  /** Digest of the result of `type=tar`, which has owners and extended attributes, too. */
  readonly tar: string;
}

interface Arrived {
  readonly lines: readonly string[];
  readonly digest: string;
}

interface Sent {
  readonly seen: Seen;
  /** Absent where the context is nowhere in the machine but in BuildKit's store. */
  readonly arrived?: Arrived;
}

/** Bits that what comes out of a machine loses on its way to this side's disk. */
const withoutHarm = (line: string): string => line.replace(/\|([fd])\|[246]([0-7]{3})\|/, '|$1|$2|');

/**
 * One context with entries of every kind and `files` more, sent all ways into one machine, and built by the machine's own BuildKit on this side.
 * All have to see the same.
 */
export function describeContextWays({files, bytesEach, ways, rounds, asFolder, watch}: WaysOptions): void {
  const dir = mkdtempSync(join(tmpdir(), 'itg-ways-'));
  const context = join(dir, 'context');
  let machine: SharedMachine;
  let local: LocalBuildkit;

  const time = async <T>(stage: string, work: () => T | Promise<T>): Promise<T> =>
    watch ? watch.time(stage, work) : work();

  beforeAll(async () => {
    mkdirSync(context);
    await time('make the context', () => {
      makeManyFiles(context, files, bytesEach);
      makeOddTree(context);
      writeFileSync(join(context, 'Dockerfile'), 'FROM scratch\nCOPY . /\n');
    });
    machine = await time('boot', () => SharedMachine.restore({'boot-timeout': '900'}));
    local = await LocalBuildkit.start(machine.vm.session);
  });
  afterAll(async () => {
    await local?.stop();
    await machine?.stop();
    rmSync(dir, {recursive: true, force: true});
  });

  /** Everything in the machine's copy of the context, and its digest. */
  async function inGuest(): Promise<Arrived> {
    const [lines, digest] = await Promise.all(
      [LISTING_SCRIPT, DIGEST_SCRIPT].map(script =>
        collect(machine.vm.session, ['sh', '-c', script, 'sh', GUEST_PATHS.context]),
      ),
    );
    return {lines: (lines as string).split('\n'), digest: digest as string};
  }

  const outputsOf = (name: string): string[] => [
    ...(asFolder ? [`type=local,dest=${join(dir, name)}`] : []),
    `type=tar,dest=${join(dir, `${name}.tar`)}`,
  ];

  async function seen(name: string): Promise<Seen> {
    const hash = createHash('sha256');
    const tar = join(dir, `${name}.tar`);
    expect(statSync(tar).size).toBeGreaterThan((files / 2) * bytesEach);
    await pipeline(createReadStream(tar), hash);
    const lines = asFolder ? await treeLines(join(dir, name)) : [];
    for (const path of [name, `${name}.tar`]) rmSync(join(dir, path), {recursive: true, force: true});
    return {local: lines, tar: hash.digest('hex')};
  }

  /** The ports of a build that goes the way, each stage with its time. */
  function portsFor(way: Way): Partial<BuildContext> {
    const {imager} = localPorts;
    return {
      ...(way !== 'disk' && {devices: undefined}),
      stage: (_stage, title, work) => time(`${way}: ${title}`, work),
      imager: {
        survey: (...args) => time(`${way}: look at the context`, () => imager.survey(...args)),
        image: (...args) => time(`${way}: make the disk image`, () => imager.image(...args)),
      },
    };
  }

  function noteSteps(way: Way, built: Built): void {
    for (const step of built.trace?.steps ?? [])
      if ((step.seconds ?? 0) >= 1) watch?.note(`${way}: step ${step.name}`, `${step.seconds?.toFixed(1)} s`);
    const overlay = machinePaths(dirname(machine.vm.consolePath)).overlay;
    watch?.note(`${way}: what the machine has written so far`, mib(statSync(overlay).blocks * 512));
  }

  async function buildInMachine(way: Way): Promise<Sent> {
    // Files that look the same would be taken from what an earlier build left.
    await machine.vm.session.output(['buildctl', 'prune', '--all']);
    const built = await machine.build(
      {
        context,
        outputs: outputsOf(way).join('\n'),
        client: way === 'runner' ? 'runner' : 'vm',
        'build-timeout': '86400',
      },
      {ports: portsFor(way)},
    );
    noteSteps(way, built);
    const why = [...built.warnings, ...built.notices].filter(text => text.includes('tar stream'));
    expect({...built.outcome, why}).toEqual({kind: 'built', why: []});
    expect(built.sent?.way).toBe(way === 'runner' ? undefined : way);
    if (way === 'runner') return {seen: await seen(way)};
    expect(built.sent?.warnings).toEqual(['socket is a socket; BuildKit takes it as an empty file']);
    const arrived = await time(`${way}: read what arrived`, inGuest);
    return {seen: await seen(way), arrived};
  }

  describe.each(Object.keys(rounds))('%s', round => {
    const sent = new Map<Way, Sent>();
    let builtHere: Seen;
    beforeAll(async () => {
      writeFileSync(join(context, '.dockerignore'), rounds[round] ?? '');
      await time('build here', () => local.build(context, outputsOf('here')));
      builtHere = await time('read what was built here', () => seen('here'));
    });

    const of = (way: Way): Sent => {
      const found = sent.get(way);
      if (!found) throw new Error(`nothing was sent by ${way}`);
      return found;
    };

    describe.each(ways)('by %s', way => {
      test('it goes', async () => {
        sent.set(way, await time(`${way}: all`, () => buildInMachine(way)));
      });

      test('it makes the same image as here', () => {
        const {local, tar} = of(way).seen;
        expect(differences(local, builtHere.local.map(withoutHarm))).toBeUndefined();
        expect(tar).toBe(builtHere.tar);
      });

      if (way === 'runner') return;
      test('it arrives the same', async () => {
        const whole = round in ALL_OF_IT;
        const expected = whole ? await here(context) : of('tar').arrived;
        expect(differences(of(way).arrived?.lines ?? [], expected?.lines ?? [])).toBeUndefined();
        expect(of(way).arrived?.digest).toBe(expected?.digest);
      });
    });
  });
}

/** What a command in the machine prints, however much it is. */
async function collect(session: Session, argv: readonly string[]): Promise<string> {
  const chunks: Buffer[] = [];
  const exit = await session.run(argv, {onStdout: chunk => void chunks.push(chunk)});
  expect(exit.code).toBe(0);
  return Buffer.concat(chunks).toString();
}

const run = promisify(execFile);

async function here(path: string): Promise<Arrived> {
  const [lines, digest] = await Promise.all(
    [LISTING_SCRIPT, DIGEST_SCRIPT].map(script =>
      run('sh', ['-c', script, 'sh', path], {maxBuffer: 2 ** 30}),
    ),
  );
  return {lines: (lines?.stdout ?? '').split('\n'), digest: digest?.stdout ?? ''};
}
