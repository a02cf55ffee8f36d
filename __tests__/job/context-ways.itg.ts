import {ALL_OF_IT, describeContextWays, LESS} from '../support/context-ways.ts';

describeContextWays({
  files: 2_000,
  bytesEach: 5_000,
  ways: ['tar', 'disk', 'runner'],
  rounds: {...ALL_OF_IT, ...LESS},
  asFolder: true,
});
