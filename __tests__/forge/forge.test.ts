import {mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {CanceledError} from '../../src/base/errors.ts';
import {unitsFor} from '../../src/base/units.ts';
import {kept, recipeKey, sweep, withTempDir} from '../../src/forge/cache.ts';
import {defaultName, hostnameOf, labelsOf} from '../../src/forge/main.ts';
import {run, ToolError} from '../../src/forge/run.ts';
import {aptTransportOptions, mmdebstrapArgs, systemFiles} from '../../src/forge/system.ts';
import {checkTools, missingTools, neededTools, toolEnv} from '../../src/forge/tools.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'forge-test-'));
});
afterEach(async () => {
  await rm(dir, {recursive: true});
});

describe('kept results', () => {
  test('are made once, whole or not at all', async () => {
    let made = 0;
    const make = async (making: string): Promise<void> => {
      made++;
      await writeFile(join(making, 'x'), 'x');
    };
    const first = await kept(dir, 'a', make);
    expect(await kept(dir, 'a', make)).toBe(first);
    expect(made).toBe(1);
    await expect(kept(dir, 'b', async () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await readdir(dir)).toEqual(['a']);
  });

  test('two makers at once: both get the same whole result', async () => {
    const make = (text: string) => async (making: string) => {
      await writeFile(join(making, 'x'), text);
    };
    const found = await Promise.all([kept(dir, 'a', make('1')), kept(dir, 'a', make('2'))]);
    expect(found).toEqual([join(dir, 'a'), join(dir, 'a')]);
    expect(await readFile(join(dir, 'a', 'x'), 'utf8')).toMatch(/^[12]$/);
    expect(await readdir(dir)).toEqual(['a']);
  });

  test('a temporary folder is gone after success and after failure', async () => {
    await withTempDir(dir, 't-', async temp => writeFile(join(temp, 'x'), ''));
    await expect(withTempDir(dir, 't-', async () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await readdir(dir)).toEqual([]);
  });

  test('what a killed forge left is swept after a day', async () => {
    for (const name of ['base-0123456789abcdef', 'rootfs-aB3dEf', 'disk-aB3dEf', 'a.making-aB3dEf']) {
      await mkdir(join(dir, name));
      await utimes(join(dir, name), 1000, 1000);
    }
    await mkdir(join(dir, 'qemu-fresh1'));
    await sweep(dir, Date.now());
    expect((await readdir(dir)).sort()).toEqual(['base-0123456789abcdef', 'qemu-fresh1']);
  });

  test('a key follows its recipe', () => {
    expect(recipeKey(['a', 1])).toMatch(/^[0-9a-f]{16}$/);
    expect(recipeKey(['a', 1])).not.toBe(recipeKey(['a', 2]));
  });
});

describe('run', () => {
  test('says what failed, how, and the last it said', async () => {
    const error = await run(['sh', '-c', 'echo out; echo oops >&2; exit 3']).catch(e => e);
    expect(error).toBeInstanceOf(ToolError);
    expect(error).toMatchObject({exitCode: 3, stderrTail: 'oops\n', stdout: 'out\n'});
  });

  test('a tool that is not there', async () => {
    await expect(run(['no-such-tool'])).rejects.toThrow('no-such-tool: cannot be started');
  });

  test('an abort ends the tool and what it started', async () => {
    const abort = new AbortController();
    const running = run(['sh', '-c', 'sleep 300 & echo $!; wait'], {signal: abort.signal});
    setTimeout(() => abort.abort(new CanceledError('stop')), 200);
    await expect(running).rejects.toThrow('stop');
  });
});

describe('tools', () => {
  test('all that is missing is named at once, with the command that installs it', () => {
    const error = missingTools([
      {command: 'mke2fs', debianPackage: 'e2fsprogs'},
      {command: 'debugfs', debianPackage: 'e2fsprogs'},
      {command: 'qemu-img', debianPackage: 'qemu-utils'},
    ]);
    expect(error.message).toContain('mke2fs, debugfs, qemu-img');
    expect(error.hint).toMatch(/apt-get install .* e2fsprogs qemu-utils$/);
  });

  test('an empty PATH lacks them all', async () => {
    await expect(checkTools({PATH: dir}, true)).rejects.toThrow('mmdebstrap, tar, mke2fs');
  });

  test('without root there are more', () => {
    expect(neededTools(false).map(tool => tool.command)).toEqual(
      expect.arrayContaining(['fakeroot', 'newuidmap']),
    );
  });

  test('the system folders are on the PATH', () => {
    expect(toolEnv({PATH: '/usr/bin:/sbin'}).PATH).toBe('/usr/bin:/sbin:/usr/local/sbin:/usr/sbin');
  });
});

test("the host's ways to its Debian mirror are passed on, and nothing else", () => {
  const dump = `APT::Architecture "amd64";
Acquire::http::Proxy "http://p.test:3142";
Acquire::https::Verify-Peer "true";
Acquire::Languages "";
Acquire::Check-Valid-Until "false";
`;
  expect(aptTransportOptions(dump)).toEqual([
    'Acquire::http::Proxy "http://p.test:3142"',
    'Acquire::https::Verify-Peer "true"',
    'Acquire::Check-Valid-Until "false"',
  ]);
});

test('mmdebstrap takes its own default mirror unless one is named', () => {
  const request = {
    variant: 'extract',
    packages: ['a', 'b'],
    output: '/o.tar',
    excludedPaths: ['/x/*'],
    essentialHooks: ['e'],
    customizeHooks: ['c'],
    aptOptions: [],
    mirror: undefined,
  } as const;
  expect(mmdebstrapArgs(request)).toEqual([
    'mmdebstrap',
    '--mode=auto',
    '--architectures=amd64',
    '--variant=extract',
    '--include=a,b',
    '--aptopt=APT::Install-Recommends "false"',
    '--dpkgopt=path-exclude=/x/*',
    '--essential-hook=e',
    '--customize-hook=c',
    'bookworm',
    '/o.tar',
  ]);
  expect(mmdebstrapArgs({...request, mirror: 'https://m.test/'}).at(-1)).toBe('https://m.test/');
});

test('the system has a serial console, DHCP and password logins', () => {
  const text = (path: string): string => {
    const entry = systemFiles().find(file => file.path === path);
    return Buffer.isBuffer(entry?.content) ? entry.content.toString() : '';
  };
  expect(text('boot/grub/grub.cfg')).toContain('console=ttyS0');
  expect(text('etc/systemd/network/80-dhcp.network')).toContain('DHCP=ipv4');
  expect(text('etc/ssh/sshd_config.d/archive.conf')).toContain('PermitRootLogin yes');
});

test.each([
  ['v0.20.2', 'buildkit-v0.20.2', 'buildkit-v0-20-2'],
  ['v0.20.2+mine', 'buildkit-v0.20.2-mine', 'buildkit-v0-20-2-mine'],
])('names of %s', (version, name, hostname) => {
  expect(defaultName(version)).toBe(name);
  expect(hostnameOf(name)).toBe(hostname);
});

test('labels name version and commit', () => {
  const buildkit = {version: 'v1', commit: 'abc', source: 's', binaries: [], units: unitsFor('v1')};
  expect(labelsOf('n', buildkit)).toMatchObject({
    'org.opencontainers.image.title': 'n',
    'org.opencontainers.image.version': 'v1',
    'org.opencontainers.image.revision': 'abc',
  });
});
