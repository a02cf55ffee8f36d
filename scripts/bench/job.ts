// What bench/context.mjs, bench/job.mjs and bench/log.mjs need of the sources, in one module.

export {sendContext} from '../../src/build/context.ts';
export {localPorts} from '../../src/host/local.ts';
export {runJob} from '../../src/job.ts';
export {ANY_GUEST, withMachine} from '../../src/machine.ts';
export {parseInputs} from '../../src/plan/inputs.ts';
export {makePlan} from '../../src/plan/plan.ts';
export {devicesOf} from '../../src/vm/devices.ts';
