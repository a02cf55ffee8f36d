import {closeSync, openSync, readdirSync, readSync, statSync} from 'node:fs';
import {join} from 'node:path';
import type {JobResult} from '../../src/base/result.ts';
import {keptLines} from '../../src/base/trace.ts';
import {openStoreFolder} from '../../src/host/store.ts';
import {BUSYBOX, contextDir, type Played, type PlayOptions, play} from './machine.ts';

export const SECRET = 'the-secret-of-the-first-run-0123456789';
export const MARKER = 'a-file-of-the-first-context-9876543210';
export const DOCKERFILE = `${BUSYBOX}ARG WHO\nCOPY note /note\nRUN --mount=type=secret,id=key cat /run/secrets/key | wc -c; echo "hello $WHO"; cat /note\n`;

/** Another of what a user puts in; the daemon is started anew for it. */
export const SECRET_CONFIG = {
  'buildkitd-config-inline': `[registry."registry.invalid"]\n  mirrors = ["${SECRET}.invalid"]\n`,
};

/** A small build with a secret, on a store of its own. */
export function build(
  storeDir: string,
  raw: Readonly<Record<string, string>> = {},
  options: PlayOptions = {},
): Promise<Played> {
  const inputs = {
    context: contextDir({Dockerfile: DOCKERFILE, note: MARKER}),
    secrets: `key=${SECRET}`,
    'build-args': `WHO=${SECRET}`,
    ...raw,
  };
  return play(inputs, {...options, storeDir});
}

export const start = (played: Played) => played.result.machine?.start;

/** What differs from run to run: names of temporary folders, ids of sessions, how long things took. */
const RANDOM_NAMES = /bka-\w+|itg-context-\w+/g;
const TIMES = /seconds|intervals|timings/i;

/** All of a result but times, and how the machine came up. */
export function essence(result: JobResult): unknown {
  const {machine, trace, ...others} = result;
  const {start: _, ...facts} = machine ?? {};
  // A step's ID hangs on the session that its files come from.
  const steps = trace?.steps.map(({id: _id, logs, statuses, ...step}) => ({
    ...step,
    log: keptLines(logs).map(({text}) => text),
    // How often a transfer is reported hangs on its speed.
    statuses: statuses.map(({id, total, done}) => ({id, total, done})),
  }));
  const timeless = JSON.stringify({...others, facts, trace: {...trace, steps}}, (key, value) =>
    TIMES.test(key) ? undefined : value,
  );
  return JSON.parse(timeless.replace(RANDOM_NAMES, 'NAME'));
}

/** The snapshots of a store; their files, as complete ones have them. */
export const snapshotsIn = (storeDir: string): string[] =>
  readdirSync(join(storeDir, 'snapshots'))
    .filter(name => /^[0-9a-f]{64}$/.test(name))
    .map(name => join(storeDir, 'snapshots', name));

/** The store's only snapshot. */
export function snapshotIn(storeDir: string): string {
  const [dir, ...others] = snapshotsIn(storeDir);
  if (dir === undefined || others.length > 0)
    throw new Error(`${others.length + 1} snapshots in ${storeDir}`);
  return dir;
}

/** Makes the store trust a snapshot again that the test has harmed. */
export async function seal(storeDir: string): Promise<void> {
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

/** The files of a folder that have these bytes, however large they are. */
export function holding(dir: string, needle: string): readonly string[] {
  return readdirSync(dir, {recursive: true, withFileTypes: true})
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
    .filter(path => fileHolds(path, needle));
}

const CHUNK = Buffer.alloc(16 * 1024 ** 2);

function fileHolds(path: string, needle: string): boolean {
  const fd = openSync(path, 'r');
  let tail = Buffer.alloc(0);
  try {
    for (let read = readSync(fd, CHUNK); read > 0; read = readSync(fd, CHUNK)) {
      const seen = Buffer.concat([tail, CHUNK.subarray(0, read)]);
      if (seen.includes(needle)) return true;
      tail = Buffer.from(seen.subarray(-needle.length));
    }
    return false;
  } finally {
    closeSync(fd);
  }
}
