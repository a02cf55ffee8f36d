import {Store} from '../archive/store.ts';
import {messageOf, UserError} from '../base/errors.ts';
import type {Emit} from '../base/events.ts';
import {nearest} from '../base/nearest.ts';
import type {StoreUpkeep} from '../base/store.ts';
import {FORGE_HELP, forge} from '../forge/main.ts';
import {localPorts} from '../host/local.ts';
import {cancelOnSignals} from '../host/signals.ts';
import {plain} from '../report/inert.ts';
import {buildCommand} from './build-command.ts';
import {cacheCommand} from './cache-command.ts';
import {checkCommand} from './check-command.ts';
import {composeCommand} from './compose-command.ts';
import {explainCommand} from './explain-command.ts';
import {EXIT, helpText} from './help.ts';
import {sshCommand} from './ssh-command.ts';

/** Runs one command line and gives its exit code; prints errors as message and hint. */
export async function cli(argv: readonly string[]): Promise<number> {
  const [command = 'help', ...rest] = argv;
  const cancel = cancelOnSignals();
  try {
    if (COMMANDS.includes(command) && command !== 'forge' && asksForHelp(rest)) return printHelp();
    switch (command) {
      case 'build':
        return await buildCommand(rest, cancel.signal);
      case 'ssh':
        return await sshCommand(rest, cancel.signal);
      case 'cache':
        return await cacheCommand(rest, openStore, cancel.signal);
      case 'forge':
        return await forgeCommand(rest, cancel.signal);
      case 'explain':
        return await explainCommand(rest, cancel.signal);
      case 'check':
        return await checkCommand(rest, cancel.signal);
      case 'compose':
        return await composeCommand(rest, cancel.signal);
      case 'version':
      case '--version':
        process.stdout.write(`${process.env.BUILDKIT_ARCHIVE_VERSION ?? 'unknown'}\n`);
        return EXIT.ok;
      case 'help':
      case '--help':
      case '-h':
        printHelp();
        return argv.length === 0 ? EXIT.usage : EXIT.ok;
      default:
        throw unknownCommand(command);
    }
  } catch (error) {
    return report(error, cancel.signal);
  } finally {
    cancel.dispose();
  }
}

const COMMANDS: readonly string[] = ['build', 'ssh', 'check', 'explain', 'forge', 'cache', 'compose'];

function unknownCommand(command: string): UserError {
  const near = nearest(command, COMMANDS);
  return new UserError(`there is no command "${command}"; the commands are ${COMMANDS.join(', ')}`, {
    stage: 'inputs',
    hint: near === undefined ? 'buildkit-archive --help' : `did you mean "${near}"?`,
  });
}

/** What stands behind `--` belongs to a command in the VM. */
function asksForHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  return args.slice(0, end < 0 ? undefined : end).some(arg => arg === '--help' || arg === '-h');
}

function printHelp(): number {
  process.stdout.write(helpText());
  return EXIT.ok;
}

/** The store as a person tends it: its warnings go to standard error. */
function openStore(dir: string): StoreUpkeep {
  const emit: Emit = event => {
    if (event.kind === 'warning') process.stderr.write(`warning: ${plain(event.message)}\n`);
  };
  return new Store({folder: localPorts.openStore(dir), nowMs: Date.now, emit});
}

async function forgeCommand(argv: readonly string[], signal: AbortSignal): Promise<number> {
  if (asksForHelp(argv)) {
    process.stdout.write(`${FORGE_HELP}\n`);
    return EXIT.ok;
  }
  await forge(argv, {
    env: process.env,
    signal,
    log: line => process.stderr.write(`${line}\n`),
    out: text => process.stdout.write(text),
  });
  return EXIT.ok;
}

function report(error: unknown, signal: AbortSignal): number {
  if (signal.aborted) {
    process.stderr.write(`${messageOf(signal.reason)}\n`);
    return EXIT.canceled;
  }
  if (error instanceof UserError) {
    process.stderr.write(
      plain(`error: ${error.message}\n${error.hint === undefined ? '' : `hint: ${error.hint}\n`}`),
    );
    return error.stage === undefined || error.stage === 'inputs' || error.stage === 'plan'
      ? EXIT.usage
      : EXIT.infrastructure;
  }
  process.stderr.write(plain(`internal error: ${error instanceof Error ? error.stack : String(error)}\n`));
  return EXIT.infrastructure;
}
