import type {BuildRequest, KeyValue, OutputSpec} from '../base/request.ts';
import {type ArgList, attribute, csvLine, type GuestLayout, pair} from './arg-list.ts';
import {findEntry} from './versions/table.ts';

const NAMED_TYPES: readonly string[] = ['image', 'oci', 'docker'];

/** Adds where results go: `--output` from v0.4.0, `--exporter` and `--exporter-opt` before. */
export function exporterArgs(args: ArgList, request: BuildRequest, layout: GuestLayout): void {
  const {outputs, tags} = request;
  if (outputs.length > 1) args.allows('build --output several', 'outputs', `${outputs.length} outputs`);
  if (tags.length > 0 && !outputs.some(output => NAMED_TYPES.includes(output.type))) {
    args.warnings.push('tags: no output of type image, oci or docker could carry them; they are left out');
  }
  if (outputs.some(output => NAMED_TYPES.includes(output.type)) && !args.knows('build --metadata-file')) {
    args.warnings.push('this BuildKit has no --metadata-file: the digest is read from the log');
  }
  let index = 0;
  for (const output of outputs) {
    const dest = output.dest === undefined ? undefined : layout.output(index++);
    addExporter(args, output, dest, tags);
  }
}

function addExporter(
  args: ArgList,
  output: OutputSpec,
  dest: string | undefined,
  tags: readonly string[],
): void {
  args.allows(`exporter ${output.type}`, 'outputs', `type=${output.type}`);
  const attrs = namedAttrs(output, tags).filter(attr => knownOption(args, output.type, attr));
  if (args.knows('build --output')) {
    const fields = [
      `type=${output.type}`,
      ...(dest === undefined ? [] : [`dest=${dest}`]),
      ...attrs.map(pair),
    ];
    args.add('--output', csvLine(fields));
    return;
  }
  args.add('--exporter', output.type);
  if (dest !== undefined) args.add('--exporter-opt', `output=${dest}`);
  for (const attr of attrs) args.add('--exporter-opt', pair(attr));
}

/** `tags` name the image where the output does not do it itself. */
function namedAttrs(output: OutputSpec, tags: readonly string[]): readonly KeyValue[] {
  if (tags.length === 0 || !NAMED_TYPES.includes(output.type) || attribute(output, 'name') !== undefined)
    return output.attrs;
  return [{key: 'name', value: tags.join(',')}, ...output.attrs];
}

/** Releases skip options that they do not know without a word, so the table has to speak; what it does not know either is passed on. */
function knownOption(args: ArgList, type: string, {key, value}: KeyValue): boolean {
  const entry = optionIds(type, key, value).map(findEntry).find(Boolean);
  if (!entry)
    args.warnings.push(`outputs: no release of BuildKit knows ${JSON.stringify(key)}; it is passed on`);
  if (!entry || (entry.exporters && !entry.exporters.includes(type))) return true;
  return args.allows(entry.id, 'outputs', `type=${type},${key}=${value}`);
}

/** Entries that may speak for an option, the closest first: that of its value decides alone. */
function optionIds(type: string, key: string, value: string): readonly string[] {
  const ids = [`${key}=${value}`, /^annotation[-.[]/.test(key) ? 'annotation' : key];
  if (key === 'name') {
    if (type === 'oci') ids.unshift('name of type=oci');
    if (type === 'docker' && value.includes(',')) ids.unshift('several names of type=docker');
  }
  return ids.map(id => `exporter-option ${id}`);
}
