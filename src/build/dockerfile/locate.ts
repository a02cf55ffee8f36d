import type {SourceExcerpt, Step} from '../../base/trace.ts';
import type {Version} from '../../base/version.ts';
import {sameImage} from './image-name.ts';
import {isImage, reachableStages, type StageStep, stageSteps} from './stage-steps.ts';
import {copyArguments, sourcesOf} from './stages.ts';
import {parseStepText, type StepText, textScore} from './step-text.ts';
import type {Dockerfile, Instruction, LineRange, Stage} from './types.ts';

export interface LocateContext {
  /** Without it, the counting rules of all releases are tried. */
  readonly version?: Version;
  readonly target?: string;
  readonly excerpt?: SourceExcerpt;
}

/** Where in the Dockerfile a step comes from, and by what it was found. */
export interface Located extends LineRange {
  readonly instruction?: Instruction;
  /** The `ONBUILD` of the base stage that brought the step in. */
  readonly onbuild?: Instruction;
  /** Index of the stage whose step it is. */
  readonly stage?: number;
  readonly by: 'excerpt' | 'name' | 'onbuild' | 'image' | 'url' | 'syntax';
}

/**
 * Maps a step to the Dockerfile lines it carries out, by name, stage and place in the stage; `undefined` for steps
 * without a line (`exporting to image`, `[internal] load build context`). An excerpt that BuildKit printed wins,
 * unless the step was brought in by `ONBUILD`: v0.8.0 to v0.16.0 then print line 1, whatever stands there.
 */
export function locateStep(
  step: Pick<Step, 'name' | 'stage' | 'position'>,
  dockerfile: Dockerfile,
  context: LocateContext = {},
): Located | undefined {
  const found = locateByName(step, dockerfile, context);
  const excerpt = context.excerpt && excerptLines(context.excerpt);
  if (!excerpt) return found;
  const marked = dockerfile.instructions.find(one => overlaps(one, excerpt));
  const inherited = found?.by === 'onbuild' || found?.onbuild !== undefined;
  const own = found?.stage === undefined ? undefined : dockerfile.stages[found.stage]?.from;
  if (inherited && marked !== own) return found;
  return {...excerpt, ...(marked ? {instruction: marked} : {}), by: 'excerpt'};
}

/** The lines that BuildKit marked with `>>>`, else the one it named. */
export function excerptLines(excerpt: SourceExcerpt): LineRange {
  const marked = excerpt.lines.filter(line => line.marked).map(line => line.number);
  if (marked.length === 0) return {startLine: excerpt.line, endLine: excerpt.line};
  return {startLine: Math.min(...marked), endLine: Math.max(...marked)};
}

function overlaps(a: LineRange, b: LineRange): boolean {
  return a.startLine <= b.endLine && b.startLine <= a.endLine;
}

function locateByName(
  step: Pick<Step, 'name' | 'stage' | 'position'>,
  dockerfile: Dockerfile,
  context: LocateContext,
): Located | undefined {
  const special = locateSpecial(step.name, dockerfile);
  if (special) return special;
  const text = parseStepText(step.name);
  const reachable = reachableStages(dockerfile, context.target);
  let best: Candidate | undefined;
  for (const stage of stagesNamed(step.stage, dockerfile)) {
    for (const {steps, totals} of stageSteps(stage, dockerfile, context.version)) {
      for (const one of steps) {
        const fit = candidate(text, step.position, one, totals);
        const score = 2 * fit.text + fit.place + (reachable.has(stage.index) ? 0.05 : 0);
        if (fit.text > 0 && score > (best?.score ?? 0)) best = {...fit, score, step: one, stage};
      }
    }
  }
  // A place without the words is what a base image's ONBUILD shifted there.
  if (best && (best.text >= 0.6 || (best.place === 1 && best.text >= 0.3))) return located(best);
  return inheritedFromImage(text, step, dockerfile);
}

interface Fit {
  /** How well the name fits, 0 to 1; 0 when it is of another instruction. */
  readonly text: number;
  /** 1 when index and total fit, 0.5 for the index alone. */
  readonly place: number;
}

interface Candidate extends Fit {
  readonly score: number;
  readonly step: StageStep;
  readonly stage: Stage;
}

function candidate(
  text: StepText,
  position: Step['position'],
  one: StageStep,
  totals: readonly number[],
): Fit {
  if (text.keyword !== one.instruction.keyword) return {text: 0, place: 0};
  const fit = text.keyword === 'FROM' ? 1 : textScore(text, one.instruction);
  if (position?.index !== one.index) return {text: fit, place: 0};
  return {text: fit, place: totals.includes(position.total) ? 1 : 0.5};
}

function located({step: {instruction, onbuild}, stage}: Candidate): Located {
  const {startLine, endLine} = onbuild ?? instruction;
  return {startLine, endLine, instruction, ...(onbuild ? {onbuild} : {}), stage: stage.index, by: 'name'};
}

/** A step that stands in no line was brought in by the `ONBUILD` of a base image. */
function inheritedFromImage(
  text: StepText,
  step: Pick<Step, 'stage' | 'position'>,
  dockerfile: Dockerfile,
): Located | undefined {
  if (!/^(?:ADD|COPY|RUN|WORKDIR)$/.test(text.keyword)) return undefined;
  const stages = stagesNamed(step.stage, dockerfile).filter(isImage);
  const [stage] = stages;
  if (!stage || stages.length > 1) return undefined;
  const {startLine, endLine} = stage.from;
  return {startLine, endLine, instruction: stage.from, stage: stage.index, by: 'onbuild'};
}

/** By `AS` name, or `stage-N` for a stage without one; a file's only stage goes by no name at all. */
function stagesNamed(name: string | undefined, {stages}: Dockerfile): readonly Stage[] {
  if (name === undefined) return stages;
  const named = stages.filter(stage => stage.name === name.toLowerCase());
  if (named.length > 0) return named;
  const index = /^stage-(\d+)$/.exec(name)?.[1];
  const stage = index === undefined ? undefined : stages[Number(index)];
  return stage ? [stage] : [];
}

const METADATA = /^\[(?:\S+ )?internal\] load metadata for (.+)$/;
const FRONTEND =
  /^(?:resolve image config for |\[frontend\] )?(docker-image:\/\/.+)$|^resolve image config for (.+)$/;
const HELPER = /^\[internal\] helper image for file operations/;

/** Steps whose name is no instruction: image look-ups, URLs, the frontend. */
function locateSpecial(name: string, dockerfile: Dockerfile): Located | undefined {
  const {syntax, instructions, stages} = dockerfile;
  const frontend = FRONTEND.exec(name);
  if (frontend && syntax && sameImage(frontend[1] ?? frontend[2] ?? '', syntax.value)) {
    return {startLine: syntax.startLine, endLine: syntax.endLine, by: 'syntax'};
  }
  const image = METADATA.exec(name)?.[1] ?? /^FROM (\S+)/.exec(name)?.[1];
  if (image !== undefined) return imageUse(image, dockerfile);
  if (HELPER.test(name)) {
    return at(
      instructions.find(({keyword}) => /^(?:COPY|ADD)$/.test(keyword)),
      'image',
    );
  }
  if (!/^(?:https?|git|ssh):\/\//.test(name)) return undefined;
  const adds = stages.flatMap(stage => stage.instructions).filter(({keyword}) => keyword === 'ADD');
  const url = name.replace(/\.\.\.$/, '');
  return at(
    adds.find(add => copyArguments(add).sources.some(source => source.startsWith(url))) ??
      (adds.length === 1 ? adds[0] : undefined),
    'url',
  );
}

function imageUse(image: string, {stages}: Dockerfile): Located | undefined {
  const bases = stages.filter(isImage);
  const from = bases.find(stage => sameImage(image, stage.base))?.from;
  const names = stages.map(stage => stage.name);
  const users = stages
    .flatMap(stage => stage.instructions)
    .filter(one => sourcesOf(one).some(source => !names.includes(source.toLowerCase())));
  const copy = users.find(one => sourcesOf(one).some(source => sameImage(image, source)));
  const only = bases.length === 1 && users.length === 0 ? bases[0]?.from : undefined;
  return at(from ?? copy ?? only, 'image');
}

function at(instruction: Instruction | undefined, by: Located['by']): Located | undefined {
  if (!instruction) return undefined;
  return {startLine: instruction.startLine, endLine: instruction.endLine, instruction, by};
}
