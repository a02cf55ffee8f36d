// What bench/start.mjs needs of the sources, in one module.

import {awaitBuildkit, checkAlive, inspect, parseVersions} from '../../src/build/inspect.ts';
import type {Vm} from '../../src/vm/machine.ts';

export {startRegistry} from '../../__tests__/support/registry.ts';
export {localPorts} from '../../src/host/local.ts';
export {localSsh} from '../../src/host/ssh.ts';
export {runJob} from '../../src/job.ts';
export {withMachine} from '../../src/machine.ts';
export {parseInputs} from '../../src/plan/inputs.ts';
export {makePlan} from '../../src/plan/plan.ts';
export {Door} from '../../src/vm/door.ts';

/** What a job asks of its machine. */
export const buildkitProbe = {
  isWarm: true,
  async ready({session}: Pick<Vm, 'session'>) {
    const {signal} = new AbortController();
    return inspect(session, signal, await awaitBuildkit(session, signal));
  },
  parse: parseVersions,
  check: checkAlive,
};
