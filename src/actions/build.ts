import {randomUUID} from 'node:crypto';
import {mkdir, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as core from '@actions/core';
import {messageOf, UserError} from '../base/errors.ts';
import type {JobEvent} from '../base/events.ts';
import {shortPath} from '../base/path.ts';
import type {JobResult} from '../base/result.ts';
import {lendDetached} from '../host/lend.ts';
import {openPorts} from '../host/local.ts';
import {storeDir} from '../host/place.ts';
import {cancelOnSignals} from '../host/signals.ts';
import {runJob} from '../job.ts';
import {loginOf} from '../plan/login.ts';
import {makePlan, type Plan} from '../plan/plan.ts';
import {annotations} from '../report/annotations.ts';
import {inert} from '../report/inert.ts';
import {stepOutputs} from '../report/outputs.ts';
import {printResult, verdict} from '../report/result.ts';
import {summary} from '../report/summary.ts';
import {openCache} from './cache.ts';
import {readInputs} from './inputs.ts';
import {WorkflowLog} from './log.ts';
import {StateKeeper} from './state.ts';

/** The action's main: inputs in, job run, everything that a workflow can see written. Never throws. */
export async function main(env: NodeJS.ProcessEnv): Promise<void> {
  const cancel = cancelOnSignals();
  try {
    const inputs = readInputs(env);
    const plan = makePlan(inputs, {
      workspaceDir: env.GITHUB_WORKSPACE ?? process.cwd(),
      storeDir: storeDir(env),
    });
    // Before anything is started: post has to know of it even when this process is killed.
    const state = new StateKeeper(plan.archive.storeDir);
    const log = new WorkflowLog();
    const listen = (event: JobEvent): void => {
      if (event.kind === 'resource') state.addResource(event.resource);
      if (event.kind === 'cache-save') state.addCacheSave(event.entry);
      log.listen(event);
    };
    const warn = (message: string): void => listen({kind: 'warning', message});
    const ports = openPorts({env, login: loginOf(inputs, plan), warn, mask: core.setSecret});
    const actionsCache = openCache(inputs.cache, plan.archive.storeDir, env, listen);
    const lender = lendDetached(fileURLToPath(new URL('./forward.cjs', import.meta.url)));
    const result = await runJob(
      plan,
      {...ports, lender, ...(actionsCache && {actionsCache})},
      listen,
      cancel.signal,
    );
    await report(result, plan, env);
  } catch (error) {
    fail(error);
  } finally {
    cancel.dispose();
  }
}

async function report(result: JobResult, plan: Plan, env: NodeJS.ProcessEnv): Promise<void> {
  const resultPath = await writeResult(result, env);
  for (const [name, value] of Object.entries(stepOutputs(result, resultPath))) core.setOutput(name, value);
  const {ok, message} = verdict(result, plan.report.expect);
  annotate(result, plan, ok);
  if (plan.report.summary && env.GITHUB_STEP_SUMMARY) {
    await core.summary.addRaw(summary(result, {expect: plan.report.expect}), true).write();
  }
  if (ok) core.info(message);
  else if (plan.report.annotations) {
    // The annotation says it already; `setFailed` would spend a second one of the ten that a step has.
    core.info(message);
    process.exitCode = core.ExitCode.Failure;
  } else core.setFailed(message);
}

function annotate(result: JobResult, plan: Plan, ok: boolean): void {
  if (!plan.report.annotations) return;
  const {request, workspaceDir} = plan.build;
  const {dir, name} = request.dockerfile;
  // BuildKit names the Dockerfile as it was told to, by its base name.
  const resolveFile = (file: string): string | undefined =>
    dir !== undefined && file === name ? shortPath(workspaceDir, `${dir}/${name}`) : undefined;
  for (const {level, message, ...place} of annotations(result, {resolveFile})) {
    // A failure that was expected is worth a look, not an alarm.
    (level === 'error' && !ok ? core.error : core.warning)(message, place);
  }
}

/** The runner empties `RUNNER_TEMP` when the job ends; until then later steps can read the file. */
async function writeResult(result: JobResult, env: NodeJS.ProcessEnv): Promise<string> {
  const dir = join(env.RUNNER_TEMP ?? tmpdir(), `buildkit-archive-${randomUUID()}`);
  await mkdir(dir, {recursive: true});
  const path = join(dir, 'job-result.json');
  await writeFile(path, `${printResult(result)}\n`);
  return path;
}

/** Later steps can tell a step that never began from one whose outputs they misspelt. */
function fail(error: unknown): void {
  core.setOutput('result', 'failure');
  core.setOutput('failure-kind', 'infra');
  if (error instanceof UserError) {
    core.setFailed(inert(error.hint === undefined ? error.message : `${error.message}\n${error.hint}`));
    return;
  }
  core.setFailed(`internal error: ${inert(messageOf(error))}`);
  if (error instanceof Error && error.stack) core.debug(inert(error.stack));
}
