import {split} from 'shlex';
import {type DaemonConfig, HOST_IN_GUEST, type RegistryMirror} from '../base/daemon.ts';
import {messageOf, UserError} from '../base/errors.ts';
import {isLoopback} from '../base/image-reference.ts';
import {resolvePath} from '../base/path.ts';
import type {Inputs} from './inputs.ts';
import {isHost, isRepository, splitScheme} from './reference.ts';
import {bad} from './values.ts';

const MIRROR_FORM =
  '[REGISTRY=][http://|https://]HOST[:PORT][/PATH], such as mirror.gcr.io or docker.io=10.0.2.2:5000';

/**
 * One mirror: `ORIGIN=MIRROR`, or `MIRROR` alone for one of Docker Hub. This machine's loopback is named as the VM reaches it; there
 * plain HTTP is spoken unless `https://` stands before it, elsewhere only after `http://`.
 * @throws UserError for what is neither.
 */
export function parseMirror(item: string, input: string): RegistryMirror {
  const equals = item.indexOf('=');
  const origin = item.slice(0, Math.max(equals, 0)).trim();
  const {scheme, rest} = splitScheme(item.slice(equals + 1).trim());
  const [host = '', ...path] = rest.replace(/\/$/, '').split('/');
  const hostThere = isLoopback(host) ? `${HOST_IN_GUEST}${/:\d+$/.exec(host)?.[0] ?? ''}` : host;
  if ((equals >= 0 && !isHost(origin)) || !isHost(host) || (path.length > 0 && !isRepository(path.join('/'))))
    throw bad(input, item, MIRROR_FORM);
  return {
    origin: equals < 0 || /^(?:index\.|registry-1\.)?docker\.io$/.test(origin) ? 'docker.io' : origin,
    mirror: [hostThere, ...path].join('/'),
    plainHttp: scheme === undefined ? hostThere.replace(/:\d+$/, '') === HOST_IN_GUEST : scheme === 'http',
  };
}

/** Flags that would take the daemon from where buildctl and this action look for it, or end it at once. */
const OWN_FLAGS: Readonly<Record<string, string>> = {
  addr: 'the archive decides where its daemon listens',
  config: 'give the file with buildkitd-config',
  help: 'the daemon would print its help and end',
  h: 'the daemon would print its help and end',
  version: 'the daemon would print its version and end',
  v: 'the daemon would print its version and end',
};

/** Arguments of buildkitd, split as a shell splits words (docker/buildx does it with the like of Python's shlex). @throws UserError */
export function parseDaemonFlags(text: string, input: string): readonly string[] {
  let words: readonly string[];
  try {
    words = split(text);
  } catch (error) {
    throw new UserError(`${input}: ${JSON.stringify(text)} cannot be split into words: ${messageOf(error)}`, {
      input,
      stage: 'inputs',
      hint: 'close each quote; write for example --debug --oci-worker-net=host',
    });
  }
  for (const [index, word] of words.entries()) {
    const name = /^--?([\w-]+)(?:=|$)/.exec(word)?.[1];
    if (index === 0 && name === undefined) throw bad(input, word, 'flags of buildkitd, such as --debug');
    const why = name === undefined ? undefined : OWN_FLAGS[name];
    if (why !== undefined) {
      throw new UserError(`${input}: ${word} is not allowed: ${why}`, {
        input,
        stage: 'inputs',
        hint: `leave ${word.split('=')[0]} out of ${input}`,
      });
    }
  }
  return words;
}

/** @throws UserError when both forms are given: docker/setup-buildx-action takes the file then and drops the text without a word. */
export function daemonConfig(inputs: Inputs, workspaceDir: string): DaemonConfig | undefined {
  const {'buildkitd-config': path, 'buildkitd-config-inline': text} = inputs;
  if (path !== '' && text !== '') {
    throw new UserError('buildkitd-config and buildkitd-config-inline are both given', {
      input: 'buildkitd-config-inline',
      stage: 'inputs',
      hint: 'give one of them: put all keys into the file, or all into the workflow',
    });
  }
  if (path !== '') return {kind: 'file', path: resolvePath(workspaceDir, path)};
  return text === '' ? undefined : {kind: 'text', text};
}
