import {readdirSync, readFileSync, statSync} from 'node:fs';
import {dirname, join, normalize} from 'node:path';
import {describe, expect, test} from '@jest/globals';

/** What each room may import: other rooms, and what is not ours. The reasons stand in docs/architecture.md. */
const RULES: Readonly<Record<string, {rooms: readonly string[]; foreign: readonly string[]}>> = {
  base: {rooms: [], foreign: []},
  plan: {rooms: ['base'], foreign: ['csv-parse/sync', 'shlex']},
  progress: {rooms: ['base'], foreign: []},
  report: {rooms: ['base'], foreign: []},
  archive: {rooms: ['base'], foreign: []},
  disk: {rooms: ['base'], foreign: []},
  vm: {rooms: ['base', 'disk'], foreign: []},
  build: {rooms: ['base', 'progress'], foreign: ['node:path', 'smol-toml']},
  host: {
    rooms: ['base'],
    foreign: [
      'node:',
      'ssh2',
      '@actions/exec',
      'tar-stream',
      'fzstd',
      'http-proxy-agent',
      'https-proxy-agent',
      'proxy-from-env',
    ],
  },
  forge: {rooms: ['base', 'host'], foreign: ['node:']},
  'job.ts': {rooms: ['base', 'plan', 'vm', 'build', 'machine.ts', 'warm-start.ts', 'derive.ts'], foreign: []},
  'derive.ts': {rooms: ['base', 'archive', 'build'], foreign: []},
  'machine.ts': {
    rooms: ['base', 'plan', 'archive', 'vm', 'warm-start.ts', 'boot-lessons.ts'],
    foreign: [],
  },
  'boot-lessons.ts': {rooms: ['base', 'archive', 'vm', 'warm-start.ts'], foreign: []},
  'warm-start.ts': {rooms: ['base', 'archive', 'vm'], foreign: []},
  actions: {
    rooms: ['base', 'plan', 'archive', 'host', 'report', 'job.ts'],
    foreign: ['node:', '@actions/core'],
  },
  cli: {
    rooms: [
      'base',
      'plan',
      'archive',
      'build',
      'progress',
      'host',
      'report',
      'forge',
      'job.ts',
      'machine.ts',
      'derive.ts',
      'warm-start.ts',
    ],
    foreign: ['node:'],
  },
};

interface Import {
  readonly file: string;
  readonly target: string;
  readonly typeOnly: boolean;
}

function sources(dir: string): string[] {
  return readdirSync(dir).flatMap(name => {
    const path = join(dir, name);
    return statSync(path).isDirectory() ? sources(path) : path.endsWith('.ts') ? [path] : [];
  });
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, 'utf8');
  return [
    ...text.matchAll(/^(?:import|export)\s+(type\s+)?[^'"]*?from\s+'([^']+)'|^import\s+'([^']+)'/gm),
  ].map(match => ({
    file,
    target: match[2] ?? match[3] ?? '',
    typeOnly: match[1] !== undefined,
  }));
}

/** `vm` for src/vm/x.ts, `job.ts` for src/job.ts. */
const roomOf = (path: string): string => normalize(path).split('/')[1] ?? '';

const files = sources('src');
const imports = files.flatMap(importsOf);

test('there is a rule for every room, and a room for every rule', () => {
  expect([...new Set(files.map(roomOf))].sort()).toEqual(Object.keys(RULES).sort());
});

test('the reader of imports finds them', () => {
  expect(imports.length).toBeGreaterThan(files.length);
});

describe.each(Object.keys(RULES))('%s', room => {
  const own = imports.filter(({file}) => roomOf(file) === room);

  test('imports only the rooms it may', () => {
    const wrong = own.filter(({file, target}) => {
      if (!target.startsWith('.')) return false;
      const other = roomOf(join(dirname(file), target));
      return other !== room && !RULES[room]?.rooms.includes(other);
    });
    expect(wrong).toEqual([]);
  });

  test('imports nothing foreign but what it may', () => {
    const wrong = own.filter(
      ({target, typeOnly}) =>
        !target.startsWith('.') &&
        // Types of Node's streams are part of the ports.
        !(typeOnly && target === 'node:stream') &&
        !RULES[room]?.foreign.some(
          name => target === name || (name.endsWith(':') && target.startsWith(name)),
        ),
    );
    expect(wrong).toEqual([]);
  });
});

test('nothing in the core looks at the environment or prints', () => {
  const core = files.filter(file => !['actions', 'cli', 'host', 'forge'].includes(roomOf(file)));
  const wrong = core.filter(file =>
    /(?<![./\w])(?:process\.(?:env|stdout|stderr|argv|exit)\b|console\.)/.test(readFileSync(file, 'utf8')),
  );
  expect(wrong).toEqual([]);
});

test('no file is over 300 lines', () => {
  const long = files.filter(
    file => !file.endsWith('catalog-data.ts') && readFileSync(file, 'utf8').split('\n').length > 300,
  );
  expect(long).toEqual([]);
});
