import {Notes} from './archive/notes.ts';
import type {Emit} from './base/events.ts';
import type {AcceleratorDecision} from './vm/accelerator.ts';
import {heed, type Lesson, lessonKey, noteLessons, readLessons} from './vm/lesson.ts';
import type {VmPlan} from './vm/machine.ts';
import type {QemuProgram} from './vm/qemu-args.ts';
import type {WarmDisk, WarmStartPorts} from './warm-start.ts';

/** Keeps in the store what boots of a disk have taught, so that one long wait for nothing is not paid by every run. */
export class BootLessons {
  readonly #emit: Emit;
  readonly #path: string;
  readonly #notes: Notes;
  readonly #digest: string;
  readonly #label: string;
  readonly #nowMs: () => number;
  #isHeeded = false;

  constructor(ports: WarmStartPorts, qemu: QemuProgram, disk: WarmDisk, storeDir: string) {
    const folder = ports.openStore(storeDir);
    this.#emit = ports.emit;
    this.#nowMs = ports.registry.nowEpochMs;
    this.#notes = new Notes({
      folder,
      files: ports.files,
      nowMs: ports.registry.nowEpochMs,
      emit: ports.emit,
    });
    const hash = ports.registry.createHash('sha256');
    hash.update(Buffer.from(lessonKey(disk.identity, qemu)));
    this.#digest = `sha256:${hash.hex()}`;
    this.#path = folder.pathOf({kind: 'notes', digest: this.#digest});
    this.#label = disk.label;
  }

  /** The plan and decision without what is known to lead nowhere. */
  async heed(
    plan: VmPlan,
    decision: AcceleratorDecision,
  ): Promise<{readonly plan: VmPlan; readonly decision: AcceleratorDecision; readonly why?: string}> {
    const heeded = heed(plan, decision, readLessons(await this.#notes.find(this.#digest), this.#nowMs()));
    if (heeded.notice === undefined) return heeded;
    this.#isHeeded = true;
    this.#emit({kind: 'notice', message: `${heeded.notice}; remove ${this.#path} to have it tried again`});
    return {...heeded, why: heeded.notice};
  }

  readonly learn = async (lessons: readonly Lesson[]): Promise<void> => {
    const text = noteLessons(await this.#notes.find(this.#digest), lessons, this.#nowMs());
    await this.#notes.keep(this.#digest, this.#label, text);
  };

  /** After a boot that failed: what it was told was of no use. */
  async doubt(): Promise<void> {
    if (this.#isHeeded) await this.#notes.forget(this.#digest);
  }
}
