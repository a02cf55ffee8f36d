import {nearest} from '../../base/nearest.ts';
import {formatVersion} from '../../base/version.ts';
import {sourcesOf} from '../dockerfile/stages.ts';
import {featureFirst} from '../versions/table.ts';
import {type Facts, type Rule, shortName, type Verdict} from './facts.ts';

const DAEMON = new RegExp(
  [
    '^(?:failed to dial gRPC: )?Unavailable: ',
    'rpc error: code = Unavailable',
    'transport is closing',
    'error reading from server: EOF',
    'connection error: desc = "transport',
    'failed to list workers',
    'no active session for',
  ].join('|'),
  'm',
);

/** The connection to buildkitd is gone, or was never there. */
export const daemonLost: Rule = ({errors, step, machine}) => {
  if (!DAEMON.test(errors)) return undefined;
  const dial = /dial (unix|tcp) (\S+?): /.exec(errors);
  if (dial) {
    return {
      kind: 'daemon',
      summary: `buildkitd does not answer at ${dial[2]}`,
      hint: 'It is not running, or listens elsewhere: look at its log and its --addr.',
    };
  }
  const memory = machine.oomSeen ? ' The kernel killed a process for memory: give the machine more.' : '';
  const during = step ? ` during ${shortName(step)}` : '';
  return {
    kind: 'daemon',
    summary: `buildkitd ended${during}`,
    hint: `Look at its log for the cause.${memory}`,
  };
};

const NETWORK: readonly {readonly pattern: RegExp; readonly what: string; readonly hint: string}[] = [
  {
    pattern: /no such host|name resolution|server misbehaving/,
    what: 'cannot be resolved (DNS)',
    hint: 'Check the host name, and that the machine has DNS and a network.',
  },
  {
    pattern: /connection refused/,
    what: 'refuses the connection',
    hint: 'Nothing listens there: check host and port; inside the machine, 127.0.0.1 is the machine itself.',
  },
  {
    pattern: /x509|certificate|tls: /,
    what: 'has a certificate that is not trusted',
    hint: 'Hand in its CA, or set the clock right; releases from v0.7.0 take "ca" and "insecure" for a registry.',
  },
  {
    pattern: /i\/o timeout|TLS handshake timeout|Client\.Timeout|awaiting headers|deadline exceeded/,
    what: 'did not answer in time',
    hint: 'Check the network and a proxy; try again.',
  },
  {
    pattern:
      /network is unreachable|no route to host|connection reset|unexpected EOF|broken pipe|dial (?:tcp|udp)/,
    what: 'cannot be reached',
    hint: 'Check that the machine has a network, and any proxy; try again.',
  },
];

const REMOTE =
  /failed to do request|failed to resolve|failed to fetch|failed to copy|httpReadSeeker|failed to authorize|(?:Head|Get|Post|Put) "?https?:|dial (?:tcp|udp)|lookup /;

/** DNS, refused, TLS, timeouts: the other side was not reached. */
export const networkFault: Rule = facts => {
  if (facts.isRun || !(REMOTE.test(facts.errors) || brokenOff(facts))) return undefined;
  const fault = NETWORK.find(({pattern}) => pattern.test(facts.errors));
  if (!fault) return undefined;
  return helperImage(facts, {
    kind: 'network',
    summary: `${host(facts.errors) ?? host(facts.step?.name ?? '') ?? 'A remote server'} ${fault.what}`,
    hint: stageHint(facts) ?? mirrorHint(facts) ?? fault.hint,
  });
};

/** A download that breaks off names no server; what else the step does is to talk to one. */
function brokenOff({step, errors}: Facts): boolean {
  const remote =
    /^(?:https?:|FROM |pushing |(?:im|ex)porting cache)|(?:^|\] )FROM |ADD https?:|load metadata for/;
  return /unexpected EOF|connection reset|broken pipe/.test(errors) && remote.test(step?.name ?? '');
}

/** Nothing was pulled before the registry had to be asked for what was meant to be a stage. */
function stageHint({step, located, dockerfile}: Facts): string | undefined {
  const own = located?.instruction?.trigger ?? located?.instruction;
  if (!step || !own || !dockerfile) return undefined;
  const names = [own.keyword === 'FROM' ? (own.args.split(/\s+/)[0] ?? '') : '', ...sourcesOf(own)];
  const name = names.find(one => /^[\w.-]+$/.test(one));
  if (name === undefined) return undefined;
  const stages = dockerfile.stages.flatMap(stage => stage.name ?? []);
  if (stages.includes(name.toLowerCase())) {
    return `Stage "${name}" stands below line ${own.startLine}, so the name was taken for an image: move the stage up.`;
  }
  const near = nearest(name, stages);
  if (near !== undefined)
    return `No stage is named "${name}", so it was taken for an image. Did you mean "${near}"?`;
  if (own.keyword === 'FROM') return undefined;
  const known = stages.length > 0 ? `, only ${stages.join(', ')}` : '';
  return `No stage is named "${name}"${known}, so it was taken for an image. If it is one, check its name, and that the machine has a network.`;
}

function host(errors: string): string | undefined {
  return /(?:lookup |https?:\/\/)([^\s/":]+(?::\d+)?)/.exec(errors)?.[1];
}

const PLAIN_HTTP = /server gave HTTP response to HTTPS client/;
const NO_ACCESS =
  /401|403|unauthorized|authorization failed|access denied|denied:|forbidden|insufficient_scope|no basic auth/i;
const TOO_MANY = /429|toomanyrequests|too many requests|rate limit/i;
const NOT_FOUND = /manifest unknown|name unknown|not found|does not exist|404/i;
const SERVER_FAULT =
  /(?:status(?: code)?:?|response:?) 5\d\d|5\d\d (?:Internal|Bad Gateway|Service|Gateway)/i;
const NO_IMAGE =
  /encountered unknown type|unexpected media type|unsupported media type|invalid manifest|unknown manifest|failed to unmarshal/i;
const NO_PLATFORM = /no match for platform|does not (?:provide|match) the (?:specified )?platform/;

/** The registry answered, and not with the image. */
export const registryFault: Rule = facts => {
  const {errors} = facts;
  const image = imageOf(facts);
  const pushes =
    PUSH.test(facts.step?.name ?? '') && /unexpected (?:status|response)|denied|authoriz/i.test(errors);
  const asked = image !== undefined || pushes || REMOTE.test(errors) || TOO_MANY.test(errors);
  if (facts.isRun || !(asked || NO_PLATFORM.test(errors))) return undefined;
  const subject = image ?? host(errors) ?? (pushes ? 'The push' : 'The image');
  const answer = registryAnswer(facts, subject);
  return answer && helperImage(facts, {kind: 'registry', ...answer});
};

function registryAnswer(facts: Facts, subject: string): {summary: string; hint: string} | undefined {
  // Names, paths and digests can hold any number.
  const errors = withoutNames(facts.errors, subject);
  if (PLAIN_HTTP.test(errors)) {
    return {
      summary: `${host(facts.errors) ?? subject} speaks plain HTTP, not HTTPS`,
      hint: plainHttpHint(facts),
    };
  }
  if (TOO_MANY.test(errors)) {
    return {
      summary: `${subject}: the registry limits requests (429)`,
      hint: 'Log in, use a mirror, or wait.',
    };
  }
  if (NO_PLATFORM.test(errors)) {
    return {
      summary: `${subject} has no image for this platform`,
      hint: 'Choose another platform or base image.',
    };
  }
  if (SERVER_FAULT.test(errors)) {
    return {summary: `${subject}: the registry has a fault of its own`, hint: 'Try again later.'};
  }
  if (NO_ACCESS.test(errors) && PUSH.test(facts.step?.name ?? '')) {
    return {
      summary: `${subject}: no access`,
      hint: 'Log in as someone who may write there, and check the name.',
    };
  }
  if (NO_ACCESS.test(errors)) {
    return {
      summary: `${subject}: no access, or no such image`,
      hint: 'Check the name; a private image needs a login. Registries deny what does not exist, too.',
    };
  }
  if (NO_IMAGE.test(errors)) {
    return {
      summary: `${subject}: the registry answers with something that is no image`,
      hint: 'Check the name: is it an image, and does the address lead to a registry?',
    };
  }
  if (!NOT_FOUND.test(errors)) return undefined;
  const stage = stageHint(facts);
  if (stage !== undefined) return {summary: `${subject} is not in the registry`, hint: stage};
  const cache = /^importing cache manifest|error on cache query/m.test(`${facts.step?.name}\n${errors}`);
  return {
    summary: `${subject} is not in the registry`,
    hint: cache
      ? 'The import cache does not exist yet. BuildKit v0.4.0 alone fails on that: export one first, or leave cache-from away.'
      : 'Check name and tag; the image may have been removed.',
  };
}

const PUSH = /^(?:exporting (?:to image|cache)|pushing )/;

function withoutNames(errors: string, subject: string): string {
  return errors
    .replaceAll(subject, '')
    .replace(/\b\w+:\/\/[^\s"]+/g, '')
    .replace(/sha256:[0-9a-f]+/g, '');
}

/** The image that a look-up was for, from the step's name or the error. */
function imageOf({step, errors}: Facts): string | undefined {
  const name = step?.name ?? '';
  const named =
    /(?:load metadata for|resolve image config for|importing cache manifest from|pushing manifest for) (?:docker-image:\/\/)?(\S+)/.exec(
      name,
    ) ??
    /\bFROM (\S+)/.exec(name) ??
    /error on cache query: (\S+) not found/.exec(errors) ??
    /^failed to resolve source metadata for (\S+):/.exec(errors);
  return named?.[1] ?? (/helper image for file operations/.test(name) ? 'The copy image' : undefined);
}

function plainHttpHint(facts: Facts): string {
  const mirror = mirrorHint(facts);
  if (mirror !== undefined) return mirror;
  const release = facts.version;
  const masked = release !== undefined && !facts.before('v0.8.0') && facts.before('v0.12.0');
  const also = masked
    ? ' BuildKit v0.8 to v0.11 say so of an image that does not exist, too, when both http and insecure are set.'
    : '';
  return `Set "http = true" for that registry in buildkitd.toml.${also}`;
}

/** Before v0.7.0 one mirror is picked, there is no way back to the origin, and the origin's `http` decides. */
function mirrorHint(facts: Facts): string | undefined {
  const {errors, step} = facts;
  if (!facts.before(formatVersion(featureFirst('toml-key mirrors in order')))) return undefined;
  const image = /(?:load metadata for|FROM) ([^\s/]+\.[^\s/]*|[^\s/]+:\d+)\//.exec(step?.name ?? '')?.[1];
  const asked = host(errors);
  if (image === undefined || asked === undefined || asked === image) return undefined;
  return (
    `${asked} is a mirror of ${image}. Before BuildKit v0.7.0 one mirror is picked at random without a way back to the ` +
    `origin, and "http = true" must stand in the entry of ${image}, not of the mirror.`
  );
}

const COPY_IMAGE = /tonistiigi\/copy|docker\/dockerfile-copy|helper image for file operations/;

/** v0.3 and v0.4 pull an image with a copy program for every COPY and ADD. */
function helperImage(facts: Facts, verdict: Verdict): Verdict {
  if (!COPY_IMAGE.test(`${facts.step?.name}\n${facts.errors}`)) return verdict;
  return {
    ...verdict,
    summary: `The image that carries out COPY and ADD cannot be pulled: ${verdict.summary}`,
    hint: 'BuildKit v0.3 and v0.4 pull a helper image for every COPY and ADD, so they cannot build offline. Set "override-copy-image" to a copy that can be reached, or use v0.5.0 or later.',
    worksFrom: formatVersion(featureFirst('dockerfile copy-offline')),
  };
}
