import {messageOf} from '../base/errors.ts';
import type {Processes} from '../base/ports.ts';
import type {AcceleratorChoice} from './accelerator.ts';
import {type Accelerator, parseQemuVersion, type QemuProgram} from './qemu-args.ts';

const PROGRAM = 'qemu-system-x86_64';
const PROOF_TIMEOUT_MS = 20_000;

/** A QEMU that may work. */
export type QemuCandidate = Pick<QemuProgram, 'file' | 'prefixArgs' | 'env' | 'origin'>;

/** The QEMU on this machine's PATH; undefined when there is none. Nothing of it is proved. */
export async function findHostQemu(processes: Processes): Promise<QemuCandidate | undefined> {
  const file = await processes.find(PROGRAM);
  return file === undefined ? undefined : {file, prefixArgs: [], env: {}, origin: 'host'};
}

type Part = 'machine' | 'device' | 'netdev' | 'object';

/** What a line uses, by the option whose `help` lists it (`vm/qemu-args.ts`). QEMU is built with any choice of these. */
type Needs = Readonly<Partial<Record<Part, readonly string[]>>>;

/** What every machine of ours takes. */
export const PUBLISHED_NEEDS: Needs = {
  machine: ['pc'],
  device: ['ide-hd', 'virtio-net-pci', 'VGA'],
  netdev: ['user'],
};
/** What the machine takes besides that boots sooner and can be frozen. */
export const FAST_NEEDS: Needs = {
  device: ['virtio-blk-pci', 'virtio-serial-pci', 'virtserialport'],
  object: ['memory-backend-file', 'memory-backend-memfd'],
};
const ACCELERATORS: Readonly<Record<AcceleratorChoice, readonly Accelerator[]>> = {
  auto: ['kvm', 'tcg'],
  kvm: ['kvm'],
  tcg: ['tcg'],
};

/**
 * Runs a QEMU to see that it runs, which one it is, and that it has what our command lines use.
 * @throws with the reason why it cannot be used.
 */
export async function proveQemu(
  processes: Processes,
  candidate: QemuCandidate,
  accelerator: AcceleratorChoice,
): Promise<QemuProgram> {
  const name = candidate.origin === 'host' ? "the host's QEMU" : "the archive's QEMU";
  const ask = (...args: string[]): Promise<string> => output(processes, candidate, args, name);
  const parts: readonly Part[] = ['machine', 'device', 'netdev', 'object'];
  const [about, accelerators, ...helps] = await Promise.all([
    ask('--version'),
    ask('-accel', 'help'),
    ...parts.map(part => ask(`-${part}`, 'help')),
  ]);
  const version = parseQemuVersion(about);
  if (version === undefined)
    throw new Error(`${name} does not run: it says ${JSON.stringify(firstLine(about))}`);
  const has = Object.fromEntries(parts.map((part, i) => [part, listed(helps[i] ?? '')])) as Record<
    Part,
    ReadonlySet<string>
  >;
  const missing = lacking(PUBLISHED_NEEDS, has);
  const words = new Set(accelerators.split(/[\s,]+/));
  if (!ACCELERATORS[accelerator].some(wanted => words.has(wanted))) {
    missing.push(`accel ${ACCELERATORS[accelerator].join(' or ')}`);
  }
  if (missing.length > 0) throw new Error(`${name} ${version} is built without ${missing.join(', ')}`);
  const lacks = lacking(FAST_NEEDS, has);
  return {...candidate, version, build: firstLine(about), ...(lacks.length > 0 && {lacks})};
}

async function output(
  processes: Processes,
  {file, prefixArgs, env}: QemuCandidate,
  args: readonly string[],
  name: string,
): Promise<string> {
  let said: string;
  try {
    const {code, signal, stdout, stderr} = await processes.output(
      {file, args: [...prefixArgs, ...args], env},
      {timeoutMs: PROOF_TIMEOUT_MS},
    );
    if (code === 0) return stdout;
    said = (stderr || stdout).trim() || signal || `exit status ${code}`;
  } catch (error) {
    said = messageOf(error);
  }
  throw new Error(`${name} does not run: ${said}`);
}

function lacking(needs: Needs, has: Readonly<Record<Part, ReadonlySet<string>>>): string[] {
  return Object.entries(needs).flatMap(([part, names]) =>
    names.filter(name => !has[part as Part].has(name)).map(name => `${part} ${name}`),
  );
}

/** The names in a list of QEMU's: `name "virtio-blk-pci", bus PCI, …` for devices, else the first word of a line. */
function listed(help: string): ReadonlySet<string> {
  return new Set(
    help
      .split(/\r?\n/)
      .flatMap(line => /^\s*(?:name "([^"]+)"|(\S+))/.exec(line)?.slice(1).find(Boolean) ?? []),
  );
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}
