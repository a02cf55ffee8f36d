// What bench/start.mjs needs of the sources, in one module.

export {startRegistry} from '../../__tests__/support/registry.ts';
export {localPorts} from '../../src/host/local.ts';
export {localSsh} from '../../src/host/ssh.ts';
export {runJob} from '../../src/job.ts';
export {parseInputs} from '../../src/plan/inputs.ts';
export {makePlan} from '../../src/plan/plan.ts';
