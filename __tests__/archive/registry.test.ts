import {describe, expect, test} from '@jest/globals';
import {parseChallenges, tokenUrl} from '../../src/archive/registry/challenge.ts';
import {errorDetail} from '../../src/archive/registry/client.ts';
import {
  DEFAULT_POLICY,
  delayMs,
  isPassingStatus,
  parseRetryAfterMs,
} from '../../src/archive/registry/policy.ts';
import {progressMeter, progressText} from '../../src/archive/registry/progress.ts';
import {followRedirects} from '../../src/archive/registry/redirect.ts';
import type {Http, HttpRequest} from '../../src/base/http.ts';

describe('parseChallenges', () => {
  test.each([
    [
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
      [
        {
          scheme: 'bearer',
          params: {
            realm: 'https://auth.docker.io/token',
            service: 'registry.docker.io',
            scope: 'repository:a/b:pull,push',
          },
        },
      ],
    ],
    ['Basic realm="a \\"b\\", c"', [{scheme: 'basic', params: {realm: 'a "b", c'}}]],
    [
      'BASIC Realm=x, bearer realm=y , service="z"',
      [
        {scheme: 'basic', params: {realm: 'x'}},
        {scheme: 'bearer', params: {realm: 'y', service: 'z'}},
      ],
    ],
    ['Negotiate', [{scheme: 'negotiate', params: {}}]],
    ['', []],
    ['=x', [{scheme: 'x', params: {}}]],
  ])('%s', (header, expected) => {
    expect(parseChallenges(header)).toEqual(expected);
  });

  test('long nonsense is read in no time', () => {
    const startedMs = performance.now();
    parseChallenges(`Bearer ${'a="\\'.repeat(20_000)}`);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });
});

describe('tokenUrl', () => {
  const challenge = (params: Record<string, string>) => ({scheme: 'bearer', params});
  test.each([
    [
      {realm: 'https://a.example/token', service: 's'},
      undefined,
      'https://a.example/token?service=s&scope=repository%3Ax%3Apull',
    ],
    [
      {realm: 'https://a.example/t?x=1', scope: 'repository:y:pull repository:z:pull'},
      'me',
      'https://a.example/t?x=1&scope=repository%3Ay%3Apull&scope=repository%3Az%3Apull&account=me',
    ],
    [{}, undefined, undefined],
    [{realm: 'nonsense'}, undefined, undefined],
  ])('%j', (params, account, expected) => {
    expect(tokenUrl(challenge(params as Record<string, string>), 'repository:x:pull', account)).toBe(
      expected,
    );
  });
});

describe('patience', () => {
  const now = Date.UTC(2026, 10, 22, 12, 0, 0);
  test.each([
    ['120', 120_000],
    [' 0 ', 0],
    ['Sun, 22 Nov 2026 12:00:30 GMT', 30_000],
    ['Sun, 22 Nov 2026 11:00:00 GMT', 0],
    ['-1', undefined],
    ['1.5', undefined],
    ['soon', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('Retry-After %j is %j ms', (header, expected) => {
    expect(parseRetryAfterMs(header, now)).toBe(expected);
  });

  test('pauses double up to a limit, less a random quarter', () => {
    const pauses = [1, 2, 3, 4, 9].map(failures => delayMs(DEFAULT_POLICY, failures, undefined, 0));
    expect(pauses).toEqual([500, 1_000, 2_000, 4_000, 30_000]);
    expect(delayMs(DEFAULT_POLICY, 2, undefined, 1)).toBe(750);
    expect(delayMs(DEFAULT_POLICY, 2, 7_000, 1)).toBe(7_000);
  });

  test.each([
    [429, true],
    [500, true],
    [503, true],
    [404, false],
    [401, false],
    [501, false],
  ])('%i may pass: %s', (status, expected) => {
    expect(isPassingStatus(status)).toBe(expected);
  });
});

test.each([
  ['{"errors":[{"code":"DENIED","message":"no"}]}', 'DENIED: no'],
  ['{"errors":[{"code":"TOOMANYREQUESTS"}]}', 'TOOMANYREQUESTS'],
  ['{"details":"wrong password"}', 'wrong password'],
  [
    '{"errors":[{"code":"X","message":"a\\u001b[31m\\r\\n::set-output::\\u202eb"}]}',
    'X: a [31m ::set-output:: b',
  ],
  [`{"errors":[{"message":"${'x'.repeat(999)}"}]}`, 'x'.repeat(200)],
  ['{"errors":{"code":1}}', ''],
  ['<html>', ''],
  ['null', ''],
])('errorDetail of %s', (text, expected) => {
  expect(errorDetail(text)).toBe(expected);
});

describe('followRedirects', () => {
  /** Answers by a table of addresses; remembers what it was sent. */
  function fake(table: Record<string, string>): {http: Http; sent: HttpRequest[]} {
    const sent: HttpRequest[] = [];
    const body = {destroy: () => undefined} as unknown as Awaited<ReturnType<Http['send']>>['body'];
    return {
      sent,
      http: {
        async send(request) {
          sent.push(request);
          const location = table[request.url];
          return location === undefined
            ? {status: 200, headers: {}, body}
            : {status: 307, headers: {location}, body};
        },
      },
    };
  }
  const start = (url: string): HttpRequest => ({
    method: 'GET',
    url,
    headers: {authorization: 'secret', range: 'bytes=5-'},
    timeoutMs: 1,
    signal: new AbortController().signal,
  });
  const origin = {name: 'r.example/x', plainHttp: false, hint: 'name another'};

  test.each([
    ['another host', 'https://cdn.example/blob', false],
    ['another port', 'https://r.example:444/blob', false],
    ['a name under it', 'https://x.r.example/blob', false],
    ['the same host', 'https://r.example/other', true],
    ['a relative path', '/other', true],
  ])('to %s', async (_name, location, keeps) => {
    const {http, sent} = fake({'https://r.example/v2': location});
    const {isOwn} = await followRedirects(http, origin, start('https://r.example/v2'));
    expect(sent[1]?.headers?.authorization).toBe(keeps ? 'secret' : undefined);
    expect(sent[1]?.headers?.range).toBe('bytes=5-');
    expect(isOwn).toBe(keeps);
  });

  test('what was dropped does not come back', async () => {
    const {http, sent} = fake({
      'https://r.example/v2': 'https://cdn.example/a',
      'https://cdn.example/a': 'https://r.example/b',
    });
    await followRedirects(http, origin, start('https://r.example/v2'));
    expect(sent.map(({headers}) => headers?.authorization)).toEqual(['secret', undefined, undefined]);
  });

  test('from TLS to none is refused, unless that was asked for', async () => {
    const table = {
      'https://r.example/v2': 'http://cdn.example/a',
      'http://r.example/v2': 'http://cdn.example/a',
    };
    await expect(followRedirects(fake(table).http, origin, start('https://r.example/v2'))).rejects.toThrow(
      'r.example/x: r.example redirects to http://cdn.example, which is not encrypted',
    );
    const asked = {...origin, plainHttp: true};
    const {isOwn} = await followRedirects(fake(table).http, asked, start('http://r.example/v2'));
    expect(isOwn).toBe(false);
  });

  test('signatures in addresses are not repeated', async () => {
    const table = {
      'https://r.example/v2': 'https://cdn.example/a?signature=secret',
      'https://cdn.example/a?signature=secret': 'http://elsewhere.example/?signature=secret',
    };
    const failed = followRedirects(fake(table).http, origin, start('https://r.example/v2'));
    await expect(failed).rejects.toThrow('cdn.example redirects to http://elsewhere.example, which');
  });
});

describe('progress', () => {
  const at = (receivedBytes: number, totalBytes = 235_162_667) => ({digest: 'd', receivedBytes, totalBytes});
  test.each([
    [at(94_000_000), 2_000, '94 of 235 MB, 47 MB/s, 4 s left'],
    [at(500_000), 1_000, '0.5 of 235 MB, 0.5 MB/s, 8 min left'],
    [at(235_162_667), 5_000, '235 MB, 47 MB/s'],
    [at(0), 0, '0.0 of 235 MB'],
    [at(0), 1_000, '0.0 of 235 MB, 0.0 MB/s'],
    [at(402, 402), 0, '0.0 MB'],
  ])('%j after %i ms', (progress, elapsedMs, expected) => {
    expect(progressText(progress, elapsedMs)).toBe(expected);
  });

  test('a line now and then, and one at the end of each layer', () => {
    let nowMs = 0;
    const said: string[] = [];
    const meter = progressMeter({nowMs: () => nowMs}, text => void said.push(text), 1_000);
    for (let i = 0; i <= 40; i++) {
      nowMs = i * 100;
      meter(at(i * 1_000_000, 40_000_000));
    }
    meter({digest: 'e', receivedBytes: 5, totalBytes: 5});
    expect(said).toEqual([
      '10 of 40 MB, 10 MB/s, 3 s left',
      '20 of 40 MB, 10 MB/s, 2 s left',
      '30 of 40 MB, 10 MB/s, 1 s left',
      '40 MB, 10 MB/s',
      '0.0 MB',
    ]);
  });
});
