import {ALL_OF_IT, describeContextWays} from '../support/context-ways.ts';
import {Stopwatch} from '../support/stopwatch.ts';

const FILES = 100_000;

// 1 GiB.
describeContextWays({
  files: FILES,
  bytesEach: Math.ceil(2 ** 30 / FILES),
  ways: ['disk', 'tar', 'runner'],
  rounds: ALL_OF_IT,
  asFolder: false,
  watch: new Stopwatch(),
});
