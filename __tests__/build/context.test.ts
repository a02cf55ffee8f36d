import {execFileSync} from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {CanceledError} from '../../src/base/errors.ts';
import {version} from '../../src/base/version.ts';
import {sendContext, unpackArgv} from '../../src/build/context.ts';
import {planContext, resolveContext} from '../../src/build/context-plan.ts';
import {localFiles} from '../../src/host/files.ts';
import {treePacker} from '../../src/host/tar.ts';
import {localLinks} from '../../src/host/tree.ts';
import {localSession} from './context-session.ts';

const files = {...localFiles, ...localLinks};
const isRoot = process.getuid?.() === 0;
let dir: string;
let context: string;
let guest: {context: string; dockerfile: string};
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'context-test-'));
  context = join(dir, 'context');
  mkdirSync(context);
  guest = {context: join(dir, 'guest/c'), dockerfile: join(dir, 'guest/d')};
});
afterEach(() => {
  execFileSync('chmod', ['-R', 'u+rwX', dir]);
  rmSync(dir, {recursive: true, force: true});
});

function make(tree: Readonly<Record<string, string>>, root = context): void {
  for (const [path, content] of Object.entries(tree)) {
    mkdirSync(join(root, path, '..'), {recursive: true});
    writeFileSync(join(root, path), content);
  }
}

async function send(release?: string, dockerfile: {dir?: string; name: string} = {name: 'Dockerfile'}) {
  const resolved = await resolveContext(context, dockerfile, files);
  const plan = planContext(resolved, {buildkit: release === undefined ? undefined : version(release)});
  return sendContext(localSession(), treePacker(), plan, guest);
}

/** Path, type, mode, mtime to the nanosecond, link target and link count of all that is in a directory. */
function listing(root: string): string[] {
  const printed = execFileSync('find', ['.', '-mindepth', '1', '-printf', '%p|%y|%m|%T@|%l|%n\\0'], {
    cwd: root,
    encoding: 'latin1',
  });
  return printed.split('\0').filter(Boolean).sort();
}

function paths(root: string): string[] {
  return execFileSync('find', ['.', '-mindepth', '1', '-printf', '%P\\0'], {cwd: root, encoding: 'utf8'})
    .split('\0')
    .filter(Boolean)
    .sort();
}

describe('sendContext', () => {
  test('files arrive as they are', async () => {
    make({Dockerfile: 'FROM scratch\n', 'd/f': 'x', suid: 's', 'sticky/f': '', 'ro/f': ''});
    mkdirSync(join(context, 'empty/inner'), {recursive: true});
    for (const name of [
      'new\nline',
      '-dash',
      '--checkpoint-action=exec=false',
      '--to-command=false',
      'back\\nslash',
      '\\',
      '*',
      '@f',
      'b\xff\xfe',
      ' sp ',
      '"',
      "'",
      '#c',
    ]) {
      writeFileSync(Buffer.from(`${context}/${name}`, 'latin1'), name);
    }
    writeFileSync(join(context, 'ünïcode-日本'), 'u');
    make({[`${`${'y'.repeat(200)}/`.repeat(5)}${'z'.repeat(255)}`]: 'deep'});
    linkSync(join(context, 'd/f'), join(context, 'hard'));
    for (const [target, link] of [
      ['/etc/passwd', 'abs'],
      ['../../up', 'up'],
      ['d/f', 'rel'],
      ['d', 'todir'],
      ['nowhere', 'dangling'],
      ['l\xff', 'odd'],
    ] as const) {
      symlinkSync(Buffer.from(target, 'latin1'), join(context, link));
    }
    execFileSync('mkfifo', [join(context, 'fifo')]);
    writeFileSync(join(context, 'sparse'), '');
    truncateSync(join(context, 'sparse'), 64 * 1024 * 1024);
    chmodSync(join(context, 'suid'), 0o4755);
    chmodSync(join(context, 'sticky'), 0o1777);
    execFileSync('touch', ['-d', '2001-02-03 04:05:06.123456789 UTC', join(context, 'd/f')]);
    execFileSync('touch', ['-d', '1969-12-31 23:59:58.5 UTC', join(context, 'suid')]);
    execFileSync('touch', ['-d', '2100-01-01 00:00:00.000000001 UTC', join(context, 'sticky')]);
    execFileSync('touch', ['-h', '-d', '2010-01-01 00:00:00.25 UTC', join(context, 'abs')]);
    chmodSync(join(context, 'ro'), 0o555);
    const report = await send();
    expect(listing(guest.context)).toEqual(listing(context));
    for (const name of ['new\nline', 'b\xff\xfe', 'back\\nslash', '--checkpoint-action=exec=false']) {
      expect(readFileSync(Buffer.from(`${guest.context}/${name}`, 'latin1'), 'utf8')).toBe(
        readFileSync(Buffer.from(`${context}/${name}`, 'latin1'), 'utf8'),
      );
    }
    expect(lstatSync(join(guest.context, 'sparse')).blocks).toBeLessThan(64);
    expect(report).toMatchObject({leftOut: 0, warnings: []});
    expect(report.files + report.directories).toBe(paths(context).length);
    expect(report.bytes).toBeLessThan(1024 * 1024);
  });

  test('extended attributes arrive', async () => {
    make({Dockerfile: '', f: ''});
    const script =
      'import os,sys\nif len(sys.argv)>3: os.setxattr(sys.argv[1],sys.argv[2],bytes.fromhex(sys.argv[3]))\nelse: print(os.getxattr(sys.argv[1],sys.argv[2]).hex())';
    const xattr = (...args: string[]) =>
      execFileSync('python3', ['-c', script, ...args], {encoding: 'utf8'}).trim();
    xattr(join(context, 'f'), 'user.note', '00ff0a');
    if (isRoot) xattr(join(context, 'f'), 'security.capability', '0000000200040000000000000000000000000000');
    await send();
    expect(xattr(join(guest.context, 'f'), 'user.note')).toBe('00ff0a');
    if (isRoot)
      expect(xattr(join(guest.context, 'f'), 'security.capability')).toBe(
        xattr(join(context, 'f'), 'security.capability'),
      );
  });

  test('a socket arrives as an empty file, as from fsutil; its directory keeps its mtime', async () => {
    make({Dockerfile: '', 'd/f': ''});
    const server = createServer();
    await new Promise<void>(resolve => server.listen(join(context, 'd/sock'), resolve));
    execFileSync('touch', ['-d', '2001-02-03 04:05:06.5 UTC', join(context, 'd')]);
    const report = await send();
    const there = lstatSync(join(guest.context, 'd/sock'));
    expect([there.isFile(), there.size]).toEqual([true, 0]);
    expect(lstatSync(join(guest.context, 'd')).mtimeMs).toBe(lstatSync(join(context, 'd')).mtimeMs);
    expect(report.warnings).toEqual(['d/sock is a socket; BuildKit takes it as an empty file']);
    await new Promise(resolve => server.close(resolve));
  });

  test('.dockerignore leaves out, but not itself nor the Dockerfile', async () => {
    make({
      '.dockerignore': '*\n!src\n**/*.log\n',
      Dockerfile: '',
      a: '',
      'src/b': '',
      'src/x.log': '',
      'n/m/o': '',
    });
    expect(await send('v0.20.2')).toMatchObject({leftOut: 3});
    expect(paths(guest.context)).toEqual(['.dockerignore', 'Dockerfile', 'src', 'src/b']);
    expect(paths(guest.dockerfile)).toEqual(['Dockerfile']);
  });

  test('the Dockerfile may lie elsewhere, and be a link', async () => {
    make({a: ''});
    make({real: 'FROM x\n', 'my.Dockerfile.dockerignore': 'a\n'}, dir);
    symlinkSync('real', join(dir, 'my.Dockerfile'));
    execFileSync('touch', ['-d', '2001-02-03 04:05:06.123456789 UTC', join(dir, 'real')]);
    await send('v0.20.2', {dir, name: 'my.Dockerfile'});
    expect(paths(guest.context)).toEqual([]);
    expect(paths(guest.dockerfile)).toEqual(['my.Dockerfile', 'my.Dockerfile.dockerignore']);
    expect(listing(guest.dockerfile)[1]).toMatch(/^\.\/my\.Dockerfile\|f\|\d+\|981173106\.123456789/);
    expect(readFileSync(join(guest.dockerfile, 'my.Dockerfile'), 'utf8')).toBe('FROM x\n');
  });

  test('a context that is a link is followed', async () => {
    make({Dockerfile: '', 'sub/a': ''});
    symlinkSync('context', join(dir, 'link'));
    context = join(dir, 'link');
    await send();
    expect(paths(guest.context)).toEqual(['Dockerfile', 'sub', 'sub/a']);
  });

  test('tells the progress', async () => {
    make({Dockerfile: '', a: 'x'.repeat(3_000_000)});
    const plan = planContext(await resolveContext(context, {name: 'Dockerfile'}, files), {});
    const seen: number[] = [];
    const report = await sendContext(localSession(), treePacker(), plan, guest, {
      onProgress: bytes => seen.push(bytes),
    });
    expect(seen.at(-1)).toBe(report.bytes);
    expect(report.bytes).toBeGreaterThan(3_000_000);
  });

  test('an unreadable file is an error that names it', async () => {
    make({Dockerfile: '', 'd/secret': ''});
    chmodSync(join(context, 'd/secret'), 0);
    const plan = planContext(await resolveContext(context, {name: 'Dockerfile'}, files), {});
    await expect(
      sendContext(localSession(), treePacker(unprivilegedTar()), plan, guest),
    ).rejects.toMatchObject({
      name: 'UserError',
      message: expect.stringContaining('d/secret: Cannot open: Permission denied') as unknown as string,
    });
  });

  test('a file that vanishes while the tree is read is a warning', async () => {
    make({Dockerfile: '', a: '', b: ''});
    const racing = join(dir, 'tar');
    writeFileSync(racing, `#!/bin/sh\nrm -f '${context}/a'\nexec tar "$@"\n`, {mode: 0o755});
    const plan = planContext(await resolveContext(context, {name: 'Dockerfile'}, files), {});
    const walked = treePacker(racing);
    const report = await sendContext(localSession(), walked, plan, guest);
    expect(paths(guest.context)).toEqual(['Dockerfile', 'b']);
    expect(report.warnings.join()).toMatch(/^(?:a: Cannot stat: No such file or directory)?$/);
  });

  test('what the machine says is told when it cannot unpack', async () => {
    make({Dockerfile: '', a: 'x'.repeat(5_000_000)});
    const bin = join(dir, 'bin');
    const plan = planContext(await resolveContext(context, {name: 'Dockerfile'}, files), {});
    const sendWith = async (script: string) => {
      mkdirSync(bin, {recursive: true});
      writeFileSync(join(bin, 'tar'), `#!/bin/sh\n${script}\n`, {mode: 0o755});
      const session = localSession({PATH: `${bin}:${process.env.PATH}`});
      return sendContext(session, treePacker('/usr/bin/tar'), plan, guest);
    };
    await expect(
      sendWith('echo "tar: a: Wrote only 1 of 2 bytes: No space left on device" >&2; exit 2'),
    ).rejects.toMatchObject({
      name: 'UserError',
      message: expect.stringContaining('disk of the archive is too small') as unknown as string,
    });
    await expect(
      sendWith('echo "tar: unrecognized option: xattrs\nBusyBox v1.36" >&2; exit 1'),
    ).rejects.toThrow('not GNU tar');
    await expect(sendWith('exit 127')).rejects.toThrow('has no program');
    await expect(sendWith('cat > /dev/null; exit 3')).rejects.toThrow('status 3');
  });

  test('a missing tar here is told', async () => {
    make({Dockerfile: ''});
    const plan = planContext(await resolveContext(context, {name: 'Dockerfile'}, files), {});
    await expect(
      sendContext(localSession(), treePacker(join(dir, 'no-tar')), plan, guest),
    ).rejects.toMatchObject({
      name: 'UserError',
      message: expect.stringContaining('no-tar') as unknown as string,
    });
  });

  test('cancel ends it at once and leaves no tar behind', async () => {
    make({Dockerfile: ''});
    writeFileSync(join(context, 'big'), Buffer.alloc(64 * 1024 * 1024, 1));
    const plan = planContext(await resolveContext(context, {name: 'Dockerfile'}, files), {});
    const controller = new AbortController();
    const pidFile = join(dir, 'pid');
    const noted = join(dir, 'tar');
    writeFileSync(noted, `#!/bin/sh\necho $$ >> '${pidFile}'\nexec tar "$@"\n`, {mode: 0o755});
    const sending = sendContext(localSession(), treePacker(noted), plan, guest, {
      signal: controller.signal,
      onProgress: bytes => bytes > 1_000_000 && controller.abort(new CanceledError('stop')),
    });
    await expect(sending).rejects.toBeInstanceOf(CanceledError);
    await new Promise(resolve => setTimeout(resolve, 200));
    for (const pid of readFileSync(pidFile, 'utf8').trim().split('\n')) {
      expect(
        existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')),
      ).toBe(false);
    }
  });

  test('a directory with no file at all can be sent', async () => {
    make({Dockerfile: ''}, dir);
    const report = await send(undefined, {dir, name: 'Dockerfile'});
    expect(report).toMatchObject({files: 0, directories: 0});
    expect(readdirSync(guest.context)).toEqual([]);
  });

  test('a directory name is never an option or a script', () => {
    expect(unpackArgv('/tmp/$(x) -y').slice(0, 4)).toEqual([
      'sh',
      '-c',
      'mkdir -p -- "$0" && exec env LC_ALL=C "$@"',
      '/tmp/$(x) -y',
    ]);
  });
});

/** A tar that root's rights do not help. */
function unprivilegedTar(): string {
  if (!isRoot) return 'tar';
  chmodSync(dir, 0o755);
  const program = join(dir, 'tar');
  writeFileSync(program, '#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups tar "$@"\n', {
    mode: 0o755,
  });
  return program;
}
