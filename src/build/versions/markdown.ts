import {compareVersions, formatVersion} from '../../base/version.ts';
import {LABS_ONLY_FEATURES} from './dockerfile-features.ts';
import {type EntryKind, NEWEST, OLDEST, type TableEntry} from './entry.ts';
import {TABLE} from './table.ts';

/** What a chapter of the page says before its table. */
const CHAPTERS: Readonly<Record<EntryKind, readonly [title: string, text: string]>> = {
  'dockerfile-feature': [
    'Dockerfiles',
    'What the built-in frontend `dockerfile.v0` of a plain release understands. A `# syntax=` line brings a frontend of its own, which may understand more.',
  ],
  exporter: ['Outputs', 'Types that `outputs` may name.'],
  'exporter-option': [
    'Options of outputs',
    'Releases ignore options that they do not know without a word. *Error*: a build that asks for it on an older release is stopped before the boot. *Warning*: it is left out and said so.',
  ],
  'cache-type': [
    'Caches',
    'Types of `cache-to` (an error where missing) and `cache-from` (left out with a warning).',
  ],
  'cache-option': ['Options of caches', ''],
  'frontend-option': [
    'Options of the Dockerfile frontend',
    'Keys of `--opt` (`--frontend-opt` in v0.3.x). A key that the frontend does not know is never an error to it, in any release.',
  ],
  entitlement: ['Entitlements', 'Values of `allow`; the daemon has to grant them as well.'],
  'context-form': ['Remote contexts', ''],
  'buildctl-flag': ['Flags of buildctl', ''],
  'buildctl-subcommand': ['Subcommands of buildctl', ''],
  'address-scheme': ['Addresses', ''],
  'buildkitd-flag': [
    'Flags of buildkitd',
    'No release starts with a flag that it does not know. *Error*: `buildkitd-flags` with it stops the job. *Warning*: the flag is left out and said so.',
  ],
  'toml-key': [
    'Keys of buildkitd.toml',
    'A daemon skips keys that it does not know without a word. `*` stands for any name.',
  ],
};

/** Chapters as they come on the page: what most users ask for first. */
export const ORDER: readonly EntryKind[] = [
  'dockerfile-feature',
  'exporter',
  'exporter-option',
  'cache-type',
  'cache-option',
  'frontend-option',
  'entitlement',
  'context-form',
  'buildctl-flag',
  'buildctl-subcommand',
  'address-scheme',
  'buildkitd-flag',
  'toml-key',
];

/** Kinds whose absence is decided before the boot, where the release is known: they have a column that says how. */
const DECIDED: readonly EntryKind[] = [
  'exporter-option',
  'cache-option',
  'frontend-option',
  'buildkitd-flag',
];

/** `docs/versions.md`: what works from which release, as Markdown. */
export function versionsPage(): string {
  return `${[
    '# What works from which BuildKit',
    '',
    '<!-- Made from the version table by `node scripts/docs-versions.mjs`; edits here are lost. -->',
    '',
    `Final releases from ${formatVersion(OLDEST)} to ${formatVersion(NEWEST)}. A pre-release counts as the release it leads to. *Last* is empty for what no release has dropped.`,
    'A BuildKit that is no release (a commit, a fork) is placed by what its `--help` lists; what that leaves open is passed to it with a warning.',
    '',
    ...ORDER.flatMap(chapter),
    ...news(),
  ].join('\n')}\n`;
}

function chapter(kind: EntryKind): readonly string[] {
  const [title, text] = CHAPTERS[kind];
  const entries = TABLE.filter(entry => entry.kind === kind).sort((a, b) =>
    compareVersions(a.first, b.first),
  );
  const decided = DECIDED.includes(kind);
  const head = ['', 'First', 'Last', ...(decided ? ['Where missing'] : []), 'Remarks'];
  const rows = entries.map(entry => [
    `${code(entry.name)}${place(entry)}`,
    formatVersion(entry.first),
    entry.last ? formatVersion(entry.last) : '',
    ...(decided ? [entry.whenMissing] : []),
    cell(entry.remarks),
  ]);
  return [
    `## ${title}`,
    '',
    ...(text === '' ? [] : [text, '']),
    row(head),
    row(head.map(() => '---')),
    ...rows.map(row),
    '',
    ...(kind === 'dockerfile-feature' ? labs() : []),
  ];
}

/** Where a flag or subcommand belongs, or which outputs read an option. */
function place({kind, page, exporters, name}: TableEntry): string {
  if (kind === 'buildctl-flag' && !name.includes(' ') && page && page !== 'build') {
    return page === 'buildctl' ? ' (global)' : ` (${page})`;
  }
  if (kind === 'buildctl-subcommand' && page === 'debug') return ' (debug)';
  return exporters ? ` (${exporters.join(', ')})` : '';
}

function labs(): readonly string[] {
  const names = LABS_ONLY_FEATURES.map(({name}) => code(name)).join(', ');
  return [
    `No built-in frontend so far understands ${names}: only the external \`docker/dockerfile:…-labs\` does.`,
    '',
  ];
}

/** The same facts by release. */
function news(): readonly string[] {
  const releases = new Map<string, string[]>();
  for (const entry of TABLE.toSorted((a, b) => compareVersions(a.first, b.first))) {
    const release = formatVersion(entry.first);
    releases.set(release, [...(releases.get(release) ?? []), code(entry.name)]);
  }
  releases.delete(formatVersion(OLDEST));
  const lines = [...releases].map(
    ([release, names]) => `- **${release}**: ${[...new Set(names)].join(', ')}`,
  );
  return ['## New in each release', '', ...lines];
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

/** Code in a table cell: a bar would end the cell (GitHub Flavored Markdown, 4.10). */
function code(text: string): string {
  return `\`${cell(text)}\``;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
