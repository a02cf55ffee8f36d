import {type Facts, type Rule, shortName} from './facts.ts';

const NO_SPACE = /no space left on device|ENOSPC|disk quota exceeded|not enough (?:disk|free) space/i;

export const outOfSpace: Rule = ({errors, log, machine, step}) => {
  if (!NO_SPACE.test(errors) && !(step && (NO_SPACE.test(log) || machine.diskFull))) return undefined;
  const where = step ? ` in ${shortName(step)}` : '';
  return {
    kind: 'out-of-space',
    summary: `The disk is full${where}`,
    hint: 'Give the machine a larger disk, prune the build cache, or write less (a .dockerignore, fewer layers).',
  };
};

const NO_MEMORY =
  /cannot allocate memory|out of memory|OutOfMemoryError|std::bad_alloc|virtual memory exhausted|Killed signal terminated program|\boom-kill|OOMKilled/i;
const KILLED = /exit code: 137|signal: killed|(?:^|\n)Killed\s*$/;

/** Killed with 137 is taken for memory only with evidence: the kernel's word, or the program's. */
export const outOfMemory: Rule = ({errors, log, machine, step}) => {
  const said = NO_MEMORY.test(errors) || (step?.state === 'failed' && NO_MEMORY.test(log));
  const killed = KILLED.test(errors) || KILLED.test(log) || step?.exitCode === 137;
  if (!said && !(killed && machine.oomSeen)) return undefined;
  return {
    kind: 'out-of-memory',
    summary: `Memory ran out${step ? ` in ${shortName(step)}` : ''}`,
    hint: 'Give the machine more memory, or run fewer jobs at once in that step.',
  };
};

/** What runc says when it cannot start a container; a step's own output can hold the same words. */
const RUNC_LINE =
  /^(?:.*\b(?:runc run failed|runc create failed|OCI runtime\b.*failed|container_linux\.go|process_linux\.go|rootfs_linux\.go|nsenter|nsexec)\b.*)$/gim;
const NOT_THE_KERNEL =
  /exec: "|exec format error|executable file not found|stat .*: no such file or directory|permission denied: unknown|chdir to cwd/;

const KERNEL: readonly {readonly pattern: RegExp; readonly what: string; readonly hint: string}[] = [
  {
    // runc 1.4.3–1.5.0 `maskDir`; Ubuntu 20.04's 5.4 kernel refuses fewer than 2 inodes (runc issue 5348).
    pattern: /(?:can't mask (?:dir|path)|nr_(?:blocks|inodes)=1).*invalid argument/,
    what: 'the kernel refuses the tmpfs that runc puts over masked folders (nr_inodes=1)',
    hint: 'runc 1.4.3 to 1.5.0, in BuildKit from v0.31.0, does that to every RUN on a 5.4 kernel. Take an archive with a newer kernel, a release before v0.31.0, or another runc ("runc-version: archive").',
  },
  {
    pattern: /seccomp/i,
    what: "the kernel refuses runc's seccomp filter",
    hint: 'runc or libseccomp does not fit the kernel: take the runc that came with the archive, or a newer kernel.',
  },
  {
    pattern: /cgroup/i,
    what: 'runc cannot set up the cgroup',
    hint: 'Old releases want cgroup v1, new ones manage v2: take an archive whose systemd and kernel fit (boot option systemd.unified_cgroup_hierarchy).',
  },
  {
    pattern:
      /unknown mount option|unrecognized mount option|bad mount option|error mounting|mount .*(?:invalid argument|no such device)/i,
    what: 'the kernel refuses a mount of the container',
    hint: 'A mount option or file system is not in this kernel: take an archive with a newer one, or an older runc.',
  },
  {
    pattern:
      /function not implemented|not supported|unshare|clone|namespace|keyring|session key|operation not permitted/i,
    what: 'the kernel lacks something that runc needs',
    hint: 'Take an archive with a newer kernel, or the runc that came with it.',
  },
];

const OVERLAY =
  /(?:failed to mount|mount callback failed|error creating overlay).*(?:overlay|type:).*(?:invalid argument|no such device|operation not permitted)/;

/** runc or a mount fails before the command starts, since the kernel does not fit. */
export const kernelFault: Rule = facts => {
  const {errors, log, machine} = facts;
  const lines = `${errors}\n${log}`.match(RUNC_LINE)?.filter(line => !NOT_THE_KERNEL.test(line)) ?? [];
  const text = [...lines, ...(OVERLAY.exec(errors) ?? []), ...(/can't mask .*/.exec(errors) ?? [])].join(
    '\n',
  );
  if (text === '') return undefined;
  const fault = OVERLAY.test(text)
    ? {
        what: 'the kernel refuses an overlay mount',
        hint: 'Use another snapshotter (native), or a newer kernel.',
      }
    : KERNEL.find(({pattern}) => pattern.test(text));
  if (!fault) return undefined;
  const versions = [machine.kernel && `kernel ${machine.kernel}`, machine.runc && `runc ${machine.runc}`];
  const known = versions.filter(Boolean).join(', ');
  return {
    kind: 'kernel',
    summary: `No command was started: ${fault.what}${known === '' ? '' : ` (${known})`}`,
    hint: fault.hint,
  };
};

/** What a command's output tells of the machine under it. */
const LOG_CAUSES: readonly {readonly pattern: RegExp; readonly hint: string; readonly network?: true}[] = [
  {
    pattern:
      /could not resolve|temporary failure (?:in name resolution|resolving)|bad address|no such host|EAI_AGAIN|temporary error \(try again later\)|DNS lookup error/i,
    network: true,
    hint: 'The command could not resolve a host name: check that the machine has DNS and a network.',
  },
  {
    pattern: /network is unreachable|no route to host/i,
    network: true,
    hint: 'The command had no network: check the machine, and RUN --network.',
  },
  {
    pattern:
      /connection refused|(?:connection|operation) timed out|connect timed out|ETIMEDOUT|ECONNREFUSED/i,
    network: true,
    hint: 'A server that the command asked did not answer: check host, port, network and any proxy.',
  },
  {
    pattern:
      /thread failed to start|unable to create threaded|(?:pthread_create|clone3?|create new OS thread).*(?:operation not permitted|errno=1\b)/i,
    hint: 'Old seccomp profiles refuse clone3, which glibc 2.34 and later use: take an older base image, or a newer BuildKit and runc.',
  },
  {
    pattern: /certificate (?:has expired|is not yet valid|verify failed)|not live until/i,
    hint: "A certificate was not accepted: the base image may be too old for it, or the machine's clock is wrong.",
  },
];

const LOST_CODE = /runc did not terminate suc+essfully/;
const RUN_ERROR = /executor failed running \[|did not complete successfully/;

/** A command of the Dockerfile ended with an error. */
export const runFailed: Rule = facts => {
  const {errors, step, isRun} = facts;
  if (!RUN_ERROR.test(errors) && !(isRun && step?.state === 'failed')) return undefined;
  const code = step?.exitCode ?? exitCode(errors);
  const how = code === undefined ? 'failed' : `failed with exit code ${code}`;
  return {
    kind: 'run-failed',
    summary: `${step ? shortName(step) : 'RUN'} ${how}`,
    hint: runHint(facts, code),
  };
};

function exitCode(errors: string): number | undefined {
  const found = [...errors.matchAll(/: exit code: (\d+)/g)].at(-1)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** A secret that was not handed in leaves no file, which is an error only with `required=true`. */
function missingSecret(log: string, name: string): string | undefined {
  for (const [, options = ''] of name.matchAll(/--mount=(\S*type=secret\S*)/g)) {
    const id = /(?:^|,)(?:id|source|src)=([^,"]+)/.exec(options)?.[1];
    const path = /(?:^|,)(?:target|dst|destination)=([^,"]+)/.exec(options)?.[1] ?? `/run/secrets/${id}`;
    const lacks = log.split('\n').some(line => line.includes(path) && /no such file|not found/i.test(line));
    if (id !== undefined && lacks) return id;
  }
  return undefined;
}

function runHint({errors, log, step}: Facts, code: number | undefined): string {
  const secret = missingSecret(log, step?.name ?? '');
  if (secret !== undefined)
    return `The build was given no secret "${secret}". Hand it in: "secrets: ${secret}=…".`;
  const user = /unable to find (?:user|group) (\S+?):/.exec(errors)?.[1];
  if (user !== undefined)
    return `The image has no user "${user}" in its /etc/passwd: make it before the USER line, or write a number.`;
  if (/\] RUN \[\s*'/.test(step?.name ?? ''))
    return 'The exec form is JSON, which wants double quotes; with others the shell reads the brackets.';
  const program = /exec: "([^"]+)"/.exec(log)?.[1];
  if (/exec format error/.test(log)) return 'The program is for another processor architecture.';
  if (program === '/bin/sh')
    return 'The image has no shell (/bin/sh), as scratch and "distroless" images: use the exec form, RUN ["program", "argument"], or another base image.';
  if (program !== undefined)
    return `The image has no program "${program}" that can be run: check its path and PATH.`;
  if (LOST_CODE.test(errors)) {
    return 'BuildKit v0.6.2 to v0.7.2 lose the exit code: read the last lines of the log, or use v0.8.0 or later to see it.';
  }
  const cause = LOG_CAUSES.find(({pattern}) => pattern.test(log));
  if (cause?.network && /--network=none/.test(step?.name ?? ''))
    return 'RUN --network=none gives the command no network.';
  if (cause) return cause.hint;
  if (code === 137 || KILLED.test(log)) {
    return 'Something killed it (SIGKILL). Often memory ran out: look at the kernel log, and try more memory.';
  }
  if (code === 127) return 'A command is not in the image: install it, or check PATH.';
  if (code === 126) return 'A file cannot be executed: check its mode bits and its first line.';
  if (code === 139) return 'It crashed (segmentation fault).';
  return 'The last lines of its log say why.';
}
