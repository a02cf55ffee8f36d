import type {BuildTrace} from '../base/trace.ts';

/**
 * One trace from two forms of the same build: steps and warnings of the first, where it has any, and the excerpt
 * and the final error from the second, since `--trace` has neither. Give the more exact form first; forms that
 * say nothing can be merged without harm, so `[trace, stdout, stderr].reduce(mergeTrace)` works for all releases.
 */
export function mergeTrace(exact: BuildTrace, other: BuildTrace): BuildTrace {
  const hasSteps = exact.steps.length > 0;
  const steps = hasSteps ? exact.steps : other.steps;
  // Warnings name steps by id, and ids differ between forms.
  const ids = new Set(steps.map(step => step.id));
  const warnings = (exact.warnings.length > 0 ? exact : other).warnings.map(({step, ...warning}) =>
    step !== undefined && ids.has(step) ? {step, ...warning} : warning,
  );
  const excerpt = other.excerpt ?? exact.excerpt;
  const error = other.error ?? exact.error;
  return Object.freeze({
    steps,
    warnings,
    ...(excerpt === undefined ? {} : {excerpt}),
    ...(error === undefined ? {} : {error}),
  });
}
