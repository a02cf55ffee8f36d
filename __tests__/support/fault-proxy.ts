import http, {type IncomingMessage, type ServerResponse} from 'node:http';
import type {AddressInfo} from 'node:net';

/** What happens to one request. */
export type Fault =
  /** Answers by itself. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly body?: string | Buffer;
    }
  /** Passes the answer on up to this byte of its body, then resets the connection. */
  | {readonly kind: 'reset'; readonly atByte: number}
  /** Ends the connection properly at this byte: the announced length is not reached. */
  | {readonly kind: 'truncate'; readonly atByte: number}
  /** Sends this much and then nothing more, or a byte now and then. */
  | {readonly kind: 'stall'; readonly atByte: number; readonly trickleMs?: number}
  /** Never answers. */
  | {readonly kind: 'silence'}
  /** Changes one byte of the body. */
  | {readonly kind: 'corrupt'; readonly atByte: number}
  /** Passes the request on without the range it asks for. */
  | {readonly kind: 'ignore-range'; readonly fault?: Fault}
  /** Runs before the request is passed on. */
  | {readonly kind: 'before'; readonly run: () => Promise<void>};

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
}

export interface FaultProxy {
  readonly port: number;
  /** All requests in order. */
  readonly seen: SeenRequest[];
  /** Decides what happens to each request; undefined passes it on. */
  rule: (request: SeenRequest) => Fault | undefined;
  close(): Promise<void>;
}

/** A server on loopback in front of a registry, that does to its answers what networks do. */
export async function startFaultProxy(targetPort: number): Promise<FaultProxy> {
  const server = http.createServer();
  const proxy: FaultProxy = {
    port: 0,
    seen: [],
    rule: () => undefined,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const seen = {method: request.method ?? '', path: request.url ?? '', headers: request.headers};
    proxy.seen.push(seen);
    void serve(request, response, targetPort, proxy.rule(seen)).catch(() => response.destroy());
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(proxy, {port: (server.address() as AddressInfo).port});
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  targetPort: number,
  fault: Fault | undefined,
): Promise<void> {
  if (fault?.kind === 'silence') return;
  if (fault?.kind === 'answer') {
    response.writeHead(fault.status, fault.headers).end(fault.body ?? '');
    return;
  }
  if (fault?.kind === 'before') await fault.run();
  const {range, ...others} = request.headers;
  const inner = fault?.kind === 'ignore-range' ? fault.fault : fault;
  const headers = fault?.kind === 'ignore-range' ? others : request.headers;
  const upstream = await new Promise<IncomingMessage>((resolve, reject) => {
    http
      .get({host: '127.0.0.1', port: targetPort, path: request.url, headers, agent: false}, resolve)
      .once('error', reject);
  });
  const body: Buffer[] = [];
  for await (const chunk of upstream) body.push(chunk);
  const bytes = Buffer.concat(body);
  response.writeHead(upstream.statusCode ?? 502, {...upstream.headers, 'content-length': bytes.length});
  await answer(response, bytes, inner);
}

async function answer(response: ServerResponse, bytes: Buffer, fault: Fault | undefined): Promise<void> {
  const write = (part: Buffer): Promise<void> =>
    new Promise(resolve => response.write(part, () => resolve()));
  switch (fault?.kind) {
    case 'reset':
      await write(bytes.subarray(0, fault.atByte));
      response.socket?.resetAndDestroy();
      return;
    case 'truncate':
      await write(bytes.subarray(0, fault.atByte));
      response.socket?.end();
      return;
    case 'stall': {
      await write(bytes.subarray(0, fault.atByte));
      for (let at = fault.atByte; fault.trickleMs !== undefined && at < bytes.length; at++) {
        if (response.destroyed) return;
        await new Promise(resolve => setTimeout(resolve, fault.trickleMs));
        await write(bytes.subarray(at, at + 1));
      }
      return;
    }
    case 'corrupt': {
      const changed = Buffer.from(bytes);
      changed[fault.atByte] = (changed[fault.atByte] ?? 0) ^ 1;
      response.end(changed);
      return;
    }
    default:
      response.end(bytes);
  }
}
