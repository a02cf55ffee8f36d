import {
  type CacheServer,
  type Call,
  findEntry,
  isAuthorized,
  type StoredCacheEntry,
  startCacheServer,
} from './cache-server.ts';

const SERVICE = '/twirp/github.actions.results.api.v1.CacheService/';
const CONTAINER = '/actions-cache/';
const SIGNATURE = 'signed+by/us=';
/** @actions/cache takes its Azure client for downloads only from hosts under this name (`downloadCache`). */
const AZURE_HOST = 'http://account.blob.core.windows.net';

/**
 * The cache service of GitHub Actions, version 2: Twirp with JSON (actions/toolkit, `results/api/v1/cache.proto`) that hands out signed URLs of Azure block
 * blobs ("Put Blob", "Put Block", "Put Block List", "Get Blob" and "Get Blob Properties" of the Blob service's REST API).
 * @param blobs `azure`: URLs have Azure's host name and reach this server as the client's HTTP proxy; `loopback`: plain URLs of this server.
 */
export function startCacheServerV2(blobs: 'azure' | 'loopback' = 'loopback'): Promise<CacheServer> {
  const blocks = new Map<string, Buffer>();
  const origins = {blob: AZURE_HOST};
  return startCacheServer(
    (request, {pathname, searchParams}) => {
      if (pathname.startsWith(SERVICE)) return pathname.slice(SERVICE.length);
      if (!pathname.startsWith(CONTAINER)) return undefined;
      if (request.method === 'PUT')
        return {block: 'PutBlock', blocklist: 'PutBlockList'}[searchParams.get('comp') ?? ''] ?? 'PutBlob';
      return request.method === 'HEAD' ? 'GetBlobProperties' : 'GetBlob';
    },
    (server, call) =>
      call.url.pathname.startsWith(SERVICE)
        ? handleService(server, call, origins.blob)
        : handleBlob(server, call, blocks),
    origin => {
      if (blobs === 'loopback') origins.blob = origin;
      return {
        ACTIONS_CACHE_SERVICE_V2: 'True',
        ACTIONS_RESULTS_URL: `${origin}/`,
        ...(blobs === 'azure' && {http_proxy: origin, no_proxy: '127.0.0.1'}),
      };
    },
  );
}

interface ServiceRequest {
  readonly key: string;
  readonly version: string;
  readonly restore_keys?: readonly string[];
  readonly size_bytes?: string;
}

async function handleService({entries}: CacheServer, call: Call, blobOrigin: string): Promise<void> {
  if (!isAuthorized(call.request)) return call.json(401, {code: 'unauthenticated', msg: 'no token'});
  const asked = JSON.parse((await call.body()).toString()) as ServiceRequest;
  const signed = (entry: StoredCacheEntry): string =>
    `${blobOrigin}${CONTAINER}${entry.id}?sv=2025-05-05&sig=${encodeURIComponent(SIGNATURE)}`;
  switch (call.name) {
    case 'GetCacheEntryDownloadURL': {
      const found = findEntry(entries, [asked.key, ...(asked.restore_keys ?? [])], asked.version);
      return call.json(
        200,
        found ? {ok: true, signed_download_url: signed(found), matched_key: found.key} : {ok: false},
      );
    }
    case 'CreateCacheEntry': {
      if (entries.some(({key, version}) => key === asked.key && version === asked.version)) {
        const msg = 'cache entry with the same key, version, and scope already exists';
        return call.json(409, {code: 'already_exists', msg});
      }
      const {key, version} = asked;
      const entry = {id: entries.length + 1, key, version, blob: [], complete: false};
      entries.push(entry);
      return call.json(200, {ok: true, signed_upload_url: signed(entry)});
    }
    case 'FinalizeCacheEntryUpload': {
      const entry = entries.find(({key, version}) => key === asked.key && version === asked.version);
      if (!entry || sizeOf(entry) !== Number(asked.size_bytes)) {
        return call.json(400, {code: 'failed_precondition', msg: 'the upload is not of that size'});
      }
      entry.complete = true;
      return call.json(200, {ok: true, entry_id: String(entry.id)});
    }
    default:
      return call.json(404, {code: 'bad_route', msg: call.name});
  }
}

const sizeOf = (entry: StoredCacheEntry): number => entry.blob.reduce((sum, part) => sum + part.length, 0);

async function handleBlob({entries}: CacheServer, call: Call, blocks: Map<string, Buffer>): Promise<void> {
  const {request, response, url} = call;
  const headers = {
    etag: '"0x1"',
    'last-modified': new Date(0).toUTCString(),
    'x-ms-request-id': '1',
    'x-ms-version': String(request.headers['x-ms-version'] ?? '2025-05-05'),
    'x-ms-blob-type': 'BlockBlob',
    'accept-ranges': 'bytes',
    'content-type': 'application/octet-stream',
  };
  const refuse = (status: number, code: string): void => {
    response.writeHead(status, {...headers, 'x-ms-error-code': code}).end();
  };
  const entry = entries.find(({id}) => id === Number(url.pathname.slice(CONTAINER.length)));
  if (url.searchParams.get('sig') !== SIGNATURE) return refuse(403, 'AuthenticationFailed');
  if (!entry) return refuse(404, 'BlobNotFound');
  const body = request.method === 'PUT' ? await call.body() : Buffer.alloc(0);
  if (call.name === 'PutBlob') {
    if (request.headers['x-ms-blob-type'] !== 'BlockBlob') return refuse(400, 'InvalidHeaderValue');
    entry.blob = [body];
  } else if (call.name === 'PutBlock') {
    blocks.set(`${entry.id} ${url.searchParams.get('blockid')}`, body);
  } else if (call.name === 'PutBlockList') {
    const ids = [...body.toString().matchAll(/<Latest>([^<]+)<\/Latest>/g)].map(match => match[1]);
    const parts = ids.map(id => blocks.get(`${entry.id} ${id}`));
    if (parts.includes(undefined)) return refuse(400, 'InvalidBlockList');
    entry.blob = parts as Buffer[];
  } else {
    const range = /^bytes=(\d+)-(\d*)$/.exec(
      String(request.headers['x-ms-range'] ?? request.headers.range ?? ''),
    );
    if (!range) return call.bytes(200, entry.blob, headers);
    const start = Number(range[1]);
    const end = Math.min(range[2] === '' ? Number.POSITIVE_INFINITY : Number(range[2]), sizeOf(entry) - 1);
    if (start > end) return refuse(416, 'InvalidRange');
    const contentRange = `bytes ${start}-${end}/${sizeOf(entry)}`;
    return call.bytes(206, slice(entry.blob, start, end + 1), {...headers, 'content-range': contentRange});
  }
  response.writeHead(201, {...headers, 'x-ms-request-server-encrypted': 'true', 'content-length': '0'}).end();
}

function slice(parts: readonly Buffer[], start: number, end: number): Buffer[] {
  let at = 0;
  return parts.flatMap(part => {
    const piece = part.subarray(Math.max(0, start - at), Math.max(0, end - at));
    at += part.length;
    return piece.length > 0 ? [piece] : [];
  });
}
