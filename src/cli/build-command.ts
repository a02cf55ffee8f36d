import {writeFile} from 'node:fs/promises';
import {UserError} from '../base/errors.ts';
import type {JobResult} from '../base/result.ts';
import {lendUntil} from '../host/lend.ts';
import {openPorts} from '../host/local.ts';
import {storeDir} from '../host/place.ts';
import {runJob} from '../job.ts';
import {parseInputs} from '../plan/inputs.ts';
import {loginOf} from '../plan/login.ts';
import {makePlan, type Plan} from '../plan/plan.ts';
import {stepOutputs} from '../report/outputs.ts';
import {printResult, verdict} from '../report/result.ts';
import {summary} from '../report/summary.ts';
import {terminalReport} from '../report/terminal.ts';
import {readArgs} from './args.ts';
import {EXIT} from './help.ts';
import {planToPrint, printPlan} from './plan-command.ts';
import {TerminalLog} from './terminal-log.ts';

/** `build`: the main job on this machine. @returns the exit code of `EXIT`. */
export async function buildCommand(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const args = readArgs(argv, FLAGS);
  const inputs = parseInputs(withContext(args.inputs, args.positionals));
  const place = {workspaceDir: process.cwd(), storeDir: storeDir(process.env)};
  if (args.flags.has('plan')) {
    await printPlan(planToPrint(inputs, place), {json: args.flags.has('json')});
    return EXIT.ok;
  }
  const plan = makePlan(inputs, place);
  // With --json standard output belongs to the result alone.
  const log = new TerminalLog(args.flags.has('json') ? process.stderr : process.stdout);
  const warn = (message: string): void => log.listen({kind: 'warning', message});
  const ports = openPorts({env: process.env, login: loginOf(inputs, plan), warn});
  const lender = lendUntil(signal, () =>
    log.listen({kind: 'notice', message: 'the VM runs until this command is ended, by Ctrl-C or SIGTERM'}),
  );
  const result = await runJob(plan, {...ports, lender}, log.listen, signal);
  await writeFiles(result, plan, args.options);
  if (args.flags.has('json')) process.stdout.write(`${printResult(result)}\n`);
  else
    process.stdout.write(
      terminalReport(result, {
        colours: log.colours,
        width: process.stdout.columns ?? 100,
        expect: plan.report.expect,
      }),
    );
  return exitCode(result, plan);
}

const FLAGS = {
  plan: 'boolean',
  json: 'boolean',
  result: 'string',
  'summary-file': 'string',
  'outputs-file': 'string',
} as const;

/** What the action gives to a workflow, as files: the result, the step summary, the step outputs. */
async function writeFiles(
  result: JobResult,
  plan: Plan,
  options: Readonly<Record<string, string>>,
): Promise<void> {
  const {result: resultFile, 'summary-file': summaryFile, 'outputs-file': outputsFile} = options;
  if (resultFile !== undefined) await writeFile(resultFile, `${printResult(result)}\n`);
  if (summaryFile !== undefined) await writeFile(summaryFile, summary(result, {expect: plan.report.expect}));
  if (outputsFile === undefined) return;
  const outputs = Object.entries(stepOutputs(result, resultFile ?? ''));
  await writeFile(outputsFile, outputs.map(([name, value]) => `${name}=${value}\n`).join(''));
}

/** The one positional argument is the context, as for `docker build`; without it the context is the current folder. */
function withContext(
  inputs: Readonly<Record<string, string>>,
  positionals: readonly string[],
): Readonly<Record<string, string>> {
  const [context, ...more] = positionals;
  if (more.length > 0 || (context !== undefined && inputs.context !== undefined)) {
    throw new UserError(
      `build takes one context, not ${[inputs.context, ...positionals].filter(Boolean).join(' and ')}`,
      {
        input: 'context',
        stage: 'inputs',
        hint: 'buildkit-archive build --archive PATH CONTEXT',
      },
    );
  }
  return context === undefined ? inputs : {...inputs, context};
}

function exitCode(result: JobResult, plan: Plan): number {
  const {ok, message} = verdict(result, plan.report.expect);
  if (ok) return EXIT.ok;
  if (result.outcome.kind === 'canceled') return EXIT.canceled;
  if (result.outcome.kind === 'infra-failed')
    return result.outcome.stage === 'inputs' ? EXIT.usage : EXIT.infrastructure;
  process.stderr.write(`${message}\n`);
  return EXIT.buildFailed;
}
