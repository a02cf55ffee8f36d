import {execFileSync} from 'node:child_process';
import {createServer, type IncomingMessage, type ServerResponse} from 'node:http';
import type {AddressInfo} from 'node:net';
import {join} from 'node:path';
import {buffer} from 'node:stream/consumers';

export const TOKEN = 'runtime-token';

/** What a server does instead of answering. */
export type Fault =
  | {readonly status: number; readonly body?: unknown; readonly headers?: Readonly<Record<string, string>>}
  /** Cuts the connection. */
  | 'reset'
  /** Never answers. */
  | 'hang'
  /** Says the right length and sends half of it. */
  | 'truncate'
  /** Sends bytes that are none of the entry's. */
  | 'corrupt';

export interface CacheServer extends AsyncDisposable {
  /** What the runner sets for its actions. */
  readonly env: NodeJS.ProcessEnv;
  /** Names of the calls that came, in order. */
  readonly calls: string[];
  readonly entries: StoredCacheEntry[];
  /** Asked for each call; `nth` counts from one. */
  fault: (call: string, nth: number) => Fault | undefined;
}

export interface StoredCacheEntry {
  readonly id: number;
  readonly key: string;
  readonly version: string;
  blob: readonly Buffer[];
  complete: boolean;
}

/** The service's look-up: the exact key first, then the newest whose key begins with it. */
export function findEntry(
  entries: readonly StoredCacheEntry[],
  keys: readonly string[],
  version: string,
): StoredCacheEntry | undefined {
  const usable = entries.filter(entry => entry.complete && entry.version === version).reverse();
  for (const key of keys) {
    const found = usable.find(entry => entry.key === key) ?? usable.find(entry => entry.key.startsWith(key));
    if (found) return found;
  }
  return undefined;
}

export type Handler = (call: Call) => Promise<void> | void;

export interface Call {
  readonly name: string;
  readonly url: URL;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  body(): Promise<Buffer>;
  json(status: number, value: unknown): void;
  /** Sends bytes, or what the call's fault makes of them. */
  bytes(status: number, blob: readonly Buffer[], headers: Readonly<Record<string, string>>): void;
}

/** A server on loopback. `nameOf` gives a call its name; one without a name is answered with 404. */
export async function startCacheServer(
  nameOf: (request: IncomingMessage, url: URL) => string | undefined,
  handle: (server: CacheServer, call: Call) => Promise<void> | void,
  envOf: (origin: string) => NodeJS.ProcessEnv,
): Promise<CacheServer> {
  const counts = new Map<string, number>();
  const http = createServer((request, response) => {
    // As a forward proxy it is asked with the whole URL (RFC 9112, 3.2.2).
    const url = new URL(request.url ?? '/', 'http://localhost');
    const name = nameOf(request, url);
    if (name === undefined) return void response.writeHead(404).end();
    server.calls.push(name);
    const nth = (counts.get(name) ?? 0) + 1;
    counts.set(name, nth);
    const fault = server.fault(name, nth);
    if (fault === 'reset') return void request.socket.destroy();
    if (fault === 'hang') return undefined;
    const call = makeCall(name, url, request, response, fault);
    if (typeof fault === 'object') {
      response.writeHead(fault.status, {'content-type': 'application/json', ...fault.headers});
      return void request.resume().once('end', () => response.end(JSON.stringify(fault.body ?? {})));
    }
    void Promise.resolve(handle(server, call)).catch(() => response.destroy());
  });
  await new Promise<void>(resolve => http.listen(0, '127.0.0.1', resolve));
  const {port} = http.address() as AddressInfo;
  const server: CacheServer = {
    env: {PATH: process.env.PATH, ACTIONS_RUNTIME_TOKEN: TOKEN, ...envOf(`http://127.0.0.1:${port}`)},
    calls: [],
    entries: [],
    fault: () => undefined,
    [Symbol.asyncDispose]: () =>
      new Promise<void>(resolve => {
        http.close(() => resolve());
        http.closeAllConnections();
      }),
  };
  return server;
}

function makeCall(
  name: string,
  url: URL,
  request: IncomingMessage,
  response: ServerResponse,
  fault: Fault | undefined,
): Call {
  return {
    name,
    url,
    request,
    response,
    body: () => buffer(request),
    json: (status, value) =>
      void response.writeHead(status, {'content-type': 'application/json'}).end(JSON.stringify(value)),
    bytes: (status, blob, headers) => {
      const lengthBytes = blob.reduce((sum, part) => sum + part.length, 0);
      response.writeHead(status, {...headers, 'content-length': String(lengthBytes)});
      if (request.method === 'HEAD') return void response.end();
      if (fault === 'corrupt') return void response.end(Buffer.alloc(lengthBytes, 0x5a));
      if (fault === 'truncate') {
        const half = Buffer.concat(blob).subarray(0, Math.floor(lengthBytes / 2));
        return void response.write(half, () => request.socket.destroy());
      }
      for (const part of blob) response.write(part);
      response.end();
    },
  };
}

export function isAuthorized(request: IncomingMessage): boolean {
  return request.headers.authorization === `Bearer ${TOKEN}`;
}

/**
 * The cache service of GitHub Actions, version 1 (actions/toolkit, `cacheHttpClient.ts`; also spoken by act and GitHub Enterprise Server):
 * look up, reserve, upload chunks by Content-Range, commit.
 */
export function startCacheServerV1(): Promise<CacheServer> {
  return startCacheServer(
    (request, url) => {
      const path = url.pathname.replace('/_apis/artifactcache/', '');
      if (request.method === 'GET')
        return path === 'cache' ? 'lookup' : /^artifacts\/\d+$/.test(path) ? 'download' : undefined;
      if (request.method === 'POST') return path === 'caches' ? 'reserve' : 'commit';
      return request.method === 'PATCH' ? 'upload' : undefined;
    },
    handleV1,
    origin => ({ACTIONS_CACHE_URL: `${origin}/`}),
  );
}

async function handleV1({entries}: CacheServer, call: Call): Promise<void> {
  const {request, response, url} = call;
  // An archive's URL is signed instead.
  if (call.name !== 'download' && !isAuthorized(request)) return call.json(401, {message: 'no token'});
  const id = Number(/(\d+)$/.exec(url.pathname)?.[1]);
  const entry = entries.find(one => one.id === id);
  if (call.name === 'lookup') {
    const keys = (url.searchParams.get('keys') ?? '').split(',');
    const found = findEntry(entries, keys, url.searchParams.get('version') ?? '');
    if (!found) return void response.writeHead(204).end();
    const archiveLocation = `http://${request.headers.host}/_apis/artifactcache/artifacts/${found.id}`;
    return call.json(200, {cacheKey: found.key, archiveLocation, scope: 'refs/heads/main'});
  }
  if (call.name === 'reserve') {
    const {key, version} = JSON.parse((await call.body()).toString()) as {key: string; version: string};
    if (entries.some(one => one.key === key && one.version === version)) {
      return call.json(409, {
        message: `Cache already exists. Scope: refs/heads/main, Key: ${key}, Version: ${version}`,
      });
    }
    entries.push({id: entries.length + 1, key, version, blob: [], complete: false});
    return call.json(201, {cacheId: entries.length});
  }
  if (!entry) return call.json(404, {message: 'no such cache'});
  if (call.name === 'download') return call.bytes(200, entry.blob, {});
  if (call.name === 'upload') {
    const range = /^bytes (\d+)-(\d+)\/\*$/.exec(request.headers['content-range'] ?? '');
    const chunk = await call.body();
    if (!range || Number(range[2]) - Number(range[1]) + 1 !== chunk.length)
      return call.json(400, {message: 'range'});
    const before = Buffer.concat(entry.blob);
    const whole = Buffer.alloc(Math.max(before.length, Number(range[2]) + 1));
    before.copy(whole);
    chunk.copy(whole, Number(range[1]));
    entry.blob = [whole];
    return void response.writeHead(204).end();
  }
  const {size} = JSON.parse((await call.body()).toString()) as {size: number};
  if (size !== Buffer.concat(entry.blob).length) return call.json(400, {message: 'the size does not fit'});
  entry.complete = true;
  response.writeHead(204).end();
}

/** Bundles the worker as `npm run build` does. @returns its path. */
export function bundleCacheWorker(dir: string): string {
  const outfile = join(dir, 'cache.cjs');
  execFileSync('node_modules/.bin/esbuild', [
    'src/host/cache-main.ts',
    '--bundle',
    '--platform=node',
    '--target=node20',
    '--format=cjs',
    '--log-level=error',
    '--define:import.meta.url=__importMetaUrl',
    "--banner:js=const __importMetaUrl=require('node:url').pathToFileURL(__filename).href;",
    `--outfile=${outfile}`,
  ]);
  return outfile;
}
