import type {Expectation, JobResult} from '../base/result.ts';
import {gantt} from './gantt.ts';
import {code, fence, prose} from './markdown.ts';
import {verdict} from './result.ts';
import {
  artefactsSection,
  failureSection,
  stepsSection,
  timingsSection,
  versionsSection,
  warningsSection,
} from './summary-sections.ts';
import {utf8Bytes} from './text.ts';
import {derivedText, failedStep, failedStepName, hintOf, STAGE_TITLES} from './view.ts';

export interface SummaryOptions {
  readonly expect?: Expectation;
  /** The runner takes 1 MiB a step and drops a longer one whole (actions/runner, `CreateStepSummaryCommand`). */
  readonly maxBytes?: number;
}

/** Half of what the runner takes: another summary may stand in the same file. */
const MAX_BYTES = 512 * 1024;

/**
 * The step summary, in GitHub's Markdown: verdict, the failing step's last lines, versions, timings, steps, a picture,
 * warnings. What comes from the machine or the Dockerfile is shown as text and can do nothing. When it would be longer
 * than `maxBytes`, whole sections go from the end, and the summary says so.
 */
export function summary(result: JobResult, options: SummaryOptions = {}): string {
  const {expect = 'success', maxBytes = MAX_BYTES} = options;
  const sections = [
    failureSection(result),
    versionsSection(result),
    timingsSection(result),
    stepsSection(result),
    picture(result),
    artefactsSection(result),
    warningsSection(result),
  ].filter(section => section !== '');
  const left = 'Some sections are left out: the summary would be too long.\n';
  let text = heading(result, expect);
  let room = maxBytes - utf8Bytes(text) - utf8Bytes(left) - 2;
  let leftOut = 0;
  for (const section of sections) {
    const sizeBytes = utf8Bytes(section) + 1;
    if (sizeBytes > room) {
      leftOut++;
      continue;
    }
    room -= sizeBytes;
    text += `\n${section}`;
  }
  return leftOut > 0 ? `${text}\n${left}` : text;
}

function heading(result: JobResult, expect: Expectation): string {
  const {ok} = verdict(result, expect);
  const {versions, outcome} = result;
  const expected =
    outcome.kind === 'build-failed' && ok ? (expect === 'failure' ? ', as expected' : ', as allowed') : '';
  const stack = [
    versions && `BuildKit ${code(versions.buildkit.version, 60)}`,
    versions?.runc && `runc ${code(versions.runc.version, 60)}`,
    versions && `Linux ${code(versions.kernel, 60)}`,
  ].filter(part => part);
  const lines = [
    `## ${ok ? '✅' : outcome.kind === 'canceled' ? '🚫' : '❌'} ${whatHappened(result)}${expected}`,
  ];
  if (stack.length > 0) lines.push(`on ${stack.join(' · ')}`);
  if (versions?.derived)
    lines.push(`derived ${prose(derivedText(versions.derived, versions.buildkit.version), 400)}`);
  const reason = reasonFor(result, expect, ok);
  if (reason !== '') lines.push(reason);
  const hint = hintOf(outcome);
  if (hint !== undefined) lines.push(`**What to do:** ${prose(hint, 1000)}`);
  return `${lines.join('\n\n')}\n`;
}

/** The verdict in words: what a reader looks for first. */
function whatHappened(result: JobResult): string {
  const {outcome} = result;
  if (outcome.kind === 'built') return 'Built';
  if (outcome.kind === 'canceled') return `Canceled while ${STAGE_TITLES[outcome.stage]}`;
  if (outcome.kind === 'infra-failed') return `Not built: failed while ${STAGE_TITLES[outcome.stage]}`;
  const name = failedStepName(result);
  const number = failedStep(result)?.number;
  if (name === undefined) return 'Build failed';
  return `Build failed at ${number === undefined ? '' : `step ${number}: `}${code(name, 160)}`;
}

function reasonFor(result: JobResult, expect: Expectation, ok: boolean): string {
  const {outcome} = result;
  if (outcome.kind === 'built')
    return ok ? '' : 'The build succeeded, but `expect: failure` asks for one that fails.';
  const kind = outcome.kind === 'build-failed' ? ` (${outcome.failureKind})` : '';
  const unmet =
    outcome.kind !== 'build-failed' && expect !== 'success'
      ? ` No build, so \`expect: ${expect}\` is not met.`
      : '';
  return `${code(outcome.message, 1000)}${kind}${unmet}`;
}

/** GitHub draws ```mermaid; it shows no SVG in summaries. */
function picture(result: JobResult): string {
  const chart = gantt(result.trace);
  if (chart === undefined) return '';
  return `### Timeline\n\n${fence(chart.trimEnd().split('\n'), 'mermaid')}`;
}
