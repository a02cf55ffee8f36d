import {readFileSync} from 'node:fs';
import {expect, test} from '@jest/globals';
import {ENTRY_KINDS} from '../../src/build/versions/entry.ts';
import {ORDER, versionsPage} from '../../src/build/versions/markdown.ts';
import {TABLE} from '../../src/build/versions/table.ts';

test('docs/versions.md is what the table says; if not: node scripts/docs-versions.mjs', () => {
  expect(readFileSync('docs/versions.md', 'utf8')).toBe(versionsPage());
});

test('every entry has its row', () => {
  expect([...ORDER].sort()).toEqual([...ENTRY_KINDS].sort());
  const rows = versionsPage()
    .split('\n')
    .filter(line => line.startsWith('| `'));
  expect(rows).toHaveLength(TABLE.length);
  const cells = rows.map(row => row.split(/(?<!\\)\|/).length);
  expect(new Set(cells)).toEqual(new Set([6, 7]));
});
