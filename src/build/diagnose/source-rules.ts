import type {FailureKind} from '../../base/result.ts';
import type {Rule} from './facts.ts';

const STATUS = /invalid response status (\d{3})/;

/** ADD of a URL that answers with an error. */
export const addedUrl: Rule = ({errors, step, located}) => {
  const status = STATUS.exec(errors)?.[1];
  if (status === undefined) return undefined;
  const text = located?.instruction?.args ?? step?.name ?? '';
  const url = /(?:https?:\/\/)\S+/.exec(text)?.[0] ?? 'The URL of ADD';
  const gone = status === '404' || status === '410';
  const hint = gone
    ? 'Check the URL: there is no such file.'
    : 'Check the URL and whether it needs a login; try again.';
  return {kind: gone ? 'missing-file' : 'network', summary: `${url} answers ${status}`, hint};
};

const GIT =
  /failed to fetch remote |failed to (?:init repo|checkout remote)|git stderr:|repository does not contain ref/;

/** What git said, in the step's log or in the error, and what it means. */
const GIT_CAUSES: readonly {
  readonly pattern: RegExp;
  readonly kind: FailureKind;
  readonly what: string;
  readonly hint: string;
}[] = [
  {
    pattern: /exec: "git": executable file not found/,
    kind: 'infra',
    what: 'cannot be fetched: the machine has no git',
    hint: 'buildkitd runs the program git, which is not in its machine: use a local context, or ADD of an archive.',
  },
  {
    pattern: /could not resolve host|temporary failure in name resolution/i,
    kind: 'network',
    what: 'cannot be fetched: its host cannot be resolved (DNS)',
    hint: 'Check the host name, and that the machine has DNS and a network.',
  },
  {
    pattern:
      /authentication failed|could not read (?:username|password)|permission denied|terminal prompts disabled|\b40[13]\b/i,
    kind: 'network',
    what: 'cannot be fetched: no access',
    hint: 'A private repository needs a login: the secret GIT_AUTH_TOKEN, or SSH. Hosts say so of one that does not exist, too.',
  },
  {
    pattern:
      /couldn't find remote ref|does not contain ref|pathspec .* did not match|unknown revision|not our ref/i,
    kind: 'missing-file',
    what: 'has no such branch, tag or commit',
    hint: 'Check what follows the "#".',
  },
  {
    pattern: /not found|does not exist|does not appear to be a git repository/i,
    kind: 'missing-file',
    what: 'is no Git repository',
    hint: 'Check the URL.',
  },
];

/** A Git repository, as context or for ADD, that cannot be fetched. */
export const gitFault: Rule = ({errors, log, step}) => {
  if (!GIT.test(errors) && !/^\[internal\] load git source/.test(step?.name ?? '')) return undefined;
  const said = `${errors}\n${log}`;
  const url = /(?:\w+:\/\/|git@)[^\s'"]+?(?=:?(?:[\s'"]|$))/m.exec(`${step?.name}\n${errors}`)?.[0];
  const subject = url?.replace(/\/\/[^/@\s]*@/, '//') ?? 'The Git repository';
  const cause = GIT_CAUSES.find(({pattern}) => pattern.test(said));
  if (cause) return {kind: cause.kind, summary: `${subject} ${cause.what}`, hint: cause.hint};
  return {
    kind: 'network',
    summary: `${subject} cannot be fetched`,
    hint: "Look at git's words in the step's log; check the URL and the network.",
  };
};
