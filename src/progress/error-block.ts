import type {Fold} from './fold.ts';
import {secondsLength} from './plain-line.ts';
import type {StepRecord} from './step.ts';
import {withoutCutCharacter} from './text.ts';

export const blockRule = '------';
const blockName = /^ > (.*):$/s;
const truncated = '...';
/** Stands for the number of a step that the log has no line of. */
const orphanKey = '#?';

/**
 * The block at the end that names a failed step and repeats its last log lines. Of it only the name is news, since it
 * is never cut; where the beginning of the log is missing, all of it is.
 */
export class ErrorBlock {
  private readonly fold: Fold;
  private state: 'none' | 'ruled' | 'named' = 'none';
  private orphan: StepRecord | undefined;

  constructor(fold: Fold) {
    this.fold = fold;
  }

  get isOpen(): boolean {
    return this.state !== 'none';
  }

  open(): void {
    this.state = 'ruled';
  }

  /** `outside`: the line cannot be part of the block, other programs print rules, too. `over`: it ends the block. */
  line(text: string, prefix: number): 'inside' | 'outside' | 'over' {
    if (this.state === 'ruled') {
      this.state = text.startsWith(' > ') ? 'named' : 'none';
      if (this.state === 'none') return 'outside';
      this.named(blockName.exec(text)?.[1]);
      return 'inside';
    }
    const seconds = secondsLength(text, prefix);
    if (text !== blockRule && (prefix === 0 || seconds > 0)) {
      if (seconds > 0) {
        const from = prefix + seconds;
        this.orphan?.repeatableLine(Number(text.slice(prefix, from)), text.slice(from));
      }
      return 'inside';
    }
    this.state = 'none';
    this.orphan = undefined;
    return 'over';
  }

  private named(name: string | undefined): void {
    if (name === undefined) return;
    let isKnown = false;
    for (const record of this.fold.all()) {
      const {currentName} = record;
      const isSame = sameName(currentName, name);
      const isNameless = currentName === '' && record.currentState === 'failed';
      isKnown ||= isSame || isNameless;
      const isCut = isSame && currentName.endsWith(truncated) && record.currentState === 'failed';
      if (isCut || isNameless) record.rename(name);
    }
    if (isKnown) return;
    this.orphan = this.fold.step(orphanKey, name);
    this.orphan?.print({state: 'failed', error: ''});
  }
}

/** Whether two headers name the same step: up to v0.7.2 names are cut at 72 bytes, with `...` behind. */
export function sameName(known: string, name: string): boolean {
  if (known === name) return true;
  const [short, long] = known.length < name.length ? [known, name] : [name, known];
  if (!short.endsWith(truncated)) return false;
  // The cut can go through a character.
  return long.startsWith(withoutCutCharacter(short.slice(0, -truncated.length)));
}
