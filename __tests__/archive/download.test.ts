import {createServer, type Server, type ServerResponse} from 'node:http';
import type {AddressInfo} from 'node:net';
import {afterAll, beforeAll, beforeEach, expect, test} from '@jest/globals';
import {DownloadError, downloaded, downloadSmall} from '../../src/archive/download.ts';
import {DEFAULT_POLICY} from '../../src/archive/registry/policy.ts';
import {CanceledError} from '../../src/base/errors.ts';
import {localPorts} from '../../src/host/local.ts';
import {type FaultProxy, startFaultProxy} from '../support/fault-proxy.ts';

const FILE = Buffer.from(Array.from({length: 300_000}, (_, i) => (i * 7919) % 251));
/** How the server tells one state of the file from another; and what it has. */
let served: {headers: Record<string, string>; bytes: Buffer};
let server: Server;
let proxy: FaultProxy;

function serve(range: string | undefined, condition: string | undefined, response: ServerResponse): void {
  const {headers, bytes} = served;
  const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
  const isSame = condition === undefined || Object.values(headers).includes(condition);
  if (from === 0 || !isSame) {
    response.writeHead(200, {...headers, 'content-length': String(bytes.length)}).end(bytes);
    return;
  }
  const rest = bytes.subarray(from);
  response
    .writeHead(206, {
      ...headers,
      'content-length': String(rest.length),
      'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
    })
    .end(rest);
}

beforeAll(async () => {
  server = createServer(({headers}, response) =>
    serve(headers.range, headers['if-range'] as string, response),
  );
  await new Promise<void>(resolve => void server.listen(0, '127.0.0.1', resolve));
  proxy = await startFaultProxy((server.address() as AddressInfo).port);
});
beforeEach(() => {
  served = {headers: {etag: '"one"'}, bytes: FILE};
  proxy.rule = () => undefined;
  proxy.seen.length = 0;
});
afterAll(async () => {
  await proxy.close();
  server.close();
});

const options = (signal = new AbortController().signal) => ({
  policy: {
    ...DEFAULT_POLICY,
    attempts: 3,
    firstDelayMs: 1,
    maxDelayMs: 2,
    stallMs: 300,
    answerTimeoutMs: 2_000,
  },
  signal,
  hint: 'do something else',
});
const url = (): string => `http://127.0.0.1:${proxy.port}/file.tar.gz`;

async function bytes(): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of downloaded(localPorts, url(), options())) parts.push(part);
  return Buffer.concat(parts);
}

/** A fault at the first request, or at the first `count`. */
const first = (fault: NonNullable<ReturnType<FaultProxy['rule']>>, count = 1) => {
  let left = count;
  proxy.rule = () => (left-- > 0 ? fault : undefined);
};

test('a file', async () => expect((await bytes()).equals(FILE)).toBe(true));

test.each([
  ['reset', {kind: 'reset', atByte: 100_000}],
  ['cut short', {kind: 'truncate', atByte: 100_000}],
  ['stalled', {kind: 'stall', atByte: 100_000}],
] as const)('a transfer that is %s goes on where it was', async (_what, fault) => {
  first(fault);
  expect((await bytes()).equals(FILE)).toBe(true);
  expect(proxy.seen.map(({headers}) => [headers.range, headers['if-range']])).toEqual([
    [undefined, undefined],
    [expect.stringMatching(/^bytes=\d+-$/), '"one"'],
  ]);
});

test('by its time where it has no strong tag', async () => {
  const modified = 'Fri, 27 Nov 2026 10:00:00 GMT';
  served = {...served, headers: {etag: 'W/"weak"', 'last-modified': modified}};
  first({kind: 'reset', atByte: 100_000});
  expect((await bytes()).equals(FILE)).toBe(true);
  expect(proxy.seen[1]?.headers['if-range']).toBe(modified);
});

test('a server that begins anew with the same file is read on', async () => {
  proxy.rule = ({headers}) =>
    headers.range === undefined ? {kind: 'reset', atByte: 100_000} : {kind: 'ignore-range'};
  expect((await bytes()).equals(FILE)).toBe(true);
});

test.each([
  ['another tag', {etag: '"two"'}],
  ['no tag', {}],
])('a file that changes in the middle is refused: %s', async (_what, headers: Record<string, string>) => {
  proxy.rule = ({headers: {range}}) => {
    if (range !== undefined) return undefined;
    served = {headers, bytes: Buffer.alloc(FILE.length, 1)};
    return undefined;
  };
  served = {headers: {etag: '"one"'}, bytes: FILE};
  let count = 0;
  proxy.rule = () => {
    count++;
    if (count === 1) return {kind: 'reset', atByte: 100_000};
    served = {headers, bytes: Buffer.alloc(FILE.length, 1)};
    return undefined;
  };
  await expect(bytes()).rejects.toThrow('the file may have changed while it was read');
});

test('without any validator a broken transfer is not patched together', async () => {
  served = {headers: {}, bytes: FILE};
  first({kind: 'reset', atByte: 100_000});
  await expect(bytes()).rejects.toThrow('the file may have changed while it was read');
});

test.each([429, 500, 503])('status %i passes', async status => {
  first({kind: 'answer', status}, 2);
  expect((await bytes()).equals(FILE)).toBe(true);
  expect(proxy.seen).toHaveLength(3);
});

test('and is given up in the end, with what to do', async () => {
  first({kind: 'answer', status: 503}, 9);
  const failed = await bytes().catch(error => error);
  expect(failed).toBeInstanceOf(DownloadError);
  expect(failed).toMatchObject({
    message: `${url()}: the server answers with status 503`,
    hint: 'do something else',
  });
  expect(proxy.seen).toHaveLength(3);
});

test('status 404 is final; a small file that does not exist is none', async () => {
  first({kind: 'answer', status: 404}, 2);
  await expect(bytes()).rejects.toMatchObject({status: 404});
  expect(proxy.seen).toHaveLength(1);
  expect(await downloadSmall(localPorts, url(), 10, options())).toBeUndefined();
});

test('a small file that is large', async () =>
  await expect(downloadSmall(localPorts, url(), 10, options())).rejects.toThrow('is larger than 10 bytes'));

test('canceled', async () => {
  first({kind: 'silence'});
  const stop = new AbortController();
  const reading = downloaded(localPorts, url(), options(stop.signal)).next();
  setTimeout(() => stop.abort(), 50);
  await expect(reading).rejects.toThrow(CanceledError);
});

test('from TLS to none it is not followed', async () => {
  const http = {
    send: async () => ({
      status: 302,
      headers: {location: 'http://elsewhere.example/x?signature=secret'},
      body: {destroy: () => undefined} as never,
    }),
  };
  const ports = {...localPorts, registry: {...localPorts.registry, http}};
  const reading = downloaded(ports, 'https://m.example/x', options()).next();
  await expect(reading).rejects.toThrow(/redirects to http:\/\/elsewhere\.example, which is not encrypted$/);
});
