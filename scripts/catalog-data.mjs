// src/plan/catalog.yml → src/plan/catalog-data.ts: the program needs no YAML reader at run time, and tsc checks the shape.
import {execFileSync} from 'node:child_process';
import {readFileSync, writeFileSync} from 'node:fs';
import {parse} from 'yaml';

const head = `// Made from catalog.yml by "npm run catalog"; change that file.

/** One published archive. The fields are explained in catalog.yml. */
export interface CatalogEntry {
  readonly name: string;
  readonly buildkit: string;
  readonly commit?: string;
  readonly runc?: string;
  readonly reports?: string;
  readonly revisions: readonly string[];
  readonly port?: number;
  readonly debugger?: number;
  readonly digests?: {readonly [revision: string]: {readonly [source: string]: string}};
}

`;

/** Writes the module for a catalogue file, formatted as the rest of the source. */
export function writeCatalogData(ymlPath, tsPath) {
  const {archives} = parse(readFileSync(ymlPath, 'utf8'));
  writeFileSync(
    tsPath,
    `${head}export const CATALOG: readonly CatalogEntry[] = ${JSON.stringify(archives, null, 2)};\n`,
  );
  const biome = new URL('../node_modules/@biomejs/biome/bin/biome', import.meta.url).pathname;
  execFileSync(process.execPath, [biome, 'check', '--write', '--vcs-enabled=false', tsPath], {
    stdio: 'pipe',
  });
}
