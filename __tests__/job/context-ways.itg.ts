import {describeContextWays} from '../support/context-ways.ts';

describeContextWays(2_000, 5_000);
