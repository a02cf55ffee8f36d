import {execFileSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {createReadStream, mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {pipeline} from 'node:stream/promises';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import type {Session} from '../../src/base/ports.ts';
import {GUEST_PATHS} from '../../src/build/guest.ts';
import {LocalBuildkit} from './local-buildkit.ts';
import {makeManyFiles, makeOddTree} from './odd-tree.ts';
import {SharedMachine} from './shared-machine.ts';
import {DIGEST_SCRIPT, LISTING_SCRIPT} from './tree-digest.ts';

const WAYS = ['tar', 'disk'] as const;

/** What a build on this side or in the machine made of the context. */
interface Seen {
  /** The result of `type=local`, as lines. */
  readonly local: readonly string[];
  /** Digest of the result of `type=tar`, which has owners and extended attributes, too. */
  readonly tar: string;
}

interface Arrived {
  readonly lines: readonly string[];
  readonly digest: string;
}

/**
 * One context with entries of every kind and `files` more, sent both ways into one machine, and built by the machine's own BuildKit on this side.
 * All three have to see the same.
 */
export function describeContextWays(files: number, bytesEach: number): void {
  const dir = mkdtempSync(join(tmpdir(), 'itg-ways-'));
  const context = join(dir, 'context');
  let machine: SharedMachine;
  let local: LocalBuildkit;

  beforeAll(async () => {
    mkdirSync(context);
    makeManyFiles(context, files, bytesEach);
    makeOddTree(context);
    writeFileSync(join(context, 'Dockerfile'), 'FROM scratch\nCOPY . /\n');
    machine = await SharedMachine.boot({'boot-timeout': '900'});
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
    `type=local,dest=${join(dir, name)}`,
    `type=tar,dest=${join(dir, `${name}.tar`)}`,
  ];

  async function seen(name: string): Promise<Seen> {
    const hash = createHash('sha256');
    await pipeline(createReadStream(join(dir, `${name}.tar`)), hash);
    const lines = runHere(LISTING_SCRIPT, join(dir, name)).split('\n');
    for (const path of [name, `${name}.tar`]) rmSync(join(dir, path), {recursive: true});
    return {local: lines, tar: hash.digest('hex')};
  }

  async function buildInMachine(way: (typeof WAYS)[number]): Promise<{seen: Seen; arrived: Arrived}> {
    // Files that look the same would be taken from what an earlier build left.
    await machine.vm.session.output(['buildctl', 'prune', '--all']);
    const built = await machine.build(
      {context, outputs: outputsOf(way).join('\n')},
      way === 'disk' ? {} : {ports: {devices: undefined}},
    );
    const why = [...built.warnings, ...built.notices].filter(text => text.includes('tar stream'));
    expect({...built.outcome, way: built.sent?.way, why}).toEqual({kind: 'built', way, why: []});
    expect(built.sent?.warnings).toEqual(['socket is a socket; BuildKit takes it as an empty file']);
    return {seen: await seen(way), arrived: await inGuest()};
  }

  describe.each([
    ['all of it', '*.nothing\n'],
    ['less what .dockerignore leaves out', 'many/0/1*\n!many/0/11\nhard/two\nempty/inner\n**/f\n'],
  ])('%s', (title, ignore) => {
    let byTar: Awaited<ReturnType<typeof buildInMachine>>;
    let byDisk: Awaited<ReturnType<typeof buildInMachine>>;

    test('goes both ways', async () => {
      writeFileSync(join(context, '.dockerignore'), ignore);
      byTar = await buildInMachine('tar');
      byDisk = await buildInMachine('disk');
    });

    test('arrives the same', () => {
      expect(byDisk.arrived).toEqual(byTar.arrived);
      if (title !== 'all of it') return;
      const lines = runHere(LISTING_SCRIPT, context).split('\n');
      expect(byDisk.arrived).toEqual({lines, digest: runHere(DIGEST_SCRIPT, context)});
    });

    test('makes the same image as here', async () => {
      local.build(context, outputsOf('here'));
      const here = await seen('here');
      // What comes out of a machine loses these bits on its way to this side's disk.
      const harmless = {
        ...here,
        local: here.local.map(line => line.replace(/\|([fd])\|[246]([0-7]{3})\|/, '|$1|$2|')),
      };
      expect(byTar.seen).toEqual(harmless);
      expect(byDisk.seen).toEqual(harmless);
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

function runHere(script: string, path: string): string {
  return execFileSync('sh', ['-c', script, 'sh', path], {encoding: 'utf8', maxBuffer: 2 ** 30});
}
