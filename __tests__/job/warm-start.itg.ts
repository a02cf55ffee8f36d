import {execFileSync, spawn} from 'node:child_process';
import {
  chmodSync,
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {createServer} from 'node:tls';
import {afterAll, afterEach, beforeAll, describe, expect, test} from '@jest/globals';
import type {JobEvent} from '../../src/base/events.ts';
import type {JobResult} from '../../src/base/result.ts';
import {openActionsCache} from '../../src/host/cache.ts';
import {saveEntries} from '../../src/host/cache-save.ts';
import {localFiles} from '../../src/host/files.ts';
import {localPorts} from '../../src/host/local.ts';
import {openStoreFolder} from '../../src/host/store.ts';
import {withMachine} from '../../src/machine.ts';
import type {Vm} from '../../src/vm/machine.ts';
import {bundleCacheWorker} from '../support/cache-server.ts';
import {startCacheServerV2} from '../support/cache-server-v2.ts';
import {
  archiveDir,
  BUSYBOX,
  contextDir,
  diskOf,
  leftovers,
  type Played,
  planFor,
  play,
} from '../support/machine.ts';

let storeDir: string;
beforeAll(() => {
  storeDir = mkdtempSync(join(tmpdir(), 'itg-warm-'));
});
afterAll(() => rmSync(storeDir, {recursive: true}));
afterEach(() => expect(leftovers()).toEqual([]));

const SECRET = 'the-secret-of-the-first-run-0123456789';
const MARKER = 'a-file-of-the-first-context-9876543210';
const DOCKERFILE = `${BUSYBOX}ARG WHO\nCOPY note /note\nRUN --mount=type=secret,id=key wc -c /run/secrets/key; echo "hello $WHO"; cat /note\n`;

const build = (): Promise<Played> =>
  play(
    {
      context: contextDir({Dockerfile: DOCKERFILE, note: MARKER}),
      secrets: `key=${SECRET}`,
      'build-args': `WHO=${SECRET}`,
    },
    {storeDir},
  );

/** What must be the same, whichever way the machine came up. */
function essence(result: JobResult): unknown {
  return {
    outcome: result.outcome,
    versions: result.versions,
    outputs: result.outputs,
    warnings: result.warnings,
    steps: result.trace?.steps.map(step => [
      step.name.replace(/bka-\w+|itg-context-\w+/g, ''),
      step.state,
      step.cached,
      step.logs.head.map(({text}) => text.replaceAll(/^ *\d+ /g, '')),
    ]),
  };
}

const snapshotDirs = (): string[] =>
  readdirSync(join(storeDir, 'snapshots')).filter(name => /^[0-9a-f]{64}$/.test(name));
const snapshotDir = (): string => join(storeDir, 'snapshots', snapshotDirs()[0] ?? '');
const start = (played: Played) => played.result.machine?.start;

/** Makes the store trust a snapshot again that the test has harmed. */
async function seal(): Promise<void> {
  const folder = openStoreFolder(storeDir);
  const [entry] = (await folder.list()).filter(({key}) => key.kind === 'snapshots');
  if (!entry?.record) throw new Error('no snapshot');
  const modifiedMs = statSync(entry.path).mtimeMs;
  await folder.writeRecord(entry.key, {
    ...entry.record,
    modifiedMs,
    contentDigest: await folder.seal(entry.path),
  });
}

/** Looks for bytes in the files of a folder, however large. */
function holds(dir: string, needle: string): string[] {
  return readdirSync(dir, {recursive: true, withFileTypes: true})
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
    .filter(path => {
      const fd = openSync(path, 'r');
      const chunk = Buffer.alloc(16 * 1024 ** 2);
      let tail = Buffer.alloc(0);
      try {
        for (let read = readSync(fd, chunk); read > 0; read = readSync(fd, chunk)) {
          const seen = Buffer.concat([tail, chunk.subarray(0, read)]);
          if (seen.includes(needle)) return true;
          tail = Buffer.from(seen.subarray(-needle.length));
        }
        return false;
      } finally {
        closeSync(fd);
      }
    });
}

describe('cold, frozen, restored', () => {
  let cold: Played;

  test('the first run boots, and keeps the machine before anything of the user is in it', async () => {
    cold = await build();
    expect(cold.result.outcome).toEqual({kind: 'built'});
    expect(start(cold)).toEqual({
      kind: 'cold',
      reason: expect.stringMatching(/no snapshot/),
      snapshot: {method: 'shared-memory', sizeBytes: expect.any(Number)},
    });
    expect(snapshotDirs()).toHaveLength(1);
    expect(holds(storeDir, SECRET)).toEqual([]);
    expect(holds(storeDir, MARKER)).toEqual([]);
    // The search would find it if it were there.
    expect(holds(storeDir, 'buildkit-archive')).not.toEqual([]);
  });

  test('the next one goes on from there, to the same result', async () => {
    const before = readdirSync(snapshotDir()).map(name => statSync(join(snapshotDir(), name)).mtimeMs);
    const warm = await build();
    expect(start(warm)).toEqual({kind: 'restored', snapshot: start(cold)?.snapshot});
    expect(essence(warm.result)).toEqual(essence(cold.result));
    expect(readdirSync(snapshotDir()).map(name => statSync(join(snapshotDir(), name)).mtimeMs)).toEqual(
      before,
    );
    expect(holds(storeDir, SECRET)).toEqual([]);
  });

  test('two at once: same builds, other random numbers; the right time; TLS works', async () => {
    const certificate = selfSigned();
    const server = createServer({key: certificate.key, cert: certificate.cert}, socket =>
      socket.end('hello over TLS\n'),
    );
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    try {
      const looks = await Promise.all([1, 2].map(() => look(port, certificate.cert)));
      for (const {restored, offsetSeconds, tls} of looks) {
        expect(restored).toBe(true);
        // The answer takes its time to come; a stale clock would be off by the age of the snapshot.
        expect(Math.abs(offsetSeconds)).toBeLessThan(1);
        expect(tls).toContain('hello over TLS');
        expect(tls).toMatch(/Verify return code: 0 \(ok\)|Verification: OK/);
      }
      expect(looks[0]?.random).toMatch(/^[0-9a-f]{64}$/);
      expect(looks[0]?.random).not.toBe(looks[1]?.random);
      expect(looks[0]?.boot).toBe(looks[1]?.boot);
    } finally {
      await new Promise(resolve => server.close(resolve));
      rmSync(certificate.dir, {recursive: true});
    }
  });

  /** Comes up restored, and asks the machine. */
  async function look(port: number, cert: string) {
    const plan = planFor({});
    let restored = false;
    const emit = (event: JobEvent): void => {
      if (event.kind === 'booted') restored = event.machine.start?.kind === 'restored';
    };
    const probe = {
      isWarm: true,
      ready: async () => undefined,
      parse: () => undefined,
      check: async () => undefined,
    };
    return withMachine(
      {...plan, archive: {...plan.archive, storeDir}},
      {...localPorts, emit},
      probe,
      new AbortController().signal,
      async (vm: Vm) => {
        const ask = async (script: string, stdin = ''): Promise<string> =>
          (await vm.session.output(['sh', '-c', script, 'sh', String(port)], {stdin})).stdout;
        const random = (await ask("head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'")).trim();
        const beforeMs = Date.now();
        const guestSeconds = Number(await ask('date +%s.%N'));
        const halfWaySeconds = (beforeMs + Date.now()) / 2000;
        return {
          restored,
          random,
          offsetSeconds: guestSeconds - halfWaySeconds,
          boot: (await ask('cat /proc/sys/kernel/random/boot_id')).trim(),
          tls: await ask(
            'cat > /run/ca.pem; openssl s_client -connect "10.0.2.2:$1" -CAfile /run/ca.pem -verify_return_error </dev/null 2>&1',
            cert,
          ),
        };
      },
    );
  }
});

/** A certificate that is valid from now on, so that a clock that is behind refuses it. */
function selfSigned(): {dir: string; key: string; cert: string} {
  const dir = mkdtempSync(join(tmpdir(), 'itg-tls-'));
  const [key, cert] = ['key.pem', 'cert.pem'].map(name => join(dir, name)) as [string, string];
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      key,
      '-out',
      cert,
      '-days',
      '2',
      '-subj',
      '/CN=10.0.2.2',
    ],
    {stdio: 'ignore'},
  );
  return {dir, key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8')};
}

describe('a snapshot that is not to be trusted', () => {
  test.each<[string, () => Promise<void>, RegExp]>([
    [
      'device state that QEMU cannot read',
      async () => {
        truncateSync(join(snapshotDir(), 'state'), 5000);
        await seal();
      },
      /could not be used: QEMU/,
    ],
    [
      'memory that makes no sense',
      async () => {
        const path = join(snapshotDir(), 'ram');
        const {size} = statSync(path);
        truncateSync(path, 0);
        truncateSync(path, size);
        await seal();
      },
      /could not be used/,
    ],
    [
      'a file that is gone',
      async () => rmSync(join(snapshotDir(), 'overlay.qcow2')),
      /its files were changed/,
    ],
  ])('%s: one warning, a boot, a new snapshot', async (_name, harm, why) => {
    await harm();
    const {result} = await build();
    expect(result.outcome).toEqual({kind: 'built'});
    expect(result.machine?.start).toMatchObject({kind: 'cold', reason: expect.stringMatching(why)});
    expect(result.warnings).toEqual([expect.stringMatching(why)]);
    expect(result.warnings[0]).toMatch(/dropped/);
    expect(snapshotDirs()).toHaveLength(1);
  });

  test('it was made anew each time, and works', async () => {
    expect(start(await build())?.kind).toBe('restored');
  });

  test('another daemon answers than was frozen', async () => {
    const manifest = JSON.parse(readFileSync(join(snapshotDir(), 'manifest.json'), 'utf8'));
    manifest.facts.workers[0].id = 'another';
    writeFileSync(join(snapshotDir(), 'manifest.json'), JSON.stringify(manifest));
    await seal();
    const {result} = await build();
    expect(result.outcome).toEqual({kind: 'built'});
    expect(result.machine?.start?.reason).toMatch(/another BuildKit answers/);
  });

  test('another QEMU has no use for it, and it stays for the one that made it', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'itg-qemu-'));
    const real = execFileSync('sh', ['-c', 'command -v qemu-system-x86_64'], {encoding: 'utf8'}).trim();
    const upgraded = join(dir, 'qemu-system-x86_64');
    writeFileSync(
      upgraded,
      `#!/bin/bash\n[ "$1" != --version ] || { echo 'QEMU emulator version 7.2.99 (another build)'; exit; }\nexec ${real} "$@"\n`,
    );
    chmodSync(upgraded, 0o755);
    const path = process.env.PATH;
    process.env.PATH = `${dir}:${path}`;
    try {
      const {result} = await build();
      expect(result.outcome).toEqual({kind: 'built'});
      expect(result.machine).toMatchObject({qemuVersion: '7.2.99', start: {kind: 'cold'}});
      expect(snapshotDirs()).toHaveLength(2);
    } finally {
      process.env.PATH = path;
      rmSync(dir, {recursive: true});
    }
    expect(start(await build())?.kind).toBe('restored');
  });
});

describe('a freeze that fails', () => {
  const fresh = (): string => mkdtempSync(join(tmpdir(), 'itg-warm-'));
  const context = (): string => contextDir({Dockerfile: `${BUSYBOX}RUN echo 1\n`});

  test('a full disk: one warning, the build goes on, nothing is left', async () => {
    const dir = fresh();
    const files = {
      ...localPorts.files,
      copySparse: async (path: string, dest: string) => {
        await localFiles.copySparse(path, dest);
        throw new Error(`cp: error writing '${dest}': No space left on device`);
      },
    };
    const {result} = await play({context: context()}, {storeDir: dir, ports: {files}});
    expect(result.outcome).toEqual({kind: 'built'});
    expect(result.machine?.start?.snapshot).toBeUndefined();
    expect(result.warnings).toEqual([
      expect.stringMatching(/^the VM could not be kept .*No space left on device/),
    ]);
    expect(readdirSync(join(dir, 'snapshots'))).toEqual([]);
    rmSync(dir, {recursive: true});
  });

  test('a process that is killed in the middle leaves nothing that is taken for a snapshot', async () => {
    const dir = fresh();
    const bin = fresh();
    // The copy of the memory takes for ever.
    writeFileSync(join(bin, 'cp'), `#!/bin/sh\necho $$ >> ${bin}/copying\nexec sleep 600\n`);
    chmodSync(join(bin, 'cp'), 0o755);
    const child = spawn(
      process.execPath,
      [
        'dist/cli.cjs',
        'build',
        '--archive',
        diskOf('v0.20.2'),
        '--accelerator',
        'tcg',
        '--context',
        context(),
      ],
      {
        stdio: 'ignore',
        env: {...process.env, PATH: `${bin}:${process.env.PATH}`, BUILDKIT_ARCHIVE_STORE: dir},
      },
    );
    const ended = new Promise(resolve => child.once('exit', resolve));
    while (!readdirSync(bin).includes('copying')) {
      if (child.exitCode !== null) throw new Error(`the command line ended with ${child.exitCode}`);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
    child.kill('SIGKILL');
    await ended;
    for (const pid of readFileSync(join(bin, 'copying'), 'utf8').trim().split('\n'))
      process.kill(Number(pid), 'SIGKILL');
    while (leftovers().some(line => line.startsWith('process')))
      await new Promise(resolve => setTimeout(resolve, 50));
    for (const name of readdirSync(tmpdir()).filter(name => name.startsWith('bka-'))) {
      rmSync(join(tmpdir(), name), {recursive: true});
    }
    expect(readdirSync(join(dir, 'snapshots')).filter(name => !name.startsWith('.partial-'))).toEqual([]);
    const {result} = await play({context: context()}, {storeDir: dir});
    expect(result.machine?.start).toMatchObject({kind: 'cold', snapshot: {method: 'shared-memory'}});
    expect(readdirSync(join(dir, 'snapshots')).filter(name => name.startsWith('.partial-'))).toEqual([]);
    for (const left of [dir, bin]) rmSync(left, {recursive: true});
  });
});

/** A QEMU that does not know how to leave memory out of its stream: the name is changed on the way to us. */
function withoutIgnoreShared(): typeof localPorts.sockets {
  return {
    ...localPorts.sockets,
    connectUnix: async path => {
      const socket = await localPorts.sockets.connectUnix(path);
      const read = socket.emit.bind(socket);
      socket.emit = (event: string | symbol, ...args: unknown[]) =>
        read(event, ...(event === 'data' ? [String(args[0]).replace('x-ignore-shared', 'x-another')] : args));
      return socket;
    },
  };
}

test('a QEMU without x-ignore-shared: memory goes into the stream, and comes back out of it', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'itg-warm-'));
  const context = contextDir({Dockerfile: `${BUSYBOX}RUN echo 1\n`});
  const options = {storeDir: dir, ports: {sockets: withoutIgnoreShared()}};
  const cold = await play({context}, options);
  expect(cold.result).toMatchObject({
    outcome: {kind: 'built'},
    machine: {start: {kind: 'cold', snapshot: {method: 'migration-stream'}}},
  });
  const warm = await play({context}, options);
  expect(warm.result).toMatchObject({
    outcome: {kind: 'built'},
    warnings: [],
    machine: {start: {kind: 'restored', snapshot: {method: 'migration-stream'}}},
  });
  rmSync(dir, {recursive: true});
});

test("another machine takes the snapshot out of the Actions cache, and nothing of the first run's is in it", async () => {
  const place = mkdtempSync(join(tmpdir(), 'itg-warm-'));
  const server = await startCacheServerV2();
  const worker = mkdtempSync(join(tmpdir(), 'cache-worker-'));
  try {
    const workerPath = bundleCacheWorker(worker);
    const run = async (machine: string) => {
      const store = join(place, machine);
      const actionsCache = openActionsCache({
        workerPath,
        storeDir: store,
        env: {...process.env, ...server.env},
      });
      const raw = {
        archive: join(archiveDir('v0.20.2'), 'oci'),
        context: contextDir({Dockerfile: DOCKERFILE, note: MARKER}),
        secrets: `key=${SECRET}`,
      };
      const played = await play(raw, {storeDir: store, ports: {actionsCache}});
      const saves = played.events.flatMap(event => (event.kind === 'cache-save' ? [event.entry] : []));
      const said: string[] = [];
      await saveEntries(
        actionsCache,
        saves,
        event => void said.push('message' in event ? event.message : event.kind),
      );
      return {played, saves, said};
    };
    const first = await run('first');
    expect(first.said).toEqual([
      expect.stringMatching(/^Saved to the Actions cache as buildkit-archive-snapshot-1-sha256-/),
    ]);
    // Saving has not harmed the one in the store.
    expect(start((await run('first')).played)?.kind).toBe('restored');
    const second = await run('second');
    expect(second.played.result.outcome).toEqual({kind: 'built'});
    expect(start(second.played)?.kind).toBe('restored');
    expect(second.saves).toEqual([]);
    const ram = statSync(
      join(
        place,
        'second',
        'snapshots',
        readdirSync(join(place, 'second', 'snapshots'))[0]?.replace(/\.json$/, '') ?? '',
        'ram',
      ),
    );
    expect(ram.blocks * 512).toBeLessThan(ram.size / 2);
    expect(holds(place, SECRET)).toEqual([]);
    expect(holds(place, MARKER)).toEqual([]);
  } finally {
    await server[Symbol.asyncDispose]();
    for (const left of [place, worker]) rmSync(left, {recursive: true, force: true});
  }
});

test('snapshot: off and machine: published neither keep nor take one', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'itg-warm-'));
  const context = contextDir({Dockerfile: `${BUSYBOX}RUN echo 1\n`});
  const published = await play({context, machine: 'published'}, {storeDir: dir});
  expect(published.result).toMatchObject({
    outcome: {kind: 'built'},
    machine: {line: 'published', start: {kind: 'cold'}},
  });
  const off = await play({context, snapshot: 'off'}, {storeDir: dir});
  expect(off.result).toMatchObject({
    outcome: {kind: 'built'},
    machine: {line: 'fast', start: {kind: 'cold'}},
  });
  expect(readdirSync(dir)).not.toContain('snapshots');
  rmSync(dir, {recursive: true});
});
