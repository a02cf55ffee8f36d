import {asCanceled, messageOf} from '../base/errors.ts';
import type {Agents, Session} from '../base/ports.ts';
import type {MachineFacts} from '../base/result.ts';
import {deathSignal, explainFailure} from './death.ts';
import {login} from './login.ts';
import {qemuFacts, type Vm, type VmPlan, type VmPorts} from './machine.ts';
import {loadState, setIgnoreShared} from './migrate.ts';
import {emptyQcow2, virtualSize} from './overlay.ts';
import {type Accelerator, type MachineSpec, machinePaths, type QemuProgram} from './qemu-args.ts';
import {parseManifest, SNAPSHOT_FILES, type SnapshotManifest} from './snapshot.ts';
import {type RunningQemu, startQemu} from './start.ts';

/** A frozen machine that is to go on. */
export interface FrozenVm {
  /** Folder of `SNAPSHOT_FILES`. */
  readonly dir: string;
  readonly sizeBytes: number;
  readonly accelerator: Accelerator;
  readonly acceleratorReason?: string;
}

/**
 * Wakes a frozen machine in a QEMU of its own. Memory is mapped from the snapshot's file and read as it is touched; what the machine changes stays in its
 * process and in a new overlay, so any number of machines can come out of one snapshot.
 * @throws with the reason when it does not come back; nothing is left behind then.
 */
export async function restoreVm(
  ports: VmPorts & {readonly agents: Agents},
  plan: VmPlan,
  qemu: QemuProgram,
  diskPath: string,
  frozen: FrozenVm,
  signal: AbortSignal,
): Promise<Vm & {readonly manifest: SnapshotManifest}> {
  const manifest = parseManifest(await ports.files.readText(`${frozen.dir}/${SNAPSHOT_FILES.manifest}`));
  const running = await startQemu(
    ports,
    qemu,
    runDir => machineSpec(ports, plan, diskPath, frozen, manifest, runDir),
    signal,
  );
  if ('kind' in running)
    throw new Error(`QEMU ended: ${'detail' in running ? running.detail : running.kind}`);
  const {qmp, child, sshPort, paths, runDir} = running;
  const died = deathSignal(ports, child, paths.console);
  const stop = AbortSignal.any([signal, died]);
  try {
    if (manifest.method === 'shared-memory') await setIgnoreShared(qmp, true);
    await loadState(qmp, ports.clock, `${frozen.dir}/${SNAPSHOT_FILES.state}`, stop);
    // A state that was saved while the machine stood still comes back standing still.
    await qmp.execute('cont');
    const session = await wake(ports, plan, manifest, paths.agentSocket, sshPort, stop);
    return {
      session,
      machine: facts(plan, qemu, running, frozen, manifest),
      manifest,
      sshPort,
      consolePath: paths.console,
      died,
      qmp,
      keep: running.keep,
      login: loginSignal => login(ports, plan, sshPort, AbortSignal.any([loginSignal, died])),
      explain: error => explainFailure(ports, died, runDir, error),
      async [Symbol.asyncDispose]() {
        await Promise.all([session.close(), running[Symbol.asyncDispose]()]);
      },
    };
  } catch (error) {
    await running[Symbol.asyncDispose]();
    if (signal.aborted) throw asCanceled(signal);
    if (died.aborted) throw new Error(`QEMU ended: ${messageOf(died.reason)}`);
    throw error;
  }
}

/** The way into the machine, and first of all its clock and its random numbers, which are those of the moment it was frozen. */
async function wake(
  ports: VmPorts & {readonly agents: Agents},
  plan: VmPlan,
  manifest: SnapshotManifest,
  agentSocket: string,
  sshPort: number,
  signal: AbortSignal,
): Promise<Session> {
  if (manifest.agent) {
    const agent = await ports.agents.connect(agentSocket, {timeoutMs: AGENT_TIMEOUT_MS, signal});
    await agent.wake();
    return agent;
  }
  const session = await login(ports, plan, sshPort, signal);
  await ports.agents.wake(session, signal);
  return session;
}

const AGENT_TIMEOUT_MS = 5_000;

async function machineSpec(
  {files}: VmPorts,
  plan: VmPlan,
  diskPath: string,
  frozen: FrozenVm,
  manifest: SnapshotManifest,
  runDir: string,
): Promise<MachineSpec> {
  const paths = machinePaths(runDir);
  await files.write(paths.overlay, emptyQcow2(await virtualSize(files, diskPath)));
  return {
    accelerator: frozen.accelerator,
    cpus: plan.cpus,
    memoryMib: plan.memoryMib,
    runDir,
    debug: plan.debug,
    disk: {
      kind: 'chain',
      readOnly: [diskPath, `${frozen.dir}/${SNAPSHOT_FILES.overlay}`],
      overlay: paths.overlay,
    },
    ram:
      manifest.method === 'shared-memory'
        ? {kind: 'copy', path: `${frozen.dir}/${SNAPSHOT_FILES.ram}`}
        : {kind: 'copy', path: paths.ram},
    incoming: true,
  };
}

function facts(
  plan: VmPlan,
  qemu: QemuProgram,
  running: Pick<RunningQemu, 'debugPort'>,
  frozen: FrozenVm,
  {method}: SnapshotManifest,
): MachineFacts {
  return {
    accelerator: frozen.accelerator,
    ...(frozen.acceleratorReason !== undefined && {acceleratorReason: frozen.acceleratorReason}),
    line: 'fast',
    start: {kind: 'restored', snapshot: {method, sizeBytes: frozen.sizeBytes}},
    ...qemuFacts(plan, qemu, running),
  };
}
