import {UserError} from '../base/errors.ts';
import type {JobEvent} from '../base/events.ts';
import type {Terminal} from '../base/ports.ts';
import {awaitBuildkit, inspect} from '../build/inspect.ts';
import {Derivation} from '../derive.ts';
import {openPorts} from '../host/local.ts';
import {storeDir} from '../host/place.ts';
import {ANY_GUEST, withMachine} from '../machine.ts';
import {parseInputs} from '../plan/inputs.ts';
import {loginOf} from '../plan/login.ts';
import {makePlan} from '../plan/plan.ts';
import {oneLine, plain} from '../report/inert.ts';
import type {GuestProbe} from '../warm-start.ts';
import {readArgs} from './args.ts';
import {EXIT} from './help.ts';

/**
 * Boots an archive and lends its root shell, or runs one command in it; the machine ends with the shell and nothing of it is kept.
 * @returns the shell's or the command's exit code.
 */
export async function sshCommand(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const split = argv.indexOf('--');
  const command = split < 0 ? [] : argv.slice(split + 1);
  const args = readArgs(split < 0 ? argv : argv.slice(0, split));
  if (args.positionals.length > 0) {
    throw new UserError(`ssh takes no argument ${JSON.stringify(args.positionals[0])}`, {
      stage: 'inputs',
      hint: 'write a command behind "--": buildkit-archive ssh --archive PATH -- uname -a',
    });
  }
  const inputs = parseInputs(args.inputs);
  const plan = makePlan(inputs, {
    workspaceDir: process.cwd(),
    storeDir: storeDir(process.env),
  });
  const ports = {
    ...openPorts({
      env: process.env,
      login: loginOf(inputs, plan),
      warn: message => say({kind: 'warning', message}),
    }),
    emit: say,
    stage: <T>(_stage: unknown, _title: string, work: () => Promise<T>) => work(),
  };
  await using derivation = plan.derive && (await Derivation.open(ports, plan.derive, plan.archive, signal));
  return withMachine(
    plan,
    ports,
    derivation ? derivedGuest(derivation, signal) : ANY_GUEST,
    signal,
    async vm => {
      const stop = AbortSignal.any([signal, vm.died]);
      const exit =
        command.length > 0
          ? await vm.session.run(command, {
              onStdout: chunk => void process.stdout.write(chunk),
              onStderr: chunk => void process.stderr.write(chunk),
              ...(process.stdin.isTTY ? {} : {stdin: process.stdin}),
              signal: stop,
            })
          : await (await vm.login(stop)).shell(ownTerminal());
      return exit.code ?? EXIT.infrastructure;
    },
  );
}

/** A machine whose own BuildKit gives way to another. */
function derivedGuest(derivation: Derivation, signal: AbortSignal): GuestProbe<undefined> {
  return {
    ...ANY_GUEST,
    prepare: () => derivation.prepare(signal),
    async ready({session, died}) {
      const stop = AbortSignal.any([signal, died]);
      await awaitBuildkit(session, stop);
      await derivation.apply(session, await inspect(session, stop), stop);
    },
  };
}

function say(event: JobEvent): void {
  if (event.kind === 'warning') process.stderr.write(`warning: ${plain(event.message)}\n`);
  if (event.kind === 'progress' && process.stderr.isTTY)
    process.stderr.write(`\r\u001b[K${oneLine(event.text)}`);
  if (event.kind !== 'booted') return;
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
  const {debugPort} = event.machine;
  if (debugPort !== undefined) process.stderr.write(`the VM's debugger is at 127.0.0.1:${debugPort}\n`);
}

/** This process's terminal, in raw mode while the shell has it. */
function ownTerminal(): Terminal {
  const {stdin, stdout} = process;
  if (stdin.isTTY) stdin.setRawMode(true);
  return {
    input: stdin,
    output: stdout,
    term: process.env.TERM ?? 'dumb',
    size: () => ({columns: stdout.columns || 80, rows: stdout.rows || 24}),
    onResize: listener => {
      stdout.on('resize', listener);
      return () => {
        stdout.off('resize', listener);
        if (stdin.isTTY) stdin.setRawMode(false);
        stdin.pause();
      };
    },
  };
}
