import {UserError} from '../base/errors.ts';
import type {BuildRequest} from '../base/request.ts';
import {type ArgList, csvFields, csvLine} from './arg-list.ts';
import {findEntry} from './versions/table.ts';

interface CacheSpec {
  readonly type: string;
  readonly ref: string | undefined;
  readonly options: readonly (readonly [string, string])[];
}

/** Adds external caches: `type=…` from v0.4.0, a bare reference with `--export-cache-opt` before. */
export class CacheArgs {
  readonly #args: ArgList;

  constructor(args: ArgList) {
    this.#args = args;
  }

  add(request: BuildRequest): void {
    for (const text of request.cacheFrom) this.#cache('--import-cache', 'cache-from', text);
    if (request.cacheTo.length > 1) {
      this.#args.allows('build --export-cache several', 'cache-to', `${request.cacheTo.length} caches`);
    }
    for (const text of request.cacheTo) this.#cache('--export-cache', 'cache-to', text);
  }

  #cache(flag: '--import-cache' | '--export-cache', input: string, text: string): void {
    const args = this.#args;
    const spec = parseCache(input, text);
    if (flag === '--import-cache' && spec.type === 'inline') {
      throw refused(input, text, 'type=registry with the image that carries the inline cache');
    }
    // A build without a cache to import gives the same result, only later.
    const whenMissing = flag === '--import-cache' ? 'warning' : 'error';
    if (!args.allows(`cache-type ${spec.type}`, input, printable(text), whenMissing)) return;
    const options = spec.options.filter(([key]) => {
      const id = `cache-option ${key}`;
      return findEntry(id) === undefined || args.allows(id, input, printable(text));
    });
    if (args.knows(`build ${flag} type=`)) {
      const fields = [`type=${spec.type}`, ...(spec.ref === undefined ? [] : [`ref=${spec.ref}`])];
      args.add(flag, csvLine([...fields, ...options.map(([key, value]) => `${key}=${value}`)]));
      return;
    }
    args.add(flag, spec.ref ?? '');
    if (flag === '--export-cache') {
      for (const [key, value] of options) args.add('--export-cache-opt', `${key}=${value}`);
    }
  }
}

/** `type=registry,ref=NAME,mode=max`, or a bare reference. */
function parseCache(input: string, text: string): CacheSpec {
  if (!text.includes('=')) return {type: 'registry', ref: text, options: []};
  const pairs = (csvFields(text) ?? ['']).map(field => {
    const at = field.indexOf('=');
    if (at <= 0) throw refused(input, text, 'type=TYPE,KEY=VALUE… or an image reference');
    return [field.slice(0, at).trim().toLowerCase(), field.slice(at + 1).trim()] as const;
  });
  const value = (key: string): string | undefined => pairs.find(([name]) => name === key)?.[1];
  const type = value('type') ?? 'registry';
  if (findEntry(`cache-type ${type}`) === undefined)
    throw refused(input, text, 'the types registry, inline, gha, s3 and azblob');
  if (type === 'local')
    throw refused(input, text, 'a cache outside of the VM, which is thrown away with its folders');
  if (type === 'registry' && !value('ref')) throw refused(input, text, 'type=registry,ref=IMAGE');
  return {type, ref: value('ref'), options: pairs.filter(([key]) => key !== 'type' && key !== 'ref')};
}

function refused(input: string, text: string, allowed: string): UserError {
  return new UserError(`${input}: ${JSON.stringify(printable(text))} is not allowed; allowed: ${allowed}`, {
    input,
    stage: 'inputs',
    hint: `write for example ${input}: type=registry,ref=registry.example/cache:1`,
  });
}

/** Credentials of a cache (`secret_access_key`, `session_token`, `url_v2`'s token…) do not belong into a message. */
function printable(text: string): string {
  return text.replace(/([\w-]*(?:secret|token|password|key)[\w-]*=)[^,]*/gi, '$1***');
}
