import {isAtLeast, type Version, version} from '../../base/version.ts';
import {sourcesOf} from './stages.ts';
import type {Dockerfile, Instruction, Stage} from './types.ts';

/** One step of a stage as BuildKit numbers them. */
export interface StageStep {
  /** `FROM`, or the instruction that the step carries out. */
  readonly instruction: Instruction;
  /** The `ONBUILD` of a base stage in the same file that brought it in. */
  readonly onbuild?: Instruction;
  /** Counted from 1. */
  readonly index: number;
}

export interface StageSteps {
  readonly steps: readonly StageStep[];
  /** Totals that BuildKit may print: before v0.17.0 it does not count what `ONBUILD` brings in. */
  readonly totals: readonly number[];
}

/** WORKDIR makes a folder of its own, and so a step, from v0.5.0 on. */
const WORKDIR_COUNTS = version('v0.5.0');

/**
 * Numbers a stage's steps: FROM of an image (not `scratch`, not a stage), then ADD, COPY, RUN and WORKDIR
 * (`cmdTotal` in `frontend/dockerfile/dockerfile2llb/convert.go`).
 */
export function stageSteps(stage: Stage, dockerfile: Dockerfile, release: Version | undefined): StageSteps[] {
  const countings = release ? [isAtLeast(release, WORKDIR_COUNTS)] : [true, false];
  return countings.map(workdir => {
    const counts = ({keyword}: Instruction): boolean =>
      /^(?:ADD|COPY|RUN)$/.test(keyword) || (workdir && keyword === 'WORKDIR');
    const triggered = triggersOf(stage, dockerfile).filter(({trigger}) => trigger && counts(trigger));
    const own = stage.instructions.filter(counts);
    const from = isImage(stage) ? [{instruction: stage.from}] : [];
    const steps = [
      ...from,
      ...triggered.map(onbuild => ({instruction: onbuild.trigger ?? onbuild, onbuild})),
      ...own.map(instruction => ({instruction})),
    ].map((step, i) => ({...step, index: i + 1}));
    return {steps, totals: [...new Set([steps.length, steps.length - triggered.length])]};
  });
}

/** True when the stage starts from an image of a registry. */
export function isImage(stage: Stage): boolean {
  return stage.baseStage === undefined && stage.base.toLowerCase() !== 'scratch';
}

/** The `ONBUILD`s of the base stage; those that the base itself inherited are spent there. */
function triggersOf(stage: Stage, {stages}: Dockerfile): Instruction[] {
  const base = stage.baseStage === undefined ? undefined : stages[stage.baseStage];
  return base?.instructions.filter(({keyword}) => keyword === 'ONBUILD') ?? [];
}

/** The stages that a build of `target` needs, by index; all of them when the target is not known. */
export function reachableStages({stages}: Dockerfile, target: string | undefined): ReadonlySet<number> {
  const wanted = target?.toLowerCase();
  const named = stages.findLast(({name}) => name === wanted);
  const start = wanted === undefined ? stages.at(-1) : (named ?? stages[Number(wanted)]);
  const reached = new Set<number>();
  const open = start ? [start] : [...stages];
  for (let stage = open.pop(); stage; stage = open.pop()) {
    if (reached.has(stage.index)) continue;
    reached.add(stage.index);
    if (stage.baseStage !== undefined) open.push(...stages.slice(stage.baseStage, stage.baseStage + 1));
    const sources = new Set(stage.instructions.flatMap(sourcesOf).map(source => source.toLowerCase()));
    open.push(...stages.filter(({name, index}) => sources.has(name ?? '') || sources.has(String(index))));
  }
  return reached;
}
