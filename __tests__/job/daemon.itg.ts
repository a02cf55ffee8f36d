import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {type AddressInfo, connect} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {createServer} from 'node:tls';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {awaitBuildkit} from '../../src/build/inspect.ts';
import {dockerCredentials} from '../../src/host/docker-config.ts';
import {BUSYBOX, commandLines, contextDir, diskOf, leftovers, play} from '../support/machine.ts';
import {type Registry, startRegistry} from '../support/registry.ts';
import {type Built, failureOf, SharedMachine} from '../support/shared-machine.ts';

const SECRET = 'hush-7f3a91c2-do-not-tell';
// bcrypt of it, cost 5.
const HTPASSWD = 'user:$2y$05$abcdefghijklmnopqrstuuIak0dmNZWLK1/UM2zqkzY9CLm0Q0faa\n';
const SECRET_FORMS = [SECRET, Buffer.from(`user:${SECRET}`).toString('base64')];

const dir = mkdtempSync(join(tmpdir(), 'itg-daemon-'));
let open: Registry;
let guarded: Registry;

beforeAll(async () => {
  writeFileSync(join(dir, 'htpasswd'), HTPASSWD);
  open = await startRegistry();
  open.pushBusybox('library/only-here:1');
  open.pushBusybox('private/base:1');
  guarded = await startRegistry({
    dataDir: open.dataDir,
    config: `auth: {htpasswd: {realm: test, path: "${join(dir, 'htpasswd')}"}}`,
  });
});

afterAll(async () => {
  await guarded?.stop();
  await open?.stop();
  rmSync(dir, {recursive: true, force: true});
  expect(leftovers()).toEqual([]);
});

const dockerfile = (...lines: string[]): string =>
  contextDir({Dockerfile: `${lines.join('\n')}\n`}, {busybox: false});

/** A certificate of the VM's host that is its own authority, and its key. */
function selfSigned(): {key: string; cert: string} {
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
  const request =
    'req -x509 -newkey rsa:2048 -nodes -subj /CN=test -days 2 -addext subjectAltName=IP:10.0.2.2';
  execFileSync('openssl', [...request.split(' '), '-keyout', key, '-out', cert], {stdio: 'pipe'});
  return {key, cert};
}

/** docker's logins as docker/login-action leaves them for a registry on the runner. */
function loggedIn(registry: string) {
  const config = mkdtempSync(join(dir, 'docker-'));
  writeFileSync(join(config, 'config.json'), JSON.stringify({auths: {[registry]: {auth: SECRET_FORMS[1]}}}));
  return dockerCredentials({env: {DOCKER_CONFIG: config}, warn: message => expect(message).toBe('')});
}

describe('on v0.20.2', () => {
  let machine: SharedMachine;
  beforeAll(async () => {
    machine = await SharedMachine.restore();
  });
  afterAll(() => machine?.stop());

  /** What `script` prints in the VM; the secret's forms come on its standard input, so that they are on no command line. */
  const inVm = async (script: string): Promise<string> => {
    const {stdout} = await machine.vm.session.output(['sh', '-c', script], {
      stdin: `${SECRET_FORMS.join('\n')}\n`,
    });
    return stdout.trim();
  };

  test('a private base image without a login fails and says why', async () => {
    const built = await machine.build({
      context: dockerfile(`FROM 10.0.2.2:${guarded.port}/private/base:1`, 'RUN true'),
      'buildkitd-config-inline': `[registry."10.0.2.2:${guarded.port}"]\n  http = true\n`,
    });
    expect(failureOf(built)).toMatchObject({failureKind: 'registry', location: {startLine: 1}});
    expect(failureOf(built).message).toContain('no access');
    expect(built.notices.join()).not.toContain('logins');
  });

  test('with a login it is pulled, and the login is on no command line, in no log and no file but its own', async () => {
    const building = machine.build(
      {
        context: dockerfile(
          `FROM 10.0.2.2:${guarded.port}/private/base:1`,
          // The build itself must not find it either.
          'RUN env; cat /proc/*/cmdline; ls /run /root; sleep 20',
        ),
        // Its log then has every request.
        'buildkitd-flags': '--debug',
        outputs: `type=image,name=10.0.2.2:${guarded.port}/pushed/app:1,push=true`,
      },
      {logins: loggedIn(`localhost:${guarded.port}`)},
    );
    let during = '';
    let ended = false;
    const watch = (async () => {
      // The file is there while buildctl runs.
      while (!ended && !during.includes('600')) {
        during = await inVm('stat -c %a /run/buildkit-archive/docker/config.json 2>/dev/null');
      }
      return {
        file: await inVm(
          'stat -f -c %T /run/buildkit-archive/docker; stat -c %a /run/buildkit-archive/docker',
        ),
        processes: await inVm(
          'cat >/dev/shm/forms; for p in /proc/[0-9]*; do tr "\\0" "\\n" <$p/cmdline; tr "\\0" "\\n" <$p/environ; done 2>/dev/null | grep -c -F -f /dev/shm/forms; rm /dev/shm/forms',
        ),
        told: await inVm(
          'for p in /proc/[0-9]*; do tr "\\0" "\\n" <$p/environ; done 2>/dev/null | grep ^DOCKER_CONFIG= | sort -u',
        ),
        host: [...commandLines().values()].filter(line => SECRET_FORMS.some(form => line.includes(form))),
      };
    })();
    const built: Built = await building.finally(() => {
      ended = true;
    });
    expect(built.outcome).toEqual({kind: 'built'});
    expect(built.notices).toContain(`the build gets docker's logins for 10.0.2.2:${guarded.port}`);
    expect(during).toBe('600');
    expect(await watch).toEqual({
      file: 'tmpfs\n700',
      processes: '0',
      told: 'DOCKER_CONFIG=/run/buildkit-archive/docker',
      host: [],
    });
    const pushed = await fetch(`http://127.0.0.1:${guarded.port}/v2/pushed/app/manifests/1`, {
      method: 'HEAD',
      headers: {
        authorization: `Basic ${SECRET_FORMS[1]}`,
        // A registry turns a form that is not asked for into another one, with a digest of its own.
        accept:
          'application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json',
      },
    });
    expect(pushed.headers.get('docker-content-digest')).toBe(built.digest);
    for (const form of SECRET_FORMS) expect(JSON.stringify(built)).not.toContain(form);
    expect(await inVm('ls /run/buildkit-archive')).not.toContain('docker');
    const places = '/run /etc /root /tmp /home /var/log /var/tmp /var/lib/buildkit-archive /var/lib/buildkit';
    expect(
      await inVm(
        `cat >/dev/shm/forms; cp /dev/shm/forms /run/control; grep -rlaF -f /dev/shm/forms ${places} 2>/dev/null; journalctl --no-pager | grep -cF -f /dev/shm/forms; rm /dev/shm/forms /run/control`,
      ),
      // The first is what shows that the search finds anything.
    ).toBe('/run/control\n0');
  });

  test('a mirror on the runner stands in for Docker Hub', async () => {
    const built = await machine.build({
      context: dockerfile('FROM only-here:1', 'RUN echo from the mirror'),
      'registry-mirrors': `localhost:${open.port}`,
    });
    expect(built.outcome).toEqual({kind: 'built'});
    expect(built.log).toMatch(/^#\d+ \d+\.\d+ from the mirror$/m);
    // The configuration of the first test is the archive's own by now.
    expect(built.notices.join('\n')).toContain(`of it stay: registry.10.0.2.2:${guarded.port}.http`);
  });

  test('flags grant what the archive does not, and labels of the worker reach the result', async () => {
    const raw = {context: contextDir({Dockerfile: `${BUSYBOX}RUN ip addr || true\n`}), network: 'host'};
    expect(failureOf(await machine.build(raw)).message).toMatch(/network\.host/);
    const built = await machine.build({
      ...raw,
      'buildkitd-flags': '--allow-insecure-entitlement network.host --oci-worker-labels "test.example=a b"',
      'buildkitd-config-inline': '[worker.oci.labels]\n  "other.example" = "c"\n',
    });
    expect(built.outcome).toEqual({kind: 'built'});
    const shown = await inVm("buildctl debug workers -v; tr '\\0' ' ' </proc/$(pgrep -x buildkitd)/cmdline");
    expect(shown).toMatch(/test\.example:\s+a b/);
    expect(shown).toContain(
      '--addr fd:// --debug --allow-insecure-entitlement network.host --oci-worker-labels test.example=a b',
    );
    expect(built.versions?.workers).toHaveLength(1);
  });

  test('flags go through what starts the daemon, or it is said that they do not', async () => {
    const wrap = async (command: string): Promise<void> => {
      const script = `systemctl stop buildkit.socket buildkit.service wrapped.service
        printf '#!/bin/sh\\n%s\\n' '${command}' >/usr/local/bin/start-buildkitd
        chmod 755 /usr/local/bin/start-buildkitd
        rm -rf /run/systemd/system/wrapped.service.d
        printf '[Service]\\nExecStart=/usr/local/bin/start-buildkitd\\n' >/etc/systemd/system/wrapped.service
        systemctl daemon-reload && systemctl start wrapped.service`;
      await machine.vm.session.output(['sh', '-c', script]);
      await awaitBuildkit(machine.vm.session, machine.vm.died);
    };
    const raw = {context: dockerfile('FROM scratch', 'COPY Dockerfile /'), 'buildkitd-flags': '--debug'};
    await wrap('/usr/local/bin/buildkitd "$@"; exit $?');
    expect((await machine.build(raw)).outcome).toEqual({kind: 'built'});
    expect(await inVm("tr '\\0' ' ' </proc/$(pgrep -x buildkitd)/cmdline")).toBe(
      '/usr/local/bin/buildkitd --debug',
    );
    await wrap('/usr/local/bin/buildkitd; exit $?');
    await expect(machine.build(raw)).rejects.toThrow(
      /^buildkitd-flags: --debug did not reach the daemon: this archive starts it by .*start-buildkitd/,
    );
  });

  test('a configuration that the daemon refuses gives its own message, and its time is not waited for', async () => {
    const error = await machine
      .build({context: dockerfile('FROM scratch'), 'buildkitd-config-inline': 'debug = "loud"\n'})
      .catch(e => e);
    expect(error).toMatchObject({name: 'UserError', input: 'buildkitd-config-inline', stage: 'inspect'});
    expect(error.message).toMatch(
      /^BuildKit does not start with buildkitd-config-inline; its log ends with:\n/,
    );
    expect(error.message).toMatch(/Can't convert loud\(string\) to bool.*failed to parse config/s);
    expect(error.message).not.toMatch(/\.go:\d/);
    // What buildctl said would stand there if its time had been waited for.
    expect(error.message).not.toContain('failed to list workers');
  });
});

describe('on v0.12.5, in an archive without units', () => {
  let machine: SharedMachine;
  beforeAll(async () => {
    machine = await SharedMachine.boot({archive: diskOf('v0.12.5')}, async ({session}) => {
      const script =
        'systemctl stop buildkit.socket buildkit.service; find /usr/local/lib/systemd /etc/systemd -name "buildkit.*" -delete; systemctl daemon-reload';
      await session.output(['sh', '-c', script]);
    });
  });
  afterAll(() => machine?.stop());

  const check = async (): Promise<void> => {
    const built = await machine.build({
      context: dockerfile('FROM only-here:1', 'RUN echo fine'),
      'registry-mirrors': `10.0.2.2:${open.port}`,
      'buildkitd-flags': '--debug --log-format json',
      'buildkitd-config-inline': '[cdi]\n  disabled = true\n',
    });
    expect(built.outcome).toEqual({kind: 'built'});
    expect(built.warnings).toEqual([
      'buildkitd-config-inline: BuildKit v0.12.5 does not read the key cdi.disabled; v0.20.0 is the first that does',
      'buildkitd-flags: BuildKit v0.12.5 does not know --log-format; v0.13.0 is the first that does; it is left out',
    ]);
    const {stdout} = await machine.vm.session.output([
      'sh',
      '-c',
      "tr '\\0' ' ' </proc/$(pgrep -x buildkitd)/cmdline",
    ]);
    expect(stdout).toMatch(/buildkitd --debug $/);
  };

  test('the daemon of a transient unit is started anew', async () => {
    const {stdout} = await machine.vm.session.output(['systemctl', 'is-active', 'buildkitd.service']);
    expect(stdout.trim()).toBe('active');
    await check();
  });

  test('so is one that is no unit of systemd', async () => {
    const script =
      'systemctl stop buildkitd.service; systemctl reset-failed buildkitd.service; rm -f /etc/buildkit/buildkitd.toml; mv /usr/bin/systemd-run /usr/bin/systemd-run.gone';
    await machine.vm.session.output(['sh', '-c', script]);
    await awaitBuildkit(machine.vm.session, machine.vm.died);
    await check();
  });

  test('and says what it printed when it dies', async () => {
    await expect(
      machine.build({context: dockerfile('FROM scratch'), 'buildkitd-config-inline': 'debug = "loud"\n'}),
    ).rejects.toThrow(
      /^BuildKit does not start with buildkitd-config-inline; its log ends with:\n.*Can't convert loud\(string\) to bool\n.*failed to parse config$/s,
    );
  });
});

describe('the whole job', () => {
  test('a configuration that is no TOML is refused before anything is started', async () => {
    const {result, events} = await play({
      context: dockerfile('FROM scratch'),
      'buildkitd-config-inline': 'debug = true\n[registry\n',
    });
    expect(result.outcome).toMatchObject({
      kind: 'infra-failed',
      stage: 'inputs',
      message: expect.stringMatching(/^buildkitd-config-inline: line 2, /),
    });
    expect(events.filter(({kind}) => kind === 'resource')).toEqual([]);
  });

  test('on v0.32.2, booted and restored: certificates go along, and the result has the workers of the daemon as it is configured', async () => {
    const {key, cert} = selfSigned();
    // A registry for those who know its certificate and have one of their own.
    const strict = createServer(
      {key: readFileSync(key), cert: readFileSync(cert), ca: readFileSync(cert), requestCert: true},
      socket => {
        const behind = connect(open.port, '127.0.0.1');
        for (const side of [socket, behind]) side.on('error', () => side.destroy());
        socket.pipe(behind).pipe(socket);
      },
    );
    await new Promise<void>(resolve => strict.listen(0, '127.0.0.1', resolve));
    const host = `10.0.2.2:${(strict.address() as AddressInfo).port}`;
    const raw = {
      archive: diskOf('v0.32.2'),
      'buildkit-version': 'v0.32.2',
      context: dockerfile(`FROM ${host}/private/base:1`),
      'buildkitd-config-inline': `[registry."${host}"]\nca = ["${cert}"]\n[[registry."${host}".keypair]]\nkey = "${key}"\ncert = "${cert}"\n`,
      'buildkitd-flags': '--oci-worker-snapshotter=native',
    };
    const storeDir = mkdtempSync(join(dir, 'store-'));
    try {
      for (const start of ['cold', 'restored']) {
        const {result} = await play(raw, {storeDir});
        expect(result.machine?.start?.kind).toBe(start);
        expect(result.outcome).toEqual({kind: 'built'});
        expect(result.warnings).toEqual([]);
        expect(result.versions?.workers[0]?.snapshotter).toBe('native');
      }
    } finally {
      strict.close();
    }
  });
});
