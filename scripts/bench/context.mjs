// Sending a context, as a disk and as a tar stream: the rates beside `tar c | ssh tar x` with OpenSSH, and this process's memory for 1 GiB.
import {spawn} from 'node:child_process';
import {mkdir, mkdtemp, open, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {disk, load, median, row} from './lib.mjs';

const RUNS = 5;
/** Of the disk's rate over OpenSSH's. */
const DISK_LIMIT = 8;
const MIB = 1024 ** 2;

export async function* bench() {
  const {withMachine, ANY_GUEST, sendContext, devicesOf, localPorts, parseInputs, makePlan} =
    await load('scripts/bench/job.ts');
  const dir = await mkdtemp(join(tmpdir(), 'bench-context-'));
  try {
    const many = join(dir, 'many');
    await manyFiles(many);
    const large = join(dir, 'large');
    await mkdir(large);
    await noise(join(large, 'blob'), 1024);
    await writeFile(join(large, 'Dockerfile'), 'FROM scratch\n');
    const plan = makePlan(parseInputs({archive: disk, accelerator: 'tcg'}), {
      workspaceDir: dir,
      storeDir: dir,
    });
    const signal = new AbortController().signal;
    const ports = {...localPorts, emit: () => undefined};
    const rows = await withMachine(plan, ports, ANY_GUEST, signal, async vm => {
      const devices = devicesOf(vm, localPorts.clock);
      const send = (contextDir, disk) => {
        const contextPlan = {
          contextDir,
          dockerfileDir: contextDir,
          dockerfileName: 'Dockerfile',
          dockerfileNames: ['Dockerfile'],
          ignoreFiles: [],
        };
        const dirs = {context: '/root/a', dockerfile: '/root/b'};
        return sendContext(vm.session, localPorts.packer, contextPlan, dirs, {signal, disk});
      };
      const clean = async () => {
        const script = 'umount /root/a; rm -rf /root/a /root/b /root/c; mkdir /root/a; sync';
        await vm.session.output(['sh', '-c', script]);
      };
      const times = {disk: [], tar: [], openSsh: []};
      for (let i = 0; i < RUNS; i++) {
        await clean();
        times.disk.push(
          await seconds(async () => {
            const {way} = await send(many, {imager: localPorts.imager, devices, emit: ports.emit});
            if (way !== 'disk') throw new Error(`the context went as a ${way}`);
          }),
        );
        await clean();
        times.tar.push(await seconds(() => send(many)));
        await clean();
        times.openSsh.push(await seconds(() => openSsh(many, vm.sshPort)));
      }
      const rate = way => 200 / median(times[way]);
      const rates = [
        ['context/200mb', 'disk', DISK_LIMIT],
        ['context/200mb-tar', 'tar', 1],
      ].map(([name, way, limit]) =>
        row(name, {value: rate(way), unit: 'MB/s', reference: rate('openSsh'), limit, atLeast: true}),
      );
      await clean();
      const memory = peakRss();
      await send(large);
      return [...rates, row('context/1gib-rss', {value: memory() / MIB, unit: 'MiB', limit: 150})];
    });
    yield* rows;
  } finally {
    await rm(dir, {recursive: true, force: true});
  }
}

/** 200 MB in 5,001 files, as in the facts that this is held against. */
async function manyFiles(dir) {
  for (let d = 0; d < 50; d++) {
    await mkdir(join(dir, String(d)), {recursive: true});
    for (let f = 0; f < 100; f++) await noise(join(dir, String(d), String(f)), 0.04);
  }
  await writeFile(join(dir, 'Dockerfile'), 'FROM scratch\n');
}

async function noise(path, sizeMib) {
  const {randomBytes} = await import('node:crypto');
  const file = await open(path, 'w');
  for (let left = sizeMib * MIB; left > 0; left -= MIB)
    await file.write(randomBytes(Math.min(MIB, Math.ceil(left))));
  await file.close();
}

async function seconds(work) {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

/** `tar c | ssh tar x`, the login not counted: the connection is there before the clock starts. */
async function openSsh(dir, port) {
  const script =
    'tar -C "$0" -cf - . | sshpass -p root ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p "$1" root@127.0.0.1 "mkdir -p /root/c && tar -C /root/c -xf -"';
  const child = spawn('sh', ['-c', script, dir, String(port)], {stdio: ['ignore', 'ignore', 'inherit']});
  const code = await new Promise(resolve => child.once('close', resolve));
  if (code !== 0) throw new Error(`tar | ssh ended with exit status ${code}`);
}

/** Samples this process's resident set; call the result for the peak in bytes. */
export function peakRss() {
  globalThis.gc?.();
  let peak = process.memoryUsage.rss();
  const timer = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 20);
  return () => {
    clearInterval(timer);
    return peak;
  };
}
