import {expect, test} from '@jest/globals';
import {bypassesProxy} from '../../src/host/no-proxy.ts';

test.each([
  ['', 'https://r.example', false],
  ['*', 'https://r.example', true],
  ['r.example', 'https://r.example', true],
  ['R.Example', 'https://r.EXAMPLE', true],
  // A domain stands for all under it.
  ['example', 'https://r.example', true],
  ['example', 'https://rexample', false],
  ['.example', 'https://r.example', true],
  ['*.example', 'https://r.example', true],
  ['.r.example', 'https://r.example', false],
  ['a,r.example', 'https://r.example', true],
  ['a r.example', 'https://r.example', true],
  [' a , r.example ', 'https://r.example', true],
  ['r.example:443', 'https://r.example', true],
  ['r.example:443', 'https://r.example:5000', false],
  ['example:5000', 'https://r.example:5000', true],
  ['r.example:80', 'http://r.example', true],
  ['10.1.2.3', 'http://10.1.2.3:5000', true],
  ['10.1.2.3', 'http://10.1.2.33', false],
  ['2.3', 'http://10.1.2.3', false],
  ['10.0.0.0/8', 'http://10.200.2.3', true],
  ['10.0.0.0/8', 'http://11.0.0.1', false],
  ['10.0.0.0/99', 'http://10.0.0.1', false],
  ['10.0.0.0/8', 'https://r.example', false],
  ['fd00::/8', 'http://[fd12::1]:5000', true],
  ['fd00::/8', 'http://[fe80::1]', false],
  ['[fd12::1]:5000', 'http://[fd12::1]:5000', true],
  ['fd12::1', 'http://[fd12::1]:5000', true],
  ['/', 'https://r.example', false],
  [',,', 'https://r.example', false],
])('NO_PROXY=%s, %s: %s', (noProxy, url, bypassed) => {
  expect(bypassesProxy(new URL(url), noProxy)).toBe(bypassed);
});
