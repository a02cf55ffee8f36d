import {INPUT_NAMES, INPUTS} from '../plan/inputs.ts';

/** Documented exit codes; a script can tell a failing build from a machine that did not come up. */
export const EXIT = {ok: 0, buildFailed: 1, usage: 2, infrastructure: 3, canceled: 130} as const;

export function helpText(): string {
  return `buildkit-archive: build a Dockerfile on an exact BuildKit, runc, systemd and kernel

Usage:
  buildkit-archive build --buildkit-version vX | --archive PATH|IMAGE [flags] [CONTEXT]
  buildkit-archive ssh   --buildkit-version vX | --archive PATH|IMAGE [flags] [-- COMMAND…]
  buildkit-archive forge --buildkit vX [flags]      (forge --help lists its flags)
  buildkit-archive explain [flags] LOG…             (- for standard input)
  buildkit-archive check --buildkit-version vX [--dockerfile FILE] [flags]
  buildkit-archive cache list|prune|verify [flags]
  buildkit-archive compose vX [--registry NAME] [--kvm] [--loopback]

build    boots the archive, sends CONTEXT (default ".") in and builds it
ssh      boots the archive and opens a shell in it, or runs COMMAND
forge    makes an archive from Debian packages and a BuildKit
explain  reads the log of a build on any release and says what it did and why it failed; needs no VM
check    says what a release's built-in frontend cannot do of a Dockerfile; needs no VM
cache    lists, prunes or verifies the disks that were taken out of images on this machine
compose  prints the docker compose file with which a published archive is started by its publishers

Flags of build:
  --plan           print what would be done and start nothing; with --buildkit-version also buildctl's exact command line
  --json           print the JobResult (with --plan, the plan) alone, as JSON, on standard output
  --result FILE    write the JobResult there, too
  --summary-file FILE, --outputs-file FILE
                   write the step summary (Markdown) and the step outputs (NAME=VALUE) there
${INPUT_NAMES.map(name => `  --${name}${defaultOf(name)}`).join('\n')}
Lists are given by repeating the flag. docker's names work, too: --build-arg, --label, -t, -f, -o, --platform, --add-host, --secret.

Flags of explain:
  --buildkit-version vX, --dockerfile FILE, --build-arg K=V, --target STAGE
                   what was built on which release: for lines, and answers that hang on the release
  --format F       auto (default), trace, rawjson, plain
  --exit-code N    buildctl's exit status; without it the log decides
  --json           print {trace, diagnosis} as JSON
Several LOGs are forms of one build, the most exact first: a file of --trace, then what buildctl printed.

Flags of check:
  --dockerfile FILE (default Dockerfile, - for standard input), --build-arg K=V, --override-copy-image IMAGE
  --json           print {release, dockerfile, findings, worksFrom} as JSON

Flags of cache:
  --store DIR      another store than the one that jobs use here
  --max-size SIZE, --unused-for TIME
                   prune: what is to be left at most (default 20G), and for how long an entry may lie unused
  --json           print the entries as JSON

Exit codes: ${EXIT.ok} as expected (see --expect), ${EXIT.buildFailed} not as expected, ${EXIT.usage} bad usage, ${EXIT.infrastructure} the machine or the archive failed, ${EXIT.canceled} canceled
  explain: ${EXIT.ok} the build of the log succeeded, ${EXIT.buildFailed} it failed, or the log does not tell how it ended
  check:   ${EXIT.ok} nothing that fails the build (warnings at most), ${EXIT.buildFailed} something does
  ssh:     that of COMMAND, or of the shell
  cache:   verify gives ${EXIT.infrastructure} when an entry was damaged
Environment: BUILDKIT_ARCHIVE_STORE (folder for disks taken out of images), NO_COLOR
`;
}

function defaultOf(name: (typeof INPUT_NAMES)[number]): string {
  const byDefault = INPUTS[name].default;
  return byDefault === '' ? '' : ` (default ${byDefault})`;
}
