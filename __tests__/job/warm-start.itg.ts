import {execFileSync} from 'node:child_process';
import {mkdtempSync, readdirSync, readFileSync, rmSync, statSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {createServer} from 'node:tls';
import {afterAll, afterEach, beforeAll, describe, expect, test} from '@jest/globals';
import type {ActionsCache} from '../../src/base/cache.ts';
import type {JobEvent} from '../../src/base/events.ts';
import {openActionsCache} from '../../src/host/cache.ts';
import {saveEntries} from '../../src/host/cache-save.ts';
import {localPorts} from '../../src/host/local.ts';
import {withMachine} from '../../src/machine.ts';
import type {Vm} from '../../src/vm/machine.ts';
import {bundleCacheWorker, type CacheServer} from '../support/cache-server.ts';
import {startCacheServerV2} from '../support/cache-server-v2.ts';
import {
  archiveDir,
  BUSYBOX,
  contextDir,
  leftovers,
  type Played,
  planFor,
  play,
  untilBoot,
} from '../support/machine.ts';
import {build, essence, holding, MARKER, SECRET, SECRET_CONFIG, snapshotIn, start} from '../support/warm.ts';

let place: string;
let storeDir: string;
let server: CacheServer;
let workerPath: string;
beforeAll(async () => {
  place = mkdtempSync(join(tmpdir(), 'itg-warm-'));
  storeDir = join(place, 'first');
  server = await startCacheServerV2();
  workerPath = bundleCacheWorker(place);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(place, {recursive: true});
});
afterEach(() => expect(leftovers()).toEqual([]));

/** An image: where a disk of one's own lies is no name for it on another machine. */
const RAW = {...SECRET_CONFIG, archive: join(archiveDir('v0.20.2'), 'oci')};

const cacheOf = (store: string): ActionsCache =>
  openActionsCache({workerPath, storeDir: store, env: {...process.env, ...server.env}});

describe('cold, frozen, restored', () => {
  let cold: Played;

  test('the first run boots, and keeps the machine before anything of the user is in it', async () => {
    cold = await build(storeDir, RAW, {ports: {actionsCache: cacheOf(storeDir)}});
    expect(cold.result.outcome).toEqual({kind: 'built'});
    expect(start(cold)).toEqual({
      kind: 'cold',
      reason: expect.stringMatching(/no snapshot/),
      snapshot: {method: 'shared-memory', sizeBytes: expect.any(Number)},
    });
    expect(holding(storeDir, SECRET)).toEqual([]);
    expect(holding(storeDir, MARKER)).toEqual([]);
    // The search would find it if it were there: these are in the guest's memory, in its disk and in QEMU's devices.
    const files = snapshotIn(storeDir);
    for (const [name, known] of Object.entries({
      ram: 'buildkitd',
      'overlay.qcow2': 'snapshots',
      state: 'serial',
    }))
      expect([name, holding(files, known)]).toEqual([name, expect.arrayContaining([join(files, name)])]);
  });

  test('the next one goes on from there, to the same result', async () => {
    const files = snapshotIn(storeDir);
    const sealed = (): unknown =>
      readdirSync(files).map(name => statSync(join(files, name), {bigint: true}).ctimeNs);
    const before = sealed();
    const warm = await build(storeDir, RAW);
    expect(start(warm)).toEqual({kind: 'restored', snapshot: start(cold)?.snapshot});
    expect(essence(warm.result)).toEqual(essence(cold.result));
    expect(sealed()).toEqual(before);
    expect(holding(storeDir, SECRET)).toEqual([]);
    expect(holding(storeDir, MARKER)).toEqual([]);
  });

  test('two jobs at once, to the same result', async () => {
    for (const played of await Promise.all([build(storeDir, RAW), build(storeDir, RAW)])) {
      expect(start(played)).toEqual({kind: 'restored', snapshot: start(cold)?.snapshot});
      expect(essence(played.result)).toEqual(essence(cold.result));
    }
  });

  test('two machines at once: other random numbers, the right time, TLS works', async () => {
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
    const plan = planFor(RAW);
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
            'cat > /run/ca.pem; openssl s_client -connect "10.0.2.2:$1" -CAfile /run/ca.pem -verify_return_error -ign_eof </dev/null 2>&1',
            cert,
          ),
        };
      },
    );
  }

  test("another machine takes the snapshot out of the Actions cache, and nothing of the first run's is in it", async () => {
    const said: string[] = [];
    await saveEntries(
      cacheOf(storeDir),
      savesOf(cold),
      event => void said.push('message' in event ? event.message : event.kind),
    );
    expect(said).toEqual([
      expect.stringMatching(/^Saved to the Actions cache as buildkit-archive-snapshot-1-sha256-/),
    ]);
    const other = join(place, 'second');
    for (const [store, actionsCache] of [
      // Saving has not harmed the one in the store.
      [storeDir, undefined],
      [other, cacheOf(other)],
    ] as const) {
      const played = await build(store, RAW, actionsCache && {ports: {actionsCache}});
      expect(played.result.outcome).toEqual({kind: 'built'});
      expect(start(played)?.kind).toBe('restored');
      expect(savesOf(played)).toEqual([]);
    }
    const ram = statSync(join(snapshotIn(other), 'ram'));
    expect(ram.blocks * 512).toBeLessThan(ram.size / 2);
    for (const input of [SECRET, MARKER]) expect(holding(other, input)).toEqual([]);
  });

  test.each([[{machine: 'published'}], [{snapshot: 'off'}]])('%j takes none', async raw => {
    const {hasBegunToBoot, result} = await untilBoot(options => build(storeDir, {...RAW, ...raw}, options));
    expect([hasBegunToBoot, result.warnings]).toEqual([true, []]);
  });
});

const savesOf = ({events}: Played) =>
  events.flatMap(event => (event.kind === 'cache-save' ? [event.entry] : []));

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

test('machine: published keeps none', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'itg-warm-'));
  const context = contextDir({Dockerfile: `${BUSYBOX}RUN echo 1\n`});
  const {result} = await play({context, machine: 'published'}, {storeDir: dir});
  expect(result).toMatchObject({
    outcome: {kind: 'built'},
    machine: {line: 'published', start: {kind: 'cold'}},
  });
  expect(readdirSync(dir)).not.toContain('snapshots');
  rmSync(dir, {recursive: true});
});
