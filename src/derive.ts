import {type BinariesPorts, identifyBinaries, obtainBinaries} from './archive/binaries.ts';
import {Store} from './archive/store.ts';
import type {Binaries, DerivePlan} from './base/derive.ts';
import {UserError} from './base/errors.ts';
import type {RunStage} from './base/events.ts';
import type {Session} from './base/ports.ts';
import type {Versions} from './base/result.ts';
import type {StoreFolder} from './base/store.ts';
import type {TreePacker} from './base/tree.ts';
import {compareVersions, parseVersion} from './base/version.ts';
import {inspect} from './build/inspect.ts';
import {installBuildkit} from './build/install.ts';

export type DerivePorts = BinariesPorts & {
  readonly packer: TreePacker;
  readonly openStore: (dir: string) => StoreFolder;
  readonly stage: RunStage;
};

/** A BuildKit that nobody archived, on its way into a machine of the nearest archive. Disposing it lets the store evict what it took from there. */
export class Derivation implements AsyncDisposable {
  /** What distinguishes its machine from the archive's own; part of a snapshot's key. */
  readonly identity: string;
  readonly #ports: DerivePorts;
  readonly #plan: DerivePlan;
  readonly #archive: string;
  readonly #store: Store;
  #obtaining: Promise<Binaries> | undefined;

  private constructor(ports: DerivePorts, plan: DerivePlan, archive: string, store: Store, content: string) {
    this.#ports = ports;
    this.#plan = plan;
    this.#archive = archive;
    this.#store = store;
    this.identity = JSON.stringify({content, runc: plan.runc});
  }

  /**
   * @param archive.reference the archive's name, for people.
   * @throws UserError when there is no such BuildKit, as far as that can be said without a download.
   */
  static async open(
    ports: DerivePorts,
    plan: DerivePlan,
    archive: {readonly reference: string; readonly storeDir: string},
    signal: AbortSignal,
  ): Promise<Derivation> {
    const store = new Store({
      folder: ports.openStore(archive.storeDir),
      nowMs: ports.registry.nowEpochMs,
      emit: ports.emit,
    });
    try {
      const {source, unlessVersion} = plan;
      if (source.kind === 'release' && unlessVersion === undefined) {
        const message = `nobody archived BuildKit ${source.version}: it is put into the archive of ${archive.reference}, whose kernel and systemd it gets`;
        ports.emit({kind: 'notice', message});
      }
      const content = await identifyBinaries(ports, source, signal);
      const derivation = new Derivation(ports, plan, archive.reference, store, content);
      // Whether there is such a release is found out before anything large is fetched for it.
      if (plan.isUnlisted) await derivation.prepare(signal);
      return derivation;
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  /** Has the executables on this machine; once. @throws UserError; CanceledError. */
  prepare(signal: AbortSignal): Promise<Binaries> {
    this.#obtaining ??= this.#ports.stage('archive', `Obtain ${this.#what}`, () =>
      obtainBinaries(this.#ports, this.#store, this.#plan.source, signal),
    );
    return this.#obtaining;
  }

  /**
   * Puts it into a machine whose own BuildKit is `found`.
   * @returns what the machine holds then; `found` when that is what was wanted.
   * @throws UserError when it does not start there, or is not what its name says.
   */
  async apply(session: Session, found: Versions, signal: AbortSignal): Promise<Versions> {
    const {unlessVersion, source, runc} = this.#plan;
    if (unlessVersion !== undefined && isSame(unlessVersion, found.buildkit.version)) return found;
    const binaries = await this.prepare(signal);
    return this.#ports.stage(
      'inspect',
      `Put ${this.#what} in place of ${found.buildkit.version}`,
      async () => {
        const version = source.kind === 'release' ? source.version : 'dev';
        const installed = await installBuildkit(
          session,
          this.#ports.packer,
          found,
          {binaries, runc, version},
          signal,
        );
        if (installed.runc !== runc) {
          const message = `${binaries.source} brings no runc, so the archive's own runs (runc-version: ${installed.runc})`;
          this.#ports.emit({kind: 'notice', message});
        }
        const versions = await inspect(session, signal);
        if (source.kind === 'release') requireVersion(source.version, versions, binaries.source);
        const derived = {
          archive: this.#archive,
          archiveBuildkit: found.buildkit.version,
          source: binaries.source,
          runc: installed.runc,
        };
        return {...versions, derived};
      },
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#store.close();
  }

  get #what(): string {
    const {source} = this.#plan;
    return source.kind === 'release' ? `BuildKit ${source.version}` : `the BuildKit of ${source.path}`;
  }
}

function isSame(a: string, b: string): boolean {
  const [left, right] = [parseVersion(a), parseVersion(b)];
  return left !== undefined && right !== undefined && compareVersions(left, right) === 0;
}

/** @throws UserError when another BuildKit came out of a tarball than its name says. */
function requireVersion(wanted: string, {buildkit}: Versions, source: string): void {
  if (isSame(wanted, buildkit.version)) return;
  throw new UserError(`${source} holds BuildKit ${buildkit.version}, not ${wanted}`, {
    input: 'release-mirror',
    stage: 'inspect',
    hint: 'put the right tarball there; for a build of your own use buildkit-binaries',
  });
}
