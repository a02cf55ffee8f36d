import {parse} from 'csv-parse/sync';
import {UserError} from '../base/errors.ts';
import {nearest} from '../base/nearest.ts';
import {type KeyValue, OUTPUT_ATTRIBUTES, OUTPUT_TYPES, type OutputSpec} from '../base/request.ts';
import {bad} from './values.ts';

/**
 * One `outputs` item as buildx reads it: CSV fields `key=value` (`type=local,dest=out`), or a bare path for `type=local`.
 * `type=registry` is an image that is pushed; `type=cacheonly` asks for no result and gives none.
 * @throws UserError for a type that is not a buildctl exporter, a missing `dest`, `-`, or a key that is nearly one that is known: BuildKit skips it without a word.
 */
export function parseOutput(item: string): readonly OutputSpec[] {
  if (item === '-') throw stdoutRefused(item);
  const fields = csvFields(item);
  if (fields.length === 1 && !item.includes('=')) return [{type: 'local', dest: item, attrs: []}];
  const all = fields.map(field => {
    const at = field.indexOf('=');
    if (at <= 0) throw bad('outputs', item, 'type=TYPE,dest=PATH[,KEY=VALUE…] or a path');
    return {key: field.slice(0, at).trim().toLowerCase(), value: field.slice(at + 1).trim()};
  });
  const named = attribute(all, 'type');
  if (named === 'cacheonly') return [];
  const type = OUTPUT_TYPES.find(known => known === (named === 'registry' ? 'image' : named));
  if (type === undefined) {
    throw bad('outputs', item, `type=${OUTPUT_TYPES.join(', ')}, registry or cacheonly`);
  }
  for (const {key} of all) refuseTypo(item, key);
  const dest = attribute(all, 'dest');
  if (dest === '-') throw stdoutRefused(item);
  const attrs = all.filter(({key}) => key !== 'type' && key !== 'dest');
  if (type === 'image') {
    if (dest !== undefined) {
      throw bad(
        'outputs',
        item,
        'type=image without dest (the image stays in the VM); for a file take type=oci',
      );
    }
    return [{type, attrs: named === 'registry' ? [...attrs, {key: 'push', value: 'true'}] : attrs}];
  }
  if (!dest)
    throw bad('outputs', item, `type=${type},dest=PATH: the result has to go somewhere on the runner`);
  return [{type, dest, attrs}];
}

function refuseTypo(item: string, key: string): void {
  const known: readonly string[] = ['type', 'dest', ...OUTPUT_ATTRIBUTES];
  if (known.includes(key) || /^annotation[-.[]/.test(key)) return;
  const near = nearest(key, known);
  if (near === undefined) return;
  throw new UserError(
    `outputs: ${JSON.stringify(key)} of ${JSON.stringify(item)} is no attribute that a BuildKit knows`,
    {
      input: 'outputs',
      stage: 'inputs',
      hint: `did you mean "${near}"? All are: ${known.join(', ')}`,
    },
  );
}

function csvFields(item: string): string[] {
  try {
    return (parse(item, {columns: false, relaxQuotes: true, relaxColumnCount: true}) as string[][])[0] ?? [];
  } catch {
    throw bad('outputs', item, 'comma-separated KEY=VALUE fields, a field with a comma in double quotes');
  }
}

function attribute(attrs: readonly KeyValue[], key: string): string | undefined {
  return attrs.find(attr => attr.key === key)?.value;
}

function stdoutRefused(item: string): UserError {
  return bad('outputs', item, 'a path; standard output carries the log');
}
