import {execFileSync, spawn} from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import {open} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import {Snapshots} from '../../src/archive/snapshots.ts';
import type {JobEvent} from '../../src/base/events.ts';
import {awaitBuildkit} from '../../src/build/inspect.ts';
import {localPorts} from '../../src/host/local.ts';
import {openStoreFolder} from '../../src/host/store.ts';
import {withMachine} from '../../src/machine.ts';
import type {Vm} from '../../src/vm/machine.ts';
import {
  BUSYBOX,
  contextDir,
  diskOf,
  leftovers,
  type Played,
  type PlayOptions,
  planFor,
  untilBoot,
} from '../support/machine.ts';
import {build as buildIn, seal, snapshotIn, snapshotsIn, start} from '../support/warm.ts';

let storeDir: string;
/** A disk of this file's own, since one of its tests replaces it. */
let archive: string;
beforeAll(() => {
  storeDir = mkdtempSync(join(tmpdir(), 'itg-warm-'));
  archive = join(mkdtempSync(join(tmpdir(), 'itg-disk-')), 'vm.qcow2');
  copyFileSync(diskOf('v0.20.2'), archive);
});
afterAll(() => {
  for (const dir of [storeDir, dirname(archive)]) rmSync(dir, {recursive: true});
});
afterEach(() => expect(leftovers()).toEqual([]));

const build = (dir: string, options: PlayOptions = {}): Promise<Played> => buildIn(dir, {archive}, options);
const fileOf = (name: string): string => join(snapshotIn(storeDir), name);

/** Changes one bit in the middle of a file. */
async function flipBit(path: string, at = Math.floor(statSync(path).size / 2)): Promise<void> {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  byte.writeUInt8(byte.readUInt8() ^ 1);
  await file.write(byte, 0, 1, at);
  await file.close();
}

/** A folder for PATH with a program that stands before the real one of its name. `$real` is that one. */
function shadowed(program: string, script: string): string {
  const dir = mkdtempSync(join(tmpdir(), 'itg-shadow-'));
  const real = execFileSync('sh', ['-c', 'command -v "$0"', program], {encoding: 'utf8'}).trim();
  writeFileSync(join(dir, program), `#!/bin/bash\nreal=${real}\n${script}`);
  chmodSync(join(dir, program), 0o755);
  return dir;
}

async function withShadow<T>(program: string, script: string, work: () => Promise<T>): Promise<T> {
  const dir = shadowed(program, script);
  const path = process.env.PATH;
  process.env.PATH = `${dir}:${path}`;
  try {
    return await work();
  } finally {
    process.env.PATH = path;
    rmSync(dir, {recursive: true});
  }
}

describe('a snapshot that is not to be trusted', () => {
  // Each harm is done to a copy of the same snapshot.
  const pristine = mkdtempSync(join(tmpdir(), 'itg-warm-'));
  const copy = (from: string, to: string): void => {
    rmSync(to, {recursive: true, force: true});
    execFileSync('cp', ['-a', '--sparse=always', from, to]);
  };
  beforeAll(async () => {
    expect(start(await build(storeDir))?.snapshot).toBeDefined();
    copy(storeDir, pristine);
  });
  afterAll(() => rmSync(pristine, {recursive: true}));
  beforeEach(async () => {
    copy(pristine, storeDir);
    await seal(storeDir);
  });

  const CHANGED = /its files were changed/;
  test.each<[string, () => void | Promise<void>, RegExp]>([
    ['a file that is gone', () => rmSync(fileOf('overlay.qcow2')), CHANGED],
    ['a memory file that was cut', () => truncateSync(fileOf('ram'), 100_000_000), CHANGED],
    ['a flipped bit of memory', () => flipBit(fileOf('ram')), CHANGED],
    // What the store would not notice, the machine does.
    [
      'device state that QEMU cannot read',
      async () => {
        truncateSync(fileOf('state'), 5000);
        await seal(storeDir);
      },
      /could not be used: QEMU/,
    ],
    [
      'a flipped bit of the device state, in its magic number',
      async () => {
        await flipBit(fileOf('state'), 0);
        await seal(storeDir);
      },
      /could not be used: QEMU/,
    ],
    [
      'an overlay that is none',
      async () => {
        await flipBit(fileOf('overlay.qcow2'), 0);
        await seal(storeDir);
      },
      /could not be used: QEMU/,
    ],
    [
      'memory that makes no sense',
      async () => {
        const {size} = statSync(fileOf('ram'));
        truncateSync(fileOf('ram'), 0);
        truncateSync(fileOf('ram'), size);
        await seal(storeDir);
      },
      /could not be used/,
    ],
    [
      'another daemon than was frozen',
      async () => {
        const manifest = JSON.parse(readFileSync(fileOf('manifest.json'), 'utf8'));
        manifest.facts.workers[0].id = 'another';
        writeFileSync(fileOf('manifest.json'), JSON.stringify(manifest));
        await seal(storeDir);
      },
      /another BuildKit answers/,
    ],
  ])('%s: one warning, and a boot', async (_name, harm, why) => {
    await harm();
    const {result, hasBegunToBoot} = await untilBoot(options => build(storeDir, options));
    expect(hasBegunToBoot).toBe(true);
    expect(result.warnings).toEqual([expect.stringMatching(why)]);
    expect(result.warnings[0]).toMatch(/dropped/);
    expect(snapshotsIn(storeDir)).toEqual([]);
  });

  test('the whole way: one warning, a boot, a new snapshot that works', async () => {
    await flipBit(fileOf('ram'));
    const {result} = await build(storeDir);
    expect(result.outcome).toEqual({kind: 'built'});
    expect(result.machine?.start).toMatchObject({kind: 'cold', reason: expect.stringMatching(CHANGED)});
    expect(result.warnings).toEqual([expect.stringMatching(CHANGED)]);
    expect(start(await build(storeDir))?.kind).toBe('restored');
  });
});

describe('another machine than the one that was frozen', () => {
  test('another QEMU has no use for it, and it stays for the one that made it', async () => {
    const kept = snapshotIn(storeDir);
    const upgraded = `[ "$1" != --version ] || { echo 'QEMU emulator version 7.2.99 (another build)'; exit; }\nexec "$real" "$@"\n`;
    await withShadow('qemu-system-x86_64', upgraded, async () => {
      const {result, hasBegunToBoot} = await untilBoot(options => build(storeDir, options));
      expect(hasBegunToBoot).toBe(true);
      expect(result.warnings).toEqual([]);
      expect(snapshotsIn(storeDir)).toEqual([kept]);
    });
    expect(start(await build(storeDir))?.kind).toBe('restored');
  });

  test('a disk that was replaced has no use for it; a disk that is gone is what the user is told of', async () => {
    const kept = snapshotIn(storeDir);
    copyFileSync(archive, `${archive}.new`);
    renameSync(`${archive}.new`, archive);
    const replaced = await untilBoot(options => build(storeDir, options));
    expect(replaced.hasBegunToBoot).toBe(true);
    expect(replaced.result.warnings).toEqual([]);
    expect(snapshotsIn(storeDir)).toEqual([kept]);
    renameSync(archive, `${archive}.gone`);
    const {result} = await build(storeDir);
    expect(result.outcome).toMatchObject({kind: 'infra-failed', stage: 'archive', internal: false});
    renameSync(`${archive}.gone`, archive);
  });
});

/** A file system of a size of its own; needs root. */
function smallDisk(size: string): {readonly dir: string; release(): void} {
  const dir = mkdtempSync(join(tmpdir(), 'itg-small-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'itg-small', dir]);
  return {
    dir,
    release() {
      execFileSync('umount', [dir]);
      rmSync(dir, {recursive: true});
    },
  };
}

describe('a freeze that fails', () => {
  const fresh = (): string => mkdtempSync(join(tmpdir(), 'itg-warm-'));

  test('a disk that is full: one warning, the machine goes on, nothing is left', async () => {
    const first = smallDisk('128m');
    // What looks free and is not, as when others fill the disk meanwhile.
    let hopeful = false;
    const files = {
      ...localPorts.files,
      freeBytes: async (dir: string) => (hopeful ? 2 ** 50 : localPorts.files.freeBytes(dir)),
    };
    const warnings: string[] = [];
    const emit = (event: JobEvent): void => {
      if (event.kind === 'warning') warnings.push(event.message);
    };
    const probe = {
      isWarm: true,
      ready: async ({session, died}: Vm) => awaitBuildkit(session, died),
      parse: () => undefined,
      check: async () => undefined,
    };
    const plan = planFor({});
    const placed = {...plan, archive: {...plan.archive, storeDir: first.dir}};
    const {signal} = new AbortController();
    const nothingIn = (dir: string): void => expect(readdirSync(join(dir, 'snapshots'))).toEqual([]);
    try {
      await withMachine(placed, {...localPorts, files, emit}, probe, signal, async vm => {
        expect(warnings).toEqual([
          expect.stringMatching(
            /^the VM could not be kept for the next run.* a snapshot needs \d+ MiB, and \d+ MiB are free/,
          ),
        ]);
        nothingIn(first.dir);
        hopeful = true;
        for (const [size, why] of [
          ['64m', /No space left on device/],
          ['128k', /device state .*No space left on device/],
        ] as const) {
          const disk = smallDisk(size);
          try {
            const folder = openStoreFolder(disk.dir);
            const snapshots = new Snapshots({folder, nowMs: Date.now, emit});
            const freezing = snapshots.keep(`sha256:${'0'.repeat(64)}`, 'test', async destDir => {
              const made = await vm.freeze?.(destDir, {agent: true, facts: {}}, signal);
              return made?.sizeBytes ?? 0;
            });
            await expect(freezing).rejects.toThrow(why);
            nothingIn(disk.dir);
            await awaitBuildkit(vm.session, vm.died);
          } finally {
            disk.release();
          }
        }
      });
    } finally {
      first.release();
    }
  });

  test('a process that is killed while the overlay is copied leaves nothing that is taken for a snapshot', async () => {
    const dir = fresh();
    const notes = fresh();
    // The copy takes for ever.
    const bin = shadowed(
      'cp',
      `[[ "$*" == *overlay* ]] || exec "$real" "$@"\necho $$ >> ${notes}/copying\nexec sleep 600\n`,
    );
    const context = contextDir({Dockerfile: `${BUSYBOX}RUN echo 1\n`});
    const args = ['--archive', diskOf('v0.20.2'), '--accelerator', 'tcg', '--context', context];
    const child = spawn(process.execPath, ['dist/cli.cjs', 'build', ...args], {
      stdio: 'ignore',
      env: {...process.env, PATH: `${bin}:${process.env.PATH}`, BUILDKIT_ARCHIVE_STORE: dir},
    });
    const ended = new Promise(resolve => child.once('exit', resolve));
    while (!readdirSync(notes).includes('copying')) {
      if (child.exitCode !== null) throw new Error(`the command line ended with ${child.exitCode}`);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
    child.kill('SIGKILL');
    await ended;
    for (const pid of readFileSync(join(notes, 'copying'), 'utf8').trim().split('\n'))
      process.kill(Number(pid), 'SIGKILL');
    while (leftovers().some(line => line.startsWith('process')))
      await new Promise(resolve => setTimeout(resolve, 50));
    for (const name of readdirSync(tmpdir()).filter(name => name.startsWith('bka-')))
      rmSync(join(tmpdir(), name), {recursive: true});
    const left = (): string[] => readdirSync(join(dir, 'snapshots'));
    expect(left()).toEqual([expect.stringMatching(/^\.partial-/)]);
    const next = await untilBoot(options => build(dir, options));
    expect([next.hasBegunToBoot, next.result.warnings]).toEqual([true, []]);
    const folder = openStoreFolder(dir);
    await folder.sweep();
    expect(left()).toEqual([]);
    for (const done of [dir, notes, bin]) rmSync(done, {recursive: true});
  });
});
