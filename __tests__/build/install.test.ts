import {expect, test} from '@jest/globals';
import {unitsFor} from '../../src/base/units.ts';
import {newUnits} from '../../src/build/install.ts';

const unit = {unit: 'buildkit.service', transient: false};

test.each([
  ['the same form', 'v0.20.2', 'v0.32.2', unit, undefined],
  ['no fd:// before v0.9.0', 'v0.9.0', 'v0.8.3', unit, 'v0.8.3'],
  ['no notification before v0.10.0', 'v0.10.0', 'v0.9.3', unit, 'v0.9.3'],
  ['a socket from v0.9.0 on', 'v0.7.0', 'v0.9.0', unit, 'v0.9.0'],
  ['both before', 'v0.7.0', 'v0.8.3', unit, undefined],
  ['a build of one’s own counts as new', 'v0.20.2', 'v0.0.0+unknown', unit, 'v0.0.0+unknown'],
  ['a fork without a number', 'v0.20.2', 'mine', unit, undefined],
  ['started by hand', 'v0.3.0', 'v0.6.4', {transient: false}, 'v0.6.4'],
  ['by systemd-run', 'v0.3.0', 'v0.6.4', {unit: 'buildkitd.service', transient: true}, 'v0.6.4'],
])('%s: %s to %s', (_what, old, wanted, daemon, expected) =>
  expect(newUnits(old, wanted, daemon)).toEqual(expected === undefined ? undefined : unitsFor(expected)),
);
