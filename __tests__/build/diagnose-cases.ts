import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import type {FailureKind} from '../../src/base/result.ts';
import type {BuildTrace} from '../../src/base/trace.ts';
import {isAtLeast, type Version, version} from '../../src/base/version.ts';
import {createProgressReader, mergeTrace, type ProgressForm} from '../../src/progress/reader.ts';

export const fixtures = join(import.meta.dirname, '../fixtures/diagnose');
/** All recordings, on a machine that has them. */
export const allRecordings = join(import.meta.dirname, '../../../shared/recordings');

/** A failed build: what it was given and what it printed. */
export interface Case {
  readonly release: string;
  readonly scenario: string;
  readonly dockerfile: string | undefined;
  readonly dockerfileName: string;
  readonly stdout: Uint8Array | string;
  readonly stderr: Uint8Array | string;
  readonly rawjson: Uint8Array | undefined;
}

/** What the answer has to be. Lines are `[start, end]`; a step is told by its name. */
export interface Expected {
  readonly kind: FailureKind;
  readonly lines?: readonly [number, number];
  readonly step?: RegExp;
  readonly worksFrom?: string;
}

export function readForm(form: ProgressForm, input: Uint8Array | string): BuildTrace {
  const reader = createProgressReader({form});
  reader.write(input);
  reader.end();
  return reader.trace();
}

/** Up to v0.4.0 the progress is on stdout and the error on stderr; later all is on stderr. */
export function traceOf({stdout, stderr}: Pick<Case, 'stdout' | 'stderr'>): BuildTrace {
  return mergeTrace(readForm('plain', stdout), readForm('plain', stderr));
}

export function packedCases(): Case[] {
  const files = readdirSync(fixtures).filter(name => name.endsWith('.json'));
  return files.flatMap(file => {
    const packed = JSON.parse(readFileSync(join(fixtures, file), 'utf8')) as Record<string, Packed>;
    return Object.entries(packed).map(([scenario, {name, dockerfile, stdout, stderr}]) => ({
      release: file.replace(/\.json$/, ''),
      scenario,
      dockerfile,
      dockerfileName: name ?? 'Dockerfile',
      stdout,
      stderr,
      rawjson: undefined,
    }));
  });
}

interface Packed {
  readonly exit: number;
  readonly name?: string;
  readonly dockerfile?: string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Every failed build of the recordings; none where the folder is missing. */
export function recordedCases(): Case[] {
  return recordedBuilds().filter(({failed}) => failed);
}

export function recordedBuilds(): (Case & {readonly failed: boolean})[] {
  return releases().flatMap(release =>
    readdirSync(join(allRecordings, release)).flatMap(scenario => {
      const folder = join(allRecordings, release, scenario);
      const file = (name: string): Buffer | undefined =>
        existsSync(join(folder, name)) ? readFileSync(join(folder, name)) : undefined;
      const exit = file('exit.txt');
      const stderr = file('stderr.txt');
      if (!exit || !stderr) return [];
      const dockerfileName = /filename=(\S+)/.exec(String(file('cmd.txt')))?.[1] ?? 'Dockerfile';
      return {
        release,
        scenario,
        dockerfileName,
        dockerfile: file(`ctx/${dockerfileName}`)?.toString(),
        stdout: file('stdout.txt') ?? '',
        stderr,
        rawjson: Number(file('exit-rawjson.txt') ?? 0) === 0 ? undefined : file('rawjson.txt'),
        failed: Number(exit) !== 0,
      };
    }),
  );
}

export function releases(): string[] {
  if (!existsSync(allRecordings)) return [];
  return readdirSync(allRecordings)
    .filter(name => /^v\d/.test(name))
    .sort((a, b) => Number(a.split('.')[1]) - Number(b.split('.')[1]));
}

/** A feature that works from `first` on: before that the parser refuses the line and no step has run. */
function since(first: string, lines: readonly [number, number], later: Expected) {
  return (release: Version): Expected =>
    isAtLeast(release, version(first)) ? later : {kind: 'unsupported-feature', lines, worksFrom: first};
}

/** The scenario passes from that release on. */
const passes: Expected = {kind: 'infra'};

/** The right answer for each failing scenario, by release where it differs. */
export const EXPECTED: Readonly<Record<string, Expected | ((release: Version) => Expected)>> = {
  'add-checksum': since('v0.12.0', [2, 2], passes),
  'add-checksum-mismatch': since('v0.12.0', [2, 2], {kind: 'dockerfile', lines: [2, 2], step: /hello\.txt/}),
  'add-http-404': {kind: 'missing-file', lines: [2, 2], step: /nope\.txt/},
  'base-image-mirror': {kind: 'registry', lines: [1, 1], step: /load metadata for registry\.example/},
  'base-image-no-dns': {kind: 'network', lines: [1, 1], step: /load metadata for registry2\.example/},
  'base-image-notfound': {kind: 'registry', lines: [1, 1], step: /load metadata for .*nope/},
  'base-image-refused': {kind: 'network', lines: [1, 1], step: /load metadata for 127/},
  'cache-import-notfound': {kind: 'registry', step: /^importing cache manifest/},
  'cancel-sigint': {kind: 'canceled', lines: [4, 4], step: /\[3\/3\] RUN echo sleeping/},
  'cancel-sigterm': {kind: 'canceled', lines: [4, 4], step: /\[3\/3\] RUN echo sleeping/},
  'context-missing': {kind: 'missing-file'},
  'copy-link': since('v0.10.0', [4, 4], passes),
  'daemon-killed': {kind: 'daemon', lines: [4, 4], step: /\[3\/3\] RUN echo waiting/},
  'daemon-not-running': {kind: 'daemon'},
  'daemon-not-running-tcp': {kind: 'daemon'},
  'dockerfile-empty': {kind: 'dockerfile'},
  'dockerfile-missing': {kind: 'missing-file'},
  'filename-missing': {kind: 'missing-file'},
  'frontend-notfound': {kind: 'registry', lines: [1, 1], step: /^resolve image config/},
  heredoc: since('v0.10.0', [4, 7], passes),
  'heredoc-fail': since('v0.10.0', [4, 9], {kind: 'run-failed', lines: [4, 9], step: /\[3\/3\] RUN <<EOF/}),
  'missing-copy': {kind: 'missing-file', lines: [3, 3], step: /\[2\/2\] COPY nonexistent/},
  'missing-copy-from': {kind: 'missing-file', lines: [4, 4], step: /\[stage-1 1\/1\] COPY --from=a/},
  'mount-cache': since('v0.8.0', [4, 4], passes),
  'mount-secret': since('v0.8.0', [4, 4], passes),
  'mount-secret-missing': since('v0.8.0', [4, 4], {
    kind: 'missing-file',
    lines: [4, 4],
    step: /3\/3\] RUN --mount/,
  }),
  'mount-ssh': since('v0.8.0', [4, 4], passes),
  'mount-ssh-no-agent': {kind: 'infra'},
  'mount-ssh-not-forwarded': since('v0.8.0', [4, 4], {
    kind: 'missing-file',
    lines: [4, 4],
    step: /3\/3\] RUN --mount/,
  }),
  'multi-platform': {kind: 'unsupported-feature', worksFrom: 'v0.8.0'},
  'network-host-denied': since('v0.9.0', [4, 4], {kind: 'dockerfile', lines: [4, 4]}),
  'output-tar': {kind: 'unsupported-feature', worksFrom: 'v0.5.0'},
  'parallel-fail': {kind: 'run-failed', lines: [7, 7], step: /^\[bad 1\/1\]/},
  'run-exec-notfound': {kind: 'run-failed', lines: [4, 4], step: /\[3\/3\] RUN \[/},
  'run-fail': {kind: 'run-failed', lines: [5, 7], step: /\[4\/5\] RUN/},
  'run-fail-debug': {kind: 'run-failed', lines: [4, 4], step: /\[3\/3\] RUN/},
  'run-fail-many-lines': {kind: 'run-failed', lines: [4, 4], step: /\[3\/3\] RUN/},
  'run-killed': {kind: 'run-failed', lines: [4, 4], step: /\[3\/3\] RUN/},
  'run-notfound': {kind: 'run-failed', lines: [4, 4], step: /\[3\/3\] RUN no-such/},
  'security-insecure-denied': since('v0.26.0', [4, 4], {kind: 'dockerfile', lines: [4, 4]}),
  'syntax-error': {kind: 'dockerfile', lines: [3, 3]},
  'syntax-error-args': {kind: 'dockerfile', lines: [2, 2]},
  'syntax-error-flag': {kind: 'dockerfile', lines: [2, 2]},
  'syntax-error-json': {kind: 'dockerfile', lines: [2, 2]},
  'target-missing': {kind: 'dockerfile'},
  'trace-run-fail': {kind: 'run-failed', lines: [5, 7], step: /\[4\/5\] RUN/},
  'warnings-call-check': {kind: 'unsupported-feature', worksFrom: 'v0.14.0'},
  'warnings-check-error': {kind: 'dockerfile', lines: [2, 2]},
};

/** Builds that are in no recording, captured with releases that are not among them either. */
const MORE: typeof EXPECTED = {
  'add-http': {kind: 'infra'},
  'add-cut': {kind: 'network', lines: [2, 2], step: /cut\.tgz/},
  'add-git-nf': {kind: 'missing-file', lines: [2, 2], step: /nope\.git/},
  'arg-from-unset': {kind: 'dockerfile', lines: [2, 2]},
  'bad-exp-opt': {kind: 'infra', step: /^exporting to image/},
  'bad-platform-opt': {kind: 'infra'},
  'cacheexp-denied': {kind: 'registry', step: /^exporting cache/},
  'copy-chown-nouser': {kind: 'dockerfile', lines: [4, 4], step: /COPY --chown/},
  'copy-dir-over-file': {kind: 'dockerfile', lines: [5, 5], step: /COPY busybox/},
  'copy-from-index': {kind: 'dockerfile', lines: [4, 4]},
  'copy-from-near-stage': {kind: 'network', lines: [5, 5], step: /library\/bulider/},
  'copy-from-self': {kind: 'dockerfile', lines: [4, 4]},
  'copy-outside': {kind: 'missing-file', lines: [4, 4], step: /COPY \.\.\/secret/},
  cycle: {kind: 'network', lines: [1, 1], step: /library\/b:latest/},
  'dockerfile-is-dir': {kind: 'missing-file'},
  'env-bad': {kind: 'dockerfile', lines: [2, 2]},
  'exec-format': {kind: 'run-failed', lines: [3, 3], step: /RUN \["\/bin\/prog"\]/},
  'expose-bad': {kind: 'dockerfile', lines: [3, 3]},
  'flag-unknown-copy': {kind: 'dockerfile', lines: [2, 2]},
  'flag-unknown-run': {kind: 'dockerfile', lines: [4, 4]},
  'from-3args': {kind: 'dockerfile', lines: [1, 1]},
  'from-429': {kind: 'registry', lines: [1, 1], step: /load metadata/},
  'from-bad-manifest': {kind: 'registry', lines: [1, 1], step: /load metadata/},
  'git-context-nf': {kind: 'missing-file', step: /load git source/},
  'heredoc-mid': since('v0.10.0', [4, 9], {kind: 'run-failed', lines: [4, 9], step: /RUN <<EOF/}),
  'instr-cont': {kind: 'dockerfile', lines: [5, 5]},
  'mount-bad-key': {kind: 'dockerfile', lines: [4, 4]},
  'mount-bad-type': {kind: 'dockerfile', lines: [4, 4]},
  'nested-stages': {kind: 'run-failed', lines: [8, 10], step: /^\[tool 2\/2\]/},
  // From v0.17.0 on BuildKit marks the FROM that brings it in.
  'onbuild-fail': release => ({
    kind: 'run-failed',
    lines: isAtLeast(release, version('v0.17.0')) ? [5, 5] : [4, 4],
    step: /RUN echo triggered/,
  }),
  'onbuild-missing': {kind: 'missing-file', lines: [4, 4], step: /COPY package\.json/},
  parents: since('v0.26.0', [4, 4], passes),
  'push-denied': {kind: 'registry', step: /^exporting to image/},
  'secret-empty-read': {kind: 'run-failed', lines: [4, 4], step: /RUN --mount/},
  'secret-required': {kind: 'missing-file', lines: [4, 4], step: /RUN --mount/},
  'shell-missing': {kind: 'run-failed', lines: [3, 3], step: /RUN echo hi/},
  'user-missing': {kind: 'run-failed', lines: [5, 5], step: /RUN id/},
  'var-bad': {kind: 'dockerfile', lines: [2, 2]},
  'workdir-file': {kind: 'dockerfile', lines: [5, 5], step: /WORKDIR \/f/},
};

export function expectedFor(scenario: string, release: string): Expected {
  const entry = EXPECTED[scenario] ?? MORE[scenario];
  if (!entry) throw new Error(`no expected answer for ${scenario}`);
  return typeof entry === 'function' ? entry(version(release)) : entry;
}
