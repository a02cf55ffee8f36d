import {messageOf} from '../base/errors.ts';
import type {Processes} from '../base/ports.ts';
import {parseQemuVersion, type QemuProgram} from './qemu-args.ts';

const PROGRAM = 'qemu-system-x86_64';
const VERSION_TIMEOUT_MS = 20_000;

/** A QEMU on this machine's PATH that proves itself by its version; undefined when there is none. */
export async function findHostQemu(processes: Processes): Promise<QemuProgram | undefined> {
  const file = await processes.find(PROGRAM);
  if (file === undefined) return undefined;
  return proveQemu(processes, {file, prefixArgs: [], env: {}, version: '', build: '', origin: 'host'}).catch(
    () => undefined,
  );
}

/** Runs `--version`. @throws with what QEMU (or its loader) said when it does not run. */
export async function proveQemu(processes: Processes, candidate: QemuProgram): Promise<QemuProgram> {
  let said: string;
  try {
    const {code, stdout, stderr} = await processes.output(
      {file: candidate.file, args: [...candidate.prefixArgs, '--version'], env: candidate.env},
      {timeoutMs: VERSION_TIMEOUT_MS},
    );
    const version = code === 0 ? parseQemuVersion(stdout) : undefined;
    if (version !== undefined) return {...candidate, version, build: stdout.split('\n', 1)[0] ?? ''};
    said = (stderr || stdout).trim();
  } catch (error) {
    said = messageOf(error);
  }
  throw new Error(
    `${candidate.origin === 'host' ? "the host's" : "the archive's"} QEMU does not run: ${said}`,
  );
}
