// Bundles src into dist/*.cjs, with one file of license notices. `--outdir DIR` writes elsewhere (for check-dist).
import {readFile, writeFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {build} from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const {values} = parseArgs({options: {outdir: {type: 'string', default: join(root, 'dist')}}});
const {version} = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));

/**
 * Lets esbuild drop what nothing uses of @actions/core's HTTP client (OIDC tokens, which this action does not ask for): a third of a megabyte
 * in each bundle. These packages have no side effects at import and do not say so themselves.
 */
const withoutSideEffects = {
  name: 'without-side-effects',
  setup(plugin) {
    plugin.onResolve({filter: /^(@actions\/(core|http-client)(\/.*)?|undici)$/}, async args => {
      if (args.pluginData?.resolved) return undefined;
      const {importer, resolveDir, kind} = args;
      const found = await plugin.resolve(args.path, {
        importer,
        resolveDir,
        kind,
        pluginData: {resolved: true},
      });
      return {...found, sideEffects: false};
    });
  },
};

/** A bundle of its own for what main and cli would each bring: a third of a megabyte, most of it never touched by a run. */
const sharedSsh = {
  name: 'shared-ssh',
  setup(plugin) {
    plugin.onResolve({filter: /^ssh2$/}, ({kind}) =>
      kind === 'entry-point' ? undefined : {path: './ssh2.cjs', external: true},
    );
  },
};

const {metafile} = await build({
  absWorkingDir: root,
  entryPoints: {
    main: 'src/actions/main.ts',
    post: 'src/actions/post-main.ts',
    cli: 'src/cli/main.ts',
    // A process of its own: see docs/architecture.md.
    cache: 'src/host/cache-main.ts',
    forward: 'src/host/forward-main.ts',
    ssh2: 'ssh2',
  },
  outdir: values.outdir,
  outExtension: {'.js': '.cjs'},
  bundle: true,
  plugins: [withoutSideEffects, sharedSsh],
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  charset: 'utf8',
  legalComments: 'none',
  minify: true,
  // Stack traces and error names stay readable.
  keepNames: true,
  metafile: true,
  logLevel: 'warning',
  // Optional native parts of ssh2; it goes without them.
  external: ['cpu-features', '*.node'],
  define: {
    'import.meta.url': '__importMetaUrl',
    'process.env.BUILDKIT_ARCHIVE_VERSION': JSON.stringify(version),
  },
  banner: {js: "const __importMetaUrl=require('node:url').pathToFileURL(__filename).href;"},
});

const packages = new Set(
  Object.keys(metafile.inputs).flatMap(path => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []),
);
const notices = await Promise.all([...packages].sort().map(notice));
await writeFile(join(values.outdir, 'LICENSES.txt'), `${notices.join(`\n\n${'-'.repeat(72)}\n\n`)}\n`);

async function notice(name) {
  const dir = join(root, 'node_modules', name);
  const manifest = JSON.parse(await readFile(join(dir, 'package.json'), 'utf8'));
  const license =
    typeof manifest.license === 'string' ? manifest.license : (manifest.licenses?.[0]?.type ?? '?');
  for (const file of ['LICENSE', 'LICENSE.md', 'LICENSE.txt', 'LICENCE', 'license', 'License']) {
    const text = await readFile(join(dir, file), 'utf8').catch(() => undefined);
    if (text !== undefined) return `${name} ${manifest.version} (${license})\n\n${text.trim()}`;
  }
  if (license === '?') throw new Error(`${name} says nothing of its license`);
  return `${name} ${manifest.version} (${license})`;
}
