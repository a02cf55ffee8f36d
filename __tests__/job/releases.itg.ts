import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {archiveDir, BUSYBOX, contextDir, diskOf, leftovers} from '../support/machine.ts';
import {type ReleaseMirror, startReleaseMirror} from '../support/release-mirror.ts';
import {failureOf, SharedMachine} from '../support/shared-machine.ts';

let mirror: ReleaseMirror;
beforeAll(async () => {
  mirror = await startReleaseMirror('v0.32.2');
});
afterAll(() => mirror?.stop());

/** The same builds with the same assertions on releases of three eras: capitalised trace, its successor, urfave/cli 3. */
describe.each([
  ['v0.12.5', 'v0.12.5'],
  ['v0.20.2', 'v0.20.2'],
  ['v0.32.2', 'v0.20.2'],
])('BuildKit %s in the archive of %s', (release, base) => {
  let machine: SharedMachine;
  beforeAll(async () => {
    const archive = diskOf(base);
    const derived = {archive, 'buildkit-version': release, 'release-mirror': mirror.url};
    machine = await (release === base ? SharedMachine.restore({archive}) : SharedMachine.boot(derived));
  });
  afterAll(async () => {
    await machine?.stop();
    expect(leftovers()).toEqual([]);
  });
  const context = (dockerfile: string, files: Record<string, string> = {}): {context: string} => ({
    context: contextDir({Dockerfile: dockerfile, ...files}),
  });

  test('is what it is called', () => {
    expect(machine.versions.buildkit.version).toBe(release);
    const {derived} = machine.versions;
    if (release !== base) {
      expect(derived).toMatchObject({archive: diskOf(base), archiveBuildkit: base, runc: 'bundled'});
    } else {
      const forged = JSON.parse(readFileSync(join(archiveDir(release), 'archive.json'), 'utf8'));
      expect(derived).toBeUndefined();
      if (forged.buildkit.commit) expect(machine.versions.buildkit.commit).toBe(forged.buildkit.commit);
    }
    expect(machine.versions.systemd).toMatchObject({state: 'running', failedUnits: []});
    expect(machine.versions.runc?.version).toMatch(/^1\./);
  });

  test('ok: FROM and RUN echo 1', async () => {
    const built = await machine.build(context(`${BUSYBOX}RUN echo 1\n`));
    expect(built.outcome).toEqual({kind: 'built'});
    expect(built.warnings).toEqual([]);
    const run = built.trace?.steps.find(step => step.name.endsWith('RUN echo 1'));
    expect(run).toMatchObject({state: 'done', id: expect.stringMatching(/^sha256:/)});
    expect(run?.logs.head.map(({stream, text}) => ({stream, text}))).toEqual([{stream: 'stdout', text: '1'}]);
    expect(built.log).toMatch(/^#\d+ \d+\.\d+ 1$/m);
  });

  test('run-fail: exit code and lines', async () => {
    const built = await machine.build(
      context(`${BUSYBOX}RUN echo fine\nRUN echo line one; \\\n    echo boom >&2; \\\n    exit 7\n`),
    );
    expect(failureOf(built)).toMatchObject({
      failureKind: 'run-failed',
      exitCode: 7,
      location: {startLine: 5, endLine: 7},
    });
    expect(built.trace?.steps.at(-1)).toMatchObject({state: 'failed', exitCode: 7});
  });

  test('missing-copy: the file and the line', async () => {
    const built = await machine.build(context('FROM scratch\nCOPY busybox /\nCOPY nope /\n'));
    expect(failureOf(built)).toMatchObject({
      failureKind: 'missing-file',
      location: {startLine: 3, endLine: 3},
      message: expect.stringContaining('nope'),
    });
  });

  test('syntax-error: the line', async () => {
    const built = await machine.build(context('FROM scratch\n\nRUNN echo\n'));
    expect(failureOf(built)).toMatchObject({failureKind: 'dockerfile', location: {startLine: 3}});
  });

  test('heredoc', async () => {
    const built = await machine.build(
      context(`${BUSYBOX}RUN <<EOF\necho from a heredoc\nEOF\nCOPY <<EOF /x\ntext\nEOF\nRUN cat /x\n`),
    );
    expect(built.outcome).toEqual({kind: 'built'});
    expect(built.log).toContain('from a heredoc');
  });

  test('mount-secret: the build has it, nothing else does', async () => {
    const built = await machine.build({
      ...context(`${BUSYBOX}RUN --mount=type=secret,id=key,required=true wc -c < /run/secrets/key\n`),
      secrets: 'key=hunter2-hunter2',
    });
    expect(built.outcome).toEqual({kind: 'built'});
    expect(built.log).toMatch(/^#\d+ \S+ 15$/m);
    expect(JSON.stringify(built)).not.toContain('hunter2');
  });

  test('output-oci: an image that the registry tools read', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'itg-oci-'));
    const built = await machine.build({
      ...context('FROM scratch\nCOPY busybox /\nLABEL from=test\n'),
      outputs: `type=oci,dest=${dir}/image.tar,name=example.com/app:1`,
    });
    expect(built.outcome).toEqual({kind: 'built'});
    const inspected = JSON.parse(
      execFileSync('skopeo', ['inspect', `oci-archive:${dir}/image.tar`], {encoding: 'utf8'}),
    );
    expect(inspected).toMatchObject({Digest: built.digest, Labels: {from: 'test'}});
    expect(built.outputs).toEqual([{type: 'oci', path: `${dir}/image.tar`, bytes: expect.any(Number)}]);
    rmSync(dir, {recursive: true});
  });
});
