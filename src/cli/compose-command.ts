import {resolveVersion} from '../plan/catalog.ts';
import {DEFAULT_REGISTRIES, parseSources} from '../plan/catalog-sources.ts';
import {composeFile} from '../plan/compose.ts';
import {EXIT, helpText} from './help.ts';
import {type Io, processIo} from './io.ts';
import {readOptions, usageError} from './options.ts';

const USAGE = 'buildkit-archive compose vX [--registry NAME] [--kvm] [--loopback]';

const [PUBLISHER = ''] = DEFAULT_REGISTRIES;

const OPTIONS = {
  registry: {type: 'string', default: PUBLISHER},
  kvm: {type: 'boolean', default: false},
  loopback: {type: 'boolean', default: false},
  help: {type: 'boolean', short: 'h', default: false},
} as const;

/**
 * `compose`: the docker compose file with which a published archive is started by its publishers.
 * @throws UserError for bad usage and an unknown version.
 */
export async function composeCommand(
  argv: readonly string[],
  _signal: AbortSignal = new AbortController().signal,
  io: Io = processIo(),
): Promise<number> {
  const {values, positionals} = readOptions(
    {args: [...argv], options: OPTIONS, allowPositionals: true},
    USAGE,
  );
  if (values.help) {
    io.print(helpText());
    return EXIT.ok;
  }
  const [version, ...more] = positionals;
  if (version === undefined || more.length > 0) throw usageError('compose takes one version', USAGE);
  const sources = parseSources([values.registry], 'registry');
  const resolved = resolveVersion(version, {sources, input: 'compose'});
  const [source] = sources;
  if (source) io.print(composeFile(resolved, {source, kvm: values.kvm, loopback: values.loopback}));
  if (!values.loopback) {
    io.note(
      "note: like its publishers' file this opens the VM (root/root) to all who reach this machine; --loopback keeps it to yourself\n",
    );
  }
  return EXIT.ok;
}
