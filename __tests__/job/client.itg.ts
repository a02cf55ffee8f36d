import {execFileSync} from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import {BUSYBOX, commandLines, contextDir, diskOf, leftovers, play} from '../support/machine.ts';
import {type Built, failureOf, SharedMachine} from '../support/shared-machine.ts';

const DOCKERFILE = `${BUSYBOX}COPY . /all
RUN ls -l /all; echo made > /all/made
FROM scratch
COPY --from=0 /all /
`;

/** Modes, links, an ignore file, a Dockerfile that is a link out of the context. */
function trickyContext(): string {
  const dir = contextDir({
    'a/plain': 'plain\n',
    'a/left-out': 'no\n',
    'a/kept': 'yes\n',
    'name with, comma': 'x\n',
    'umlaut-ä': 'ä\n',
    '.dockerignore': 'a/*\n!a/plain\n!a/kept\n',
  });
  const elsewhere = mkdtempSync(join(tmpdir(), 'itg-dockerfile-'));
  writeFileSync(join(elsewhere, 'real'), DOCKERFILE);
  symlinkSync(join(elsewhere, 'real'), join(dir, 'Dockerfile'));
  chmodSync(join(dir, 'a/plain'), 0o4751);
  symlinkSync('plain', join(dir, 'a/link'));
  symlinkSync('/etc/passwd', join(dir, 'far'));
  execFileSync('truncate', ['-s', '1M', join(dir, 'sparse')]);
  mkdirSync(join(dir, 'closed'), {mode: 0o711});
  return dir;
}

/** Everything that is kept of a tree: kinds, modes, contents. */
function tree(dir: string): readonly string[] {
  return execFileSync('find', ['.', '-mindepth', '1', '-print0'], {cwd: dir, encoding: 'utf8'})
    .split('\0')
    .filter(Boolean)
    .sort()
    .map(name => {
      const path = join(dir, name);
      const stats = lstatSync(path);
      const content = stats.isSymbolicLink()
        ? readlinkSync(path)
        : stats.isFile()
          ? execFileSync('sha256sum', {input: readFileSync(path), encoding: 'utf8'}).slice(0, 64)
          : '';
      return `${name} ${stats.mode.toString(8)} ${content}`;
    });
}

/** What must be the same wherever the client ran; times and the digests of steps that hold times are not. */
function comparable(built: Built): unknown {
  return {
    outcome: built.outcome,
    steps: built.trace?.steps.map(({name, state, exitCode}) => ({name, state, exitCode})),
    warnings: built.trace?.warnings,
    outputs: built.outputs?.map(({type}) => type),
  };
}

describe.each(['v0.20.2', 'v0.12.5'])('%s: client vm and client runner', version => {
  let machine: SharedMachine;
  let dest: string;
  beforeAll(async () => {
    machine = await SharedMachine.restore({archive: diskOf(version)});
  });
  afterAll(() => machine.stop());
  beforeEach(() => {
    dest = mkdtempSync(join(tmpdir(), 'itg-dest-'));
  });
  afterEach(() => rmSync(dest, {recursive: true, force: true}));

  const both = async (raw: (place: string) => Record<string, string>): Promise<[Built, Built]> => {
    const vm = await machine.build({...raw('vm'), client: 'vm'});
    const runner = await machine.build({...raw('runner'), client: 'runner'});
    return [vm, runner];
  };

  test('the same steps, the same tree', async () => {
    const context = trickyContext();
    const [vm, runner] = await both(place => ({
      context,
      'no-cache': 'true',
      outputs: `type=local,dest=${join(dest, place)}`,
    }));
    expect(vm.outcome).toEqual({kind: 'built'});
    expect(comparable(runner)).toEqual(comparable(vm));
    expect(tree(join(dest, 'vm')).length).toBeGreaterThan(9);
    expect(tree(join(dest, 'runner'))).toEqual(tree(join(dest, 'vm')));
  });

  test('BuildKit takes both contexts for the same, and makes the same image of them', async () => {
    const context = trickyContext();
    const [vm, runner] = await both(place => ({
      context,
      outputs: `type=oci,dest=${join(dest, `${place}.tar`)}`,
      tags: 'example/app:1',
    }));
    expect(runner.digest).toMatch(/^sha256:/);
    expect(runner.digest).toBe(vm.digest);
    expect(runner.imageId).toBe(vm.imageId);
    const isCached = runner.trace?.steps.filter(({name}) => name.includes('COPY . /all'));
    expect(isCached?.map(({state}) => state)).toEqual(['cached']);
    expect(existsSync(join(dest, 'runner.tar'))).toBe(true);
  });

  test('the same failure, at the same place', async () => {
    const context = contextDir({Dockerfile: `${BUSYBOX}RUN echo on its way; exit 7\n`});
    const [vm, runner] = await both(() => ({context, 'no-cache': 'true'}));
    // A step that is not to be cached has another digest each time.
    const failure = (built: Built) => ({...failureOf(built), stepId: ''});
    expect(failure(runner)).toEqual(failure(vm));
    expect(failureOf(runner)).toMatchObject({exitCode: 7});
  });

  test('secrets come in, and their values are on no command line', async () => {
    const value = `secret-${Math.random().toString(36).slice(2)}`;
    const file = join(dest, 'file');
    writeFileSync(file, `${value}-file`);
    const context = contextDir({
      Dockerfile: `${BUSYBOX}RUN --mount=type=secret,id=v --mount=type=secret,id=f cat /run/secrets/v /run/secrets/f | sha256sum; sleep 3\n`,
    });
    const seen: string[] = [];
    const timer = setInterval(() => seen.push(...commandLines().values()), 50);
    const built = await machine.build({
      context,
      client: 'runner',
      secrets: `v=${value}`,
      'secret-files': `f=${file}`,
      'no-cache': 'true',
    });
    clearInterval(timer);
    const sum = execFileSync('sha256sum', {input: `${value}${value}-file`, encoding: 'utf8'}).slice(0, 64);
    expect(built.log).toContain(sum);
    // The build was seen while it ran.
    expect(seen.filter(line => line.includes('/buildctl --addr unix://')).length).toBeGreaterThan(10);
    expect(seen.filter(line => line.includes(value))).toEqual([]);
    expect(built.log).not.toContain(value);
  });

  test('a build that takes too long is interrupted, and says so', async () => {
    const context = contextDir({Dockerfile: `${BUSYBOX}RUN echo begun; sleep 600\n`});
    const built = await machine.build({
      context,
      client: 'runner',
      'build-timeout': '8s',
      'no-cache': 'true',
    });
    expect(failureOf(built)).toMatchObject({failureKind: 'timeout'});
    expect([...commandLines().values()].filter(line => line.includes('/buildctl '))).toEqual([]);
  });
});

test.each(['cancel', 'death of the machine'])(
  '%s in mid-build with client runner: nothing is left',
  async how => {
    const cancel = new AbortController();
    let qemuPid = 0;
    const {result, events} = await play(
      {context: contextDir({Dockerfile: `${BUSYBOX}RUN echo begun; sleep 600\n`}), client: 'runner'},
      {
        signal: cancel.signal,
        onEvent: event => {
          if (event.kind === 'resource' && event.resource.kind === 'process') qemuPid = event.resource.pid;
          if (event.kind !== 'build-log' || !/^#\d+ \S+ begun$/m.test(event.text)) return;
          if (how === 'cancel') cancel.abort();
          else process.kill(qemuPid, 'SIGKILL');
        },
      },
    );
    expect(events).toContainEqual({kind: 'debug', message: 'buildctl runs here, with a forward by relay'});
    expect(result.outcome.kind).toBe(how === 'cancel' ? 'canceled' : 'infra-failed');
    expect(result.trace?.steps.length).toBeGreaterThan(0);
    expect(leftovers()).toEqual([]);
    expect([...commandLines().values()].filter(line => line.includes('/buildctl '))).toEqual([]);
  },
);
