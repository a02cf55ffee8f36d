import {UserError} from '../base/errors.ts';
import type {KeyValue, OutputSpec} from '../base/request.ts';
import {compareVersions, formatVersion} from '../base/version.ts';
import type {TableEntry} from './versions/entry.ts';
import {releaseName} from './versions/help.ts';
import {entryOf, knowledge, type Release} from './versions/table.ts';

/** Where a build's files lie in the VM, as far as buildctl has to be told. */
export interface GuestLayout {
  readonly context: string;
  readonly dockerfile: string;
  readonly trace: string;
  readonly metadata: string;
  /** Where the n-th result with a `dest` goes. */
  readonly output: (index: number) => string;
  readonly secret: (id: string) => string;
}

/** Collects arguments for one release; asks the version table before each. */
export class ArgList {
  readonly argv: string[] = ['buildctl', 'build', '--progress=plain', '--frontend=dockerfile.v0'];
  readonly warnings: string[] = [];
  readonly release: Release;

  constructor(release: Release) {
    this.release = release;
  }

  /** True when the release is sure to know `id`. */
  knows(id: string): boolean {
    return knowledge(this.release, entryOf(id)) === 'yes';
  }

  /**
   * True when the release knows `id`. When it does not: throws where leaving it out would change the result, warns where it only adds. Where
   * nobody can tell (a fork whose help texts do not say) it is passed, with a warning.
   * @param whenMissing in place of the table's verdict, where the input's use decides.
   * @throws UserError naming input, value, release, and the first release that can.
   */
  allows(
    id: string,
    input: string,
    value: string,
    whenMissing: TableEntry['whenMissing'] = entryOf(id).whenMissing,
  ): boolean {
    const entry = entryOf(id);
    const known = knowledge(this.release, entry);
    if (known === 'yes') return true;
    const name = releaseName(this.release);
    const bound = this.#bound(entry);
    if (known === 'unknown') {
      this.warnings.push(`${input}: ${name} may not know ${JSON.stringify(value)}; ${bound}`);
      return true;
    }
    const message = `${input}: ${name} cannot do ${JSON.stringify(value)}; ${bound}`;
    if (whenMissing === 'error') {
      throw new UserError(message, {
        input,
        stage: 'plan',
        hint: `take an archive of another BuildKit (${bound}), or leave ${input} out`,
      });
    }
    this.warnings.push(`${message}; it is left out`);
    return false;
  }

  /**
   * For what is passed in any case: warns when the release does not act on it; throws where that changes the result.
   * @throws UserError like `allows`.
   */
  reads(entry: TableEntry, input: string, value: string): void {
    if (knowledge(this.release, entry) === 'no' && entry.whenMissing === 'warning') {
      const name = releaseName(this.release);
      this.warnings.push(`${input}: ${name} may ignore or refuse ${value}; ${this.#bound(entry)}`);
    } else {
      this.allows(entry.id, input, value);
    }
  }

  #bound({first, last}: TableEntry): string {
    const at = 'flags' in this.release ? this.release.first : this.release;
    return last && compareVersions(at, last) > 0
      ? `${formatVersion(last)} is the last that can`
      : `${formatVersion(first)} is the first that can`;
  }

  add(...words: readonly string[]): void {
    this.argv.push(...words);
  }

  /** An option of the Dockerfile frontend. */
  opt(key: string, value: string): void {
    this.add(this.knows('build --opt') ? '--opt' : '--frontend-opt', `${key}=${value}`);
  }
}

/** `KEY=VALUE`. */
export function pair({key, value}: KeyValue): string {
  return `${key}=${value}`;
}

/** One line of CSV as Go's encoding/csv reads it: a field with a comma, a quote or a line break stands in quotes. */
export function csvLine(fields: readonly string[]): string {
  return fields
    .map(field => (/[",\r\n]|^\s/.test(field) ? `"${field.replaceAll('"', '""')}"` : field))
    .join(',');
}

/**
 * Fields of one line of CSV as Go's encoding/csv splits it.
 * @returns undefined where Go gives an error: a quote inside a bare field, or none at the end of a quoted one.
 */
export function csvFields(line: string): readonly string[] | undefined {
  const fields = [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^",]*))(?=,|$)/g)];
  const read = fields.reduce((length, [text]) => length + text.length, 0);
  if (read !== line.length) return undefined;
  return fields.map(([, quoted, bare]) => quoted?.replaceAll('""', '"') ?? bare ?? '');
}

/** The value of a result's attribute, the last one when there are several. */
export function attribute(output: OutputSpec, key: string): string | undefined {
  return output.attrs.findLast(attr => attr.key === key)?.value;
}
