import {createHash} from 'node:crypto';
import {Readable} from 'node:stream';
import type {Credentials, RegistryTools} from '../base/http.ts';
import {createHttp} from './http.ts';

/** What reading from registries takes of this machine, for real. */
export function localRegistryTools(credentials: Credentials): RegistryTools {
  return {
    http: createHttp(),
    credentials,
    createHash: algorithm => {
      const hash = createHash(algorithm);
      return {update: bytes => void hash.update(bytes), hex: () => hash.digest('hex')};
    },
    toStream: chunksToStream,
    random: Math.random,
    nowEpochMs: Date.now,
  };
}

/** Unlike `Readable.from`, which waits for the next chunk before it lets go of the source. */
function chunksToStream(chunks: (closed: AbortSignal) => AsyncIterable<Buffer>): Readable {
  const closed = new AbortController();
  const iterator = chunks(closed.signal)[Symbol.asyncIterator]();
  return new Readable({
    read() {
      iterator.next().then(
        ({done, value}) => void this.push(done ? null : value),
        error => void this.destroy(error),
      );
    },
    destroy(error, done) {
      closed.abort();
      iterator.return?.().catch(() => undefined);
      done(error);
    },
  });
}
